#include "cli/client.h"

#include <algorithm>
#include <utility>

#include "cli/internal/json.h"
#include "core/settings.h"
#include "core/text.h"

namespace corral::cli {
namespace {

using internal::BoolField;
using internal::DumpJson;
using internal::Field;
using internal::IntField;
using internal::Json;
using internal::ParseJson;
using internal::TextField;

constexpr std::size_t kMostReplyBytes = 256U << 20U;
constexpr std::size_t kMostLineBytes = 8'000'000;  // api/client.go, maxBufferSize
constexpr std::string_view kNoText =
    "something went wrong, please see the ollama server logs for details";

Code CodeOf(int status) {
  switch (status) {
    case 400:
      return Code::kInvalidArgument;
    case 401:
      return Code::kUnauthorized;
    case 403:
      return Code::kForbidden;
    case 404:
      return Code::kNotFound;
    case 409:
      return Code::kAlreadyExists;
    case 413:
      return Code::kTooLarge;
    case 503:
      return Code::kBusy;
    default:
      return Code::kUpstream;
  }
}

// The text of an error's body: its `error`, which OpenAI's shape has as an object, or the body
// itself.
std::string ErrorText(std::string_view body) {
  const std::optional<Json> json = ParseJson(body);
  if (!json || !json->is_object()) return std::string(TrimSpace(body));
  if (const Json* error = Field(*json, "error"); error != nullptr && error->is_object())
    return TextField(*error, "message");
  return TextField(*json, "error");
}

tl::unexpected<Error> SingleError(const HttpHead& head, std::string_view body) {
  if (head.status == 401) return Fail(Code::kUnauthorized, head.status_line);
  std::string text = ErrorText(body);
  if (text.empty()) text = kNoText;
  return Fail(CodeOf(head.status), std::move(text));
}

tl::unexpected<Error> StreamError(const HttpHead& head, std::string_view line) {
  if (head.status == 401) return Fail(Code::kUnauthorized, head.status_line);
  const std::string text = ErrorText(line);
  return Fail(CodeOf(head.status),
              text.empty() ? head.status_line : head.status_line + ": " + text);
}

tl::unexpected<Error> BadReply(std::string_view what) {
  return Fail(Code::kUpstream,
              "the server's reply to " + std::string(what) + " is not what it must be");
}

HttpRequest Get(std::string path) { return {.method = "GET", .path = std::move(path)}; }
HttpRequest Post(std::string path, const Json& body) {
  return {.method = "POST", .path = std::move(path), .body = DumpJson(body)};
}

// ---- to JSON ----

Json ToJson(const modelfile::ParameterValue& value) {
  return std::visit([](const auto& v) { return Json(v); }, value);
}

Json ToJson(const std::vector<modelfile::Parameter>& parameters) {
  Json json = Json::object();
  for (const modelfile::Parameter& parameter : parameters)
    json[parameter.name] = ToJson(parameter.value);
  return json;
}

Json ToJson(const ChatMessage& message) {
  Json json = {{"role", message.role}, {"content", message.content}};
  if (!message.thinking.empty()) json["thinking"] = message.thinking;
  for (const std::string& image : message.images) json["images"].push_back(Base64Encode(image));
  for (const ToolCall& call : message.tool_calls) {
    Json function = {{"name", call.name}};
    function["arguments"] = ParseJson(call.arguments_json).value_or(Json::object());
    json["tool_calls"].push_back({{"function", std::move(function)}});
  }
  return json;
}

Json ToJson(std::chrono::nanoseconds keep_alive) {
  if (keep_alive < std::chrono::nanoseconds(0)) return -1;
  if (keep_alive == std::chrono::nanoseconds(0)) return 0;
  return FormatGoDuration(keep_alive);
}

Status AddOptions(Json& json, const AnswerOptions& options) {
  if (options.format == "json") {
    json["format"] = "json";
  } else if (!options.format.empty()) {
    std::optional<Json> schema = ParseJson(options.format);
    if (!schema)
      return Fail(Code::kInvalidArgument,
                  "--format must be json or a JSON schema: " + options.format);
    json["format"] = *std::move(schema);
  }
  if (options.keep_alive) json["keep_alive"] = ToJson(*options.keep_alive);
  if (options.think) {
    if (options.think->level.empty()) {
      json["think"] = options.think->is_on;
    } else {
      json["think"] = options.think->level;
    }
  }
  if (!options.options.empty()) json["options"] = ToJson(options.options);
  return {};
}

void AddText(Json& json, const char* name, const std::string& text) {
  if (!text.empty()) json[name] = text;
}

// ---- from JSON ----

Timestamp TimeField(const Json& json, const char* name) {
  return ParseRfc3339(TextField(json, name)).value_or(Timestamp::GoZero());
}

std::string ItemText(const Json& item) {
  if (item.is_string()) return item.get<std::string>();
  if (item.is_number()) return internal::GoNumber(item.get<double>());
  if (item.is_null()) return "<nil>";
  return DumpJson(item);
}

InfoMap ToInfo(const Json& json) {
  InfoMap info;
  for (const auto& [key, value] : json.items()) {
    if (value.is_boolean()) {
      info[key] = value.get<bool>();
    } else if (value.is_number()) {
      info[key] = value.get<double>();
    } else if (value.is_string()) {
      info[key] = value.get<std::string>();
    } else if (value.is_array()) {
      InfoArray array;
      for (const Json& item : value) array.items.push_back(ItemText(item));
      info[key] = std::move(array);
    } else {
      info[key] = std::monostate();
    }
  }
  return info;
}

std::optional<InfoMap> InfoField(const Json& json, const char* name) {
  const Json* field = Field(json, name);
  if (field == nullptr || !field->is_object()) return std::nullopt;
  return ToInfo(*field);
}

ChatMessage ToMessage(const Json& json) {
  ChatMessage message;
  message.role = TextField(json, "role");
  message.content = TextField(json, "content");
  return message;
}

ShowReply ToShowReply(const Json& json) {
  ShowReply reply;
  reply.license = TextField(json, "license");
  reply.modelfile = TextField(json, "modelfile");
  reply.parameters = TextField(json, "parameters");
  reply.template_text = TextField(json, "template");
  reply.system = TextField(json, "system");
  reply.requires_version = TextField(json, "requires");
  reply.remote_model = TextField(json, "remote_model");
  reply.remote_host = TextField(json, "remote_host");
  if (const Json* details = Field(json, "details")) {
    reply.parent_model = TextField(*details, "parent_model");
    reply.family = TextField(*details, "family");
    reply.parameter_size = TextField(*details, "parameter_size");
    reply.quantization_level = TextField(*details, "quantization_level");
  }
  reply.model_info = InfoField(json, "model_info");
  reply.projector_info = InfoField(json, "projector_info");
  if (const Json* messages = Field(json, "messages"); messages != nullptr && messages->is_array())
    for (const Json& message : *messages) reply.messages.push_back(ToMessage(message));
  if (const Json* tensors = Field(json, "tensors"); tensors != nullptr && tensors->is_array()) {
    for (const Json& tensor : *tensors) {
      TensorRow row{TextField(tensor, "name"), TextField(tensor, "type"), {}};
      if (const Json* shape = Field(tensor, "shape"); shape != nullptr && shape->is_array())
        for (const Json& n : *shape)
          if (n.is_number()) row.shape.push_back(n.get<std::int64_t>());
      reply.tensors.push_back(std::move(row));
    }
  }
  if (const Json* capabilities = Field(json, "capabilities");
      capabilities != nullptr && capabilities->is_array())
    for (const Json& capability : *capabilities)
      if (capability.is_string()) reply.capabilities.push_back(capability.get<std::string>());
  return reply;
}

AnswerRecord ToAnswer(const Json& json) {
  AnswerRecord record;
  const Json* message = Field(json, "message");
  const Json& source = message != nullptr ? *message : json;
  record.role = TextField(source, "role");
  record.text = TextField(source, message != nullptr ? "content" : "response");
  record.thinking = TextField(source, "thinking");
  if (const Json* calls = Field(source, "tool_calls"); calls != nullptr && calls->is_array()) {
    for (const Json& item : *calls) {
      const Json* function = Field(item, "function");
      if (function == nullptr) continue;
      ToolCall call;
      call.name = TextField(*function, "name");
      if (const Json* arguments = Field(*function, "arguments"))
        call.arguments_json = DumpJson(*arguments);
      record.tool_calls.push_back(std::move(call));
    }
  }
  record.is_done = BoolField(json, "done");
  record.timings.total = std::chrono::nanoseconds(IntField(json, "total_duration"));
  record.timings.load = std::chrono::nanoseconds(IntField(json, "load_duration"));
  record.timings.prompt_eval = std::chrono::nanoseconds(IntField(json, "prompt_eval_duration"));
  record.timings.eval = std::chrono::nanoseconds(IntField(json, "eval_duration"));
  record.timings.prompt_tokens = IntField(json, "prompt_eval_count");
  record.timings.eval_tokens = IntField(json, "eval_count");
  return record;
}

}  // namespace

bool ShowReply::Can(std::string_view capability) const {
  return std::find(capabilities.begin(), capabilities.end(), capability) != capabilities.end();
}

// ---- exchanges ----

Result<Client::Reply> Client::Exchange(HttpRequest request, StopToken stop) {
  Reply reply;
  const auto receive = [&reply](const HttpHead&, std::string_view bytes) -> Status {
    if (reply.body.size() + bytes.size() > kMostReplyBytes)
      return Fail(Code::kTooLarge, "the server's reply is too long");
    reply.body += bytes;
    return {};
  };
  CORRAL_TRY(reply.head, transport_.Send(request, receive, std::move(stop)));
  return reply;
}

Result<std::string> Client::Single(HttpRequest request, StopToken stop) {
  CORRAL_TRY(Reply reply, Exchange(std::move(request), std::move(stop)));
  if (reply.head.status >= 400) return SingleError(reply.head, reply.body);
  return std::move(reply.body);
}

Status Client::Lines(HttpRequest request,
                     const std::function<Status(std::string_view line)>& on_line, StopToken stop) {
  request.is_stream = true;
  std::string pending;
  const auto take_line = [&](const HttpHead& head, std::string_view line) -> Status {
    line = TrimSpace(line);
    if (line.empty()) return {};
    if (head.status >= 400) return StreamError(head, line);
    const std::optional<Json> json = ParseJson(line);
    if (!json || !json->is_object()) return Fail(Code::kUpstream, std::string(line));
    if (std::string error = TextField(*json, "error"); !error.empty())
      return Fail(Code::kUpstream, std::move(error));
    return on_line(line);
  };
  const auto receive = [&](const HttpHead& head, std::string_view bytes) -> Status {
    pending += bytes;
    std::size_t start = 0;
    for (std::size_t end; (end = pending.find('\n', start)) != std::string::npos; start = end + 1)
      CORRAL_TRY_STATUS(take_line(head, std::string_view(pending).substr(start, end - start)));
    pending.erase(0, start);
    if (pending.size() > kMostLineBytes)
      return Fail(Code::kTooLarge, "a line of the server's reply is too long");
    return {};
  };
  CORRAL_TRY(const HttpHead head, transport_.Send(request, receive, std::move(stop)));
  CORRAL_TRY_STATUS(take_line(head, pending));
  if (head.status >= 400) return StreamError(head, "");
  return {};
}

Status Client::Progress(const std::string& path, std::string body, const OnProgress& on_progress) {
  HttpRequest request{.method = "POST", .path = path, .body = std::move(body)};
  const auto on_line = [&on_progress](std::string_view line) -> Status {
    const Json json = *ParseJson(line);
    on_progress({TextField(json, "status"), TextField(json, "digest"), IntField(json, "total"),
                 IntField(json, "completed")});
    return {};
  };
  return Lines(std::move(request), on_line, {});
}

Status Client::Answer(const std::string& path, std::string body, const OnAnswer& on_answer,
                      StopToken stop) {
  HttpRequest request{.method = "POST", .path = path, .body = std::move(body)};
  const auto on_line = [&on_answer](std::string_view line) -> Status {
    on_answer(ToAnswer(*ParseJson(line)));
    return {};
  };
  return Lines(std::move(request), on_line, std::move(stop));
}

// ---- routes ----

Status Client::Heartbeat() {
  const Result<std::string> reply = Single({.method = "HEAD", .path = "/"});
  if (reply) return {};
  const std::string& text = reply.error().message;
  if (text.find(" refused") != std::string::npos ||
      text.find("could not connect") != std::string::npos)
    return Fail(reply.error().code, std::string(kServerDown));
  return Fail(reply.error());
}

Status Client::Health(bool is_ready, std::chrono::milliseconds timeout) {
  HttpRequest request = Get(is_ready ? "/readyz" : "/healthz");
  request.timeout = timeout;
  CORRAL_TRY(const Reply reply, Exchange(std::move(request)));
  if (reply.head.status < 400) return {};
  const std::string text = ErrorText(reply.body);
  return Fail(CodeOf(reply.head.status), text.empty() ? reply.head.status_line : text);
}

Result<std::string> Client::Version() {
  CORRAL_TRY(const std::string body, Single(Get("/api/version")));
  const std::optional<Json> json = ParseJson(body);
  if (!json) return BadReply("version");
  return TextField(*json, "version");
}

Result<std::vector<ListedModel>> Client::List() {
  CORRAL_TRY(const std::string body, Single(Get("/api/tags")));
  const std::optional<Json> json = ParseJson(body);
  if (!json || !json->is_object()) return BadReply("list");
  std::vector<ListedModel> models;
  const Json* rows = Field(*json, "models");
  if (rows == nullptr || !rows->is_array()) return models;
  for (const Json& row : *rows) {
    models.push_back({TextField(row, "name"), TextField(row, "digest"), IntField(row, "size"),
                      TimeField(row, "modified_at"), !TextField(row, "remote_model").empty()});
  }
  return models;
}

Result<std::vector<RunningModel>> Client::Running() {
  CORRAL_TRY(const std::string body, Single(Get("/api/ps")));
  const std::optional<Json> json = ParseJson(body);
  if (!json || !json->is_object()) return BadReply("ps");
  std::vector<RunningModel> models;
  const Json* rows = Field(*json, "models");
  if (rows == nullptr || !rows->is_array()) return models;
  for (const Json& row : *rows) {
    models.push_back({TextField(row, "name"), TextField(row, "digest"), IntField(row, "size"),
                      IntField(row, "size_vram"), IntField(row, "context_length"),
                      TimeField(row, "expires_at")});
  }
  return models;
}

Result<ShowReply> Client::Show(const std::string& model, bool is_verbose, const std::string& system,
                               const std::vector<modelfile::Parameter>& options) {
  Json body = {{"model", model}};
  if (is_verbose) body["verbose"] = true;
  AddText(body, "system", system);
  if (!options.empty()) body["options"] = ToJson(options);
  CORRAL_TRY(const std::string reply, Single(Post("/api/show", body)));
  const std::optional<Json> json = ParseJson(reply);
  if (!json || !json->is_object()) return BadReply("show");
  return ToShowReply(*json);
}

Status Client::Generate(const GenerateRequest& request, const OnAnswer& on_answer, StopToken stop) {
  Json body = {{"model", request.model}, {"prompt", request.prompt}};
  AddText(body, "system", request.system);
  for (const std::string& image : request.images) body["images"].push_back(Base64Encode(image));
  CORRAL_TRY_STATUS(AddOptions(body, request));
  return Answer("/api/generate", DumpJson(body), on_answer, std::move(stop));
}

Status Client::Chat(const ChatRequest& request, const OnAnswer& on_answer, StopToken stop) {
  Json body = {{"model", request.model}, {"messages", Json::array()}};
  for (const ChatMessage& message : request.messages) body["messages"].push_back(ToJson(message));
  CORRAL_TRY_STATUS(AddOptions(body, request));
  return Answer("/api/chat", DumpJson(body), on_answer, std::move(stop));
}

Result<std::string> Client::Embed(const EmbedRequest& request, StopToken stop) {
  Json body = {{"model", request.model}, {"input", request.input}};
  if (request.truncate) body["truncate"] = *request.truncate;
  if (request.dimensions > 0) body["dimensions"] = request.dimensions;
  if (request.keep_alive) body["keep_alive"] = ToJson(*request.keep_alive);
  CORRAL_TRY(const std::string reply, Single(Post("/api/embed", body), std::move(stop)));
  const std::optional<Json> json = ParseJson(reply);
  if (!json) return BadReply("embed");
  const Json* vectors = Field(*json, "embeddings");
  if (vectors == nullptr || !vectors->is_array() || vectors->empty())
    return Fail(Code::kUpstream, "no embeddings returned");
  return DumpJson((*vectors)[0]);
}

Status Client::Copy(const std::string& source, const std::string& destination) {
  CORRAL_TRY(const std::string body,
             Single(Post("/api/copy", {{"source", source}, {"destination", destination}})));
  return {};
}

Status Client::Delete(const std::string& model) {
  HttpRequest request = Post("/api/delete", {{"model", model}});
  request.method = "DELETE";
  CORRAL_TRY(const std::string body, Single(std::move(request)));
  return {};
}

Status Client::Pull(const std::string& model, bool is_insecure, const OnProgress& on_progress) {
  Json body = {{"model", model}};
  if (is_insecure) body["insecure"] = true;
  return Progress("/api/pull", DumpJson(body), on_progress);
}

Status Client::Push(const std::string& model, bool is_insecure, const OnProgress& on_progress) {
  Json body = {{"model", model}};
  if (is_insecure) body["insecure"] = true;
  return Progress("/api/push", DumpJson(body), on_progress);
}

Result<bool> Client::HasBlob(const std::string& digest) {
  CORRAL_TRY(const Reply reply, Exchange({.method = "HEAD", .path = "/api/blobs/" + digest}));
  if (reply.head.status == 404) return false;
  if (reply.head.status >= 400) return SingleError(reply.head, reply.body);
  return true;
}

Status Client::CreateBlob(const std::string& digest, const std::filesystem::path& file,
                          std::function<void(std::uint64_t n_sent)> on_sent) {
  HttpRequest request{.method = "POST", .path = "/api/blobs/" + digest};
  request.body_file = file;
  request.on_sent = std::move(on_sent);
  CORRAL_TRY(const std::string body, Single(std::move(request)));
  return {};
}

Status Client::Create(const CreateRequest& request, const OnProgress& on_progress) {
  Json body = {{"model", request.model}};
  AddText(body, "from", request.from);
  if (!request.files.empty()) body["files"] = request.files;
  if (!request.adapters.empty()) body["adapters"] = request.adapters;
  if (!request.draft_files.empty()) body["draft_files"] = request.draft_files;
  AddText(body, "quantize", request.quantize);
  AddText(body, "draft_quantize", request.draft_quantize);
  AddText(body, "template", request.template_text);
  AddText(body, "system", request.system);
  AddText(body, "renderer", request.renderer);
  AddText(body, "parser", request.parser);
  AddText(body, "requires", request.requires_version);
  if (!request.licenses.empty()) body["license"] = request.licenses;
  if (!request.parameters.empty()) body["parameters"] = ToJson(request.parameters);
  for (const ChatMessage& message : request.messages) body["messages"].push_back(ToJson(message));
  return Progress("/api/create", DumpJson(body), on_progress);
}

Result<std::variant<std::string, SignInNeeded>> Client::WhoAmI() {
  CORRAL_TRY(const Reply reply, Exchange({.method = "POST", .path = "/api/me"}));
  const std::optional<Json> json = ParseJson(reply.body);
  if (reply.head.status == 401) return SignInNeeded{json ? TextField(*json, "signin_url") : ""};
  if (reply.head.status >= 400) return SingleError(reply.head, reply.body);
  return json ? TextField(*json, "name") : "";
}

Result<bool> Client::SignOut() {
  CORRAL_TRY(const Reply reply, Exchange({.method = "POST", .path = "/api/signout"}));
  if (reply.head.status == 401) return false;
  if (reply.head.status >= 400) return SingleError(reply.head, reply.body);
  return true;
}

}  // namespace corral::cli
