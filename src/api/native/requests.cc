#include "api/native/requests.h"

#include <utility>

#include "core/settings.h"
#include "core/text.h"

namespace corral::api {
namespace {

using Fields = std::vector<JsonField>;

template <class T>
JsonField Into(std::string_view name, T* out) {
  return {name, [out](Decoder& d) { d.Read(out); }};
}

// api/types.go, Duration.UnmarshalJSON.
void ReadKeepAlive(Decoder& d, std::optional<std::chrono::nanoseconds>* out) {
  constexpr auto kForever = std::chrono::nanoseconds::max();
  switch (d.kind()) {
    case JsonKind::kNull:
      d.ReadRaw();
      out->reset();
      break;
    case JsonKind::kNumber: {
      OptionValue value = ReadOptionValue(d);
      constexpr double kMostSeconds = 9'223'372'036.0;
      *out = value.number < 0 || value.number >= kMostSeconds
                 ? kForever
                 : std::chrono::nanoseconds(static_cast<std::int64_t>(value.number * 1e9));
      break;
    }
    case JsonKind::kString: {
      const auto duration = ParseGoDuration(d.TakeString());
      if (!duration) {
        d.Abort(duration.error().message);
      } else {
        *out = duration->count() < 0 ? kForever : *duration;
      }
      break;
    }
    case JsonKind::kBool:
      d.Abort("Unsupported type: 'bool'");
      break;
    case JsonKind::kArray:
      d.Abort("Unsupported type: '[]interface {}'");
      break;
    case JsonKind::kObject:
      d.Abort("Unsupported type: 'map[string]interface {}'");
      break;
  }
}

// api/types.go, ThinkValue.UnmarshalJSON.
void ReadThink(Decoder& d, std::optional<Think>* out) {
  static constexpr std::string_view kLevels[] = {"high", "medium", "low", "max"};
  switch (d.kind()) {
    case JsonKind::kNull:
      d.ReadRaw();
      out->reset();
      return;
    case JsonKind::kBool:
      *out = Think{.is_on = d.TakeBool(), .level = ""};
      return;
    case JsonKind::kString: {
      const std::string level = d.TakeString();
      for (const std::string_view known : kLevels) {
        if (level == known) {
          *out = Think{.is_on = true, .level = level};
          return;
        }
      }
      d.Abort("invalid think value: " + GoQuote(level) +
              R"( (must be "high", "medium", "low", "max", true, or false))");
      return;
    }
    default:
      d.Abort(
          R"(think must be a boolean or string ("high", "medium", "low", "max", true, or false))");
  }
}

// json.RawMessage; "" and null ask for free text.
void ReadFormat(Decoder& d, std::string* out) {
  *out = CompactJson(d.ReadRaw());
  if (*out == "null" || *out == "\"\"") out->clear();
}

void ReadImages(Decoder& d, std::vector<std::string>* out) {
  out->clear();
  d.ReadArray("[]api.ImageData", [out](Decoder& element) {
    if (element.kind() != JsonKind::kString) {
      element.SkipWrongType("api.ImageData");
      return;
    }
    auto bytes = DecodeMedia(element.TakeString());
    if (!bytes) {
      element.Abort(std::move(bytes).error().message);
      return;
    }
    out->push_back(*std::move(bytes));
  });
}

void ReadArguments(Decoder& d, std::string* out) {
  if (d.kind() == JsonKind::kObject) {
    *out = CompactJson(d.ReadRaw());
  } else if (d.kind() == JsonKind::kNull) {
    d.ReadRaw();
  } else {
    d.SkipWrongType("map[string]interface {}");
  }
}

void ReadToolCall(Decoder& d, std::vector<ToolCall>* out) {
  ToolCall call;
  const Fields function = {
      Into("index", &call.index),
      Into("name", &call.name),
      {"arguments", [&](Decoder& at) { ReadArguments(at, &call.arguments_json); }}};
  const Fields fields = {Into("id", &call.id), {"function", [&](Decoder& at) {
                                                  at.ReadStruct("api.ToolCallFunction", function);
                                                }}};
  d.ReadStruct("api.ToolCall", fields);
  out->push_back(std::move(call));
}

// The array is kept as text; what a template will look at is checked.
void ReadTools(Decoder& d, std::string* out) {
  out->clear();
  if (d.kind() != JsonKind::kArray) {
    d.ReadArray("api.Tools", [](Decoder&) {});
    return;
  }
  std::string tools;
  d.ReadArray("api.Tools", [&tools](Decoder& element) {
    if (element.kind() != JsonKind::kObject) {
      element.SkipWrongType("api.Tool");
      return;
    }
    tools += tools.empty() ? '[' : ',';
    tools += CompactJson(element.PeekRaw());
    std::string text;
    const Fields parameters = {{"properties",
                                [](Decoder& at) {
                                  at.ReadMap("api.ToolPropertiesMap",
                                             [](std::string, Decoder& p) { p.ReadRaw(); });
                                }},
                               {"required", [](Decoder& at) {
                                  at.ReadArray("[]string", [](Decoder& name) {
                                    std::string ignored;
                                    name.Read(&ignored);
                                  });
                                }}};
    const Fields function = {Into("name", &text),
                             Into("description", &text),
                             {"parameters", [&](Decoder& at) {
                                at.ReadStruct("api.ToolFunctionParameters", parameters);
                              }}};
    const Fields fields = {Into("type", &text), {"function", [&](Decoder& at) {
                                                   at.ReadStruct("api.ToolFunction", function);
                                                 }}};
    element.ReadStruct("api.Tool", fields);
  });
  if (!tools.empty()) *out = tools + ']';
}

AdapterChoice ReadChoice(Decoder& d) {
  AdapterChoice choice;
  if (d.kind() == JsonKind::kObject) {
    const Fields fields = {Into("name", &choice.name), Into("scale", &choice.scale)};
    d.ReadStruct("api.Adapter", fields);
  } else {
    d.Read(&choice.name, "api.Adapter");
  }
  return choice;
}

void ReadAdapters(Decoder& d, std::optional<std::vector<AdapterChoice>>* out) {
  out->reset();
  if (d.kind() == JsonKind::kNull) {
    d.ReadRaw();
    return;
  }
  std::vector<AdapterChoice> choices;
  if (d.ReadArray("[]api.Adapter",
                  [&](Decoder& element) { choices.push_back(ReadChoice(element)); })) {
    *out = std::move(choices);
  }
}

void AddModelFields(ModelParts* parts, Fields* fields) {
  fields->push_back(Into("model", &parts->model));
  fields->push_back({"keep_alive", [parts](Decoder& d) { ReadKeepAlive(d, &parts->keep_alive); }});
  fields->push_back({"options", [parts](Decoder& d) { ReadOptions(d, &parts->options); }});
  fields->push_back({"adapters", [parts](Decoder& d) { ReadAdapters(d, &parts->adapters); }});
}

// A *bool that is true when absent.
JsonField TrueUnlessFalse(std::string_view name, bool* out) {
  return {name, [out](Decoder& d) {
            std::optional<bool> value;
            d.Read(&value);
            *out = value.value_or(true);
          }};
}

void AddGenerationFields(GenerationParts* parts, Fields* fields) {
  AddModelFields(parts, fields);
  fields->push_back(TrueUnlessFalse("stream", &parts->is_streamed));
  fields->push_back({"format", [parts](Decoder& d) { ReadFormat(d, &parts->format_json); }});
  fields->push_back({"think", [parts](Decoder& d) { ReadThink(d, &parts->think); }});
  fields->push_back(TrueUnlessFalse("truncate", &parts->truncate));
  fields->push_back(Into("shift", &parts->shift));
  fields->push_back(Into("logprobs", &parts->logprobs));
  fields->push_back(Into("top_logprobs", &parts->top_logprobs));
  fields->push_back(Into("_debug_render_only", &parts->render_only));
}

// `input` is an `any`: "" and [] mean nothing to embed.
void ReadInput(Decoder& d, EmbedRequest* out) {
  out->input.clear();
  out->is_input_valid = true;
  if (d.kind() == JsonKind::kString) {
    std::string text = d.TakeString();
    if (!text.empty()) out->input.push_back(std::move(text));
  } else if (d.kind() == JsonKind::kArray) {
    d.ReadArray("[]interface {}", [out](Decoder& element) {
      if (element.kind() == JsonKind::kString) {
        out->input.push_back(element.TakeString());
      } else {
        element.ReadRaw();
        out->is_input_valid = false;
      }
    });
  } else {
    out->is_input_valid = d.kind() == JsonKind::kNull;
    d.ReadRaw();
  }
}

// False if it was no list.
bool ReadTokens(Decoder& d, std::vector<Token>* out) {
  out->clear();
  return d.ReadArray("[]int", [out](Decoder& element) {
    Token token = 0;
    element.ReadInt32(&token);
    out->push_back(token);
  });
}

void ReadContext(Decoder& d, std::optional<std::vector<Token>>* out) {
  out->reset();
  if (d.kind() == JsonKind::kNull) {
    d.ReadRaw();
    return;
  }
  std::vector<Token> tokens;
  if (ReadTokens(d, &tokens)) *out = std::move(tokens);
}

void ReadDocuments(Decoder& d, std::vector<std::string>* out) {
  out->clear();
  d.ReadArray("[]string", [out](Decoder& element) {
    std::string& text = out->emplace_back();
    if (element.kind() == JsonKind::kObject) {
      const JsonField field = Into("text", &text);
      element.ReadStruct("api.RerankDocument", std::span(&field, 1));
    } else {
      element.Read(&text);
    }
  });
}

// A whole body that names a model: syntax first, then its own fields and those that all such share.
template <class Request>
Result<Request> ReadModelBody(std::string_view body, std::string_view go_type,
                              Fields (*own_fields)(Request&)) {
  CORRAL_TRY(const std::string_view value, FirstValue(body));
  Request request;
  Fields fields = own_fields(request);
  AddModelFields(&request, &fields);
  Decoder decoder(value);
  decoder.ReadStruct(go_type, fields);
  CORRAL_TRY_STATUS(decoder.status());
  return request;
}

}  // namespace

Result<std::string> DecodeMedia(std::string_view text) {
  static constexpr std::string_view kMark = ";base64,";
  if (text.starts_with("data:")) {
    // A media type is short: look no further than one could reach.
    const auto mark = text.substr(0, 256).find(kMark);
    if (mark != std::string_view::npos) text.remove_prefix(mark + kMark.size());
  }
  return Base64Decode(text);
}

void ReadMessage(Decoder& d, std::vector<ChatMessage>* out) {
  ChatMessage message;
  const Fields fields = {Into("role", &message.role),
                         Into("content", &message.content),
                         Into("thinking", &message.thinking),
                         {"images", [&](Decoder& at) { ReadImages(at, &message.images); }},
                         {"tool_calls",
                          [&](Decoder& at) {
                            message.tool_calls.clear();
                            at.ReadArray("[]api.ToolCall", [&](Decoder& call) {
                              ReadToolCall(call, &message.tool_calls);
                            });
                          }},
                         Into("tool_name", &message.tool_name),
                         Into("tool_call_id", &message.tool_call_id)};
  d.ReadStruct("api.Message", fields);
  message.role = ToLowerAscii(message.role);
  out->push_back(std::move(message));
}

Result<GenerateRequest> ReadGenerateRequest(std::string_view body) {
  CORRAL_TRY(const std::string_view value, FirstValue(body));
  GenerateRequest request;
  Fields fields = {Into("prompt", &request.prompt),
                   Into("suffix", &request.suffix),
                   Into("system", &request.system),
                   Into("template", &request.template_text),
                   {"context", [&](Decoder& d) { ReadContext(d, &request.context); }},
                   Into("raw", &request.is_raw),
                   {"images", [&](Decoder& d) { ReadImages(d, &request.images); }}};
  AddGenerationFields(&request, &fields);
  Decoder decoder(value);
  decoder.ReadStruct("api.GenerateRequest", fields);
  CORRAL_TRY_STATUS(decoder.status());
  return request;
}

Result<ChatRequest> ReadChatRequest(std::string_view body) {
  CORRAL_TRY(const std::string_view value, FirstValue(body));
  ChatRequest request;
  Fields fields = {{"messages",
                    [&](Decoder& d) {
                      request.messages.clear();
                      d.ReadArray("[]api.Message", [&](Decoder& message) {
                        ReadMessage(message, &request.messages);
                      });
                    }},
                   {"tools", [&](Decoder& d) { ReadTools(d, &request.tools_json); }}};
  AddGenerationFields(&request, &fields);
  Decoder decoder(value);
  decoder.ReadStruct("api.ChatRequest", fields);
  CORRAL_TRY_STATUS(decoder.status());
  return request;
}

Result<EmbedRequest> ReadEmbedRequest(std::string_view body) {
  return ReadModelBody<EmbedRequest>(body, "api.EmbedRequest", [](EmbedRequest& request) -> Fields {
    return {{"input", [&request](Decoder& d) { ReadInput(d, &request); }},
            TrueUnlessFalse("truncate", &request.truncate),
            Into("dimensions", &request.dimensions)};
  });
}

Result<EmbeddingsRequest> ReadEmbeddingsRequest(std::string_view body) {
  return ReadModelBody<EmbeddingsRequest>(
      body, "api.EmbeddingRequest",
      [](EmbeddingsRequest& request) -> Fields { return {Into("prompt", &request.prompt)}; });
}

Result<RerankRequest> ReadRerankRequest(std::string_view body) {
  return ReadModelBody<RerankRequest>(
      body, "api.RerankRequest", [](RerankRequest& request) -> Fields {
        return {Into("query", &request.query),
                {"documents", [&request](Decoder& d) { ReadDocuments(d, &request.documents); }},
                Into("top_n", &request.top_n),
                Into("return_documents", &request.returns_documents),
                TrueUnlessFalse("truncate", &request.truncate)};
      });
}

Result<TokenizeRequest> ReadTokenizeRequest(std::string_view body) {
  return ReadModelBody<TokenizeRequest>(
      body, "api.TokenizeRequest", [](TokenizeRequest& request) -> Fields {
        return {Into("content", &request.content), Into("add_special", &request.add_special),
                TrueUnlessFalse("parse_special", &request.parse_special)};
      });
}

Result<DetokenizeRequest> ReadDetokenizeRequest(std::string_view body) {
  return ReadModelBody<DetokenizeRequest>(
      body, "api.DetokenizeRequest", [](DetokenizeRequest& request) -> Fields {
        return {{"tokens", [&request](Decoder& d) { ReadTokens(d, &request.tokens); }}};
      });
}

Result<ShowRequest> ReadShowRequest(std::string_view body) {
  CORRAL_TRY(const std::string_view value, FirstValue(body));
  ShowRequest request;
  std::string name, ignored;
  const Fields fields = {Into("model", &request.model),
                         Into("name", &name),
                         Into("system", &request.system),
                         Into("template", &ignored),
                         Into("verbose", &request.is_verbose),
                         {"options", [&](Decoder& d) { ReadOptions(d, &request.options); }}};
  Decoder decoder(value);
  decoder.ReadStruct("api.ShowRequest", fields);
  CORRAL_TRY_STATUS(decoder.status());
  if (request.model.empty()) request.model = std::move(name);
  return request;
}

Result<CopyRequest> ReadCopyRequest(std::string_view body) {
  CORRAL_TRY(const std::string_view value, FirstValue(body));
  CopyRequest request;
  const Fields fields = {Into("source", &request.source),
                         Into("destination", &request.destination)};
  Decoder decoder(value);
  decoder.ReadStruct("api.CopyRequest", fields);
  CORRAL_TRY_STATUS(decoder.status());
  return request;
}

Result<DeleteRequest> ReadDeleteRequest(std::string_view body) {
  CORRAL_TRY(const std::string_view value, FirstValue(body));
  DeleteRequest request;
  std::string name;
  const Fields fields = {Into("model", &request.model), Into("name", &name)};
  Decoder decoder(value);
  decoder.ReadStruct("api.DeleteRequest", fields);
  CORRAL_TRY_STATUS(decoder.status());
  if (request.model.empty()) request.model = std::move(name);
  return request;
}

namespace {

Result<TransferRequest> ReadTransferRequest(std::string_view body, std::string_view go_type) {
  CORRAL_TRY(const std::string_view value, FirstValue(body));
  TransferRequest request;
  std::string name;
  const Fields fields = {Into("model", &request.model), Into("name", &name),
                         Into("insecure", &request.is_insecure),
                         TrueUnlessFalse("stream", &request.is_streamed)};
  Decoder decoder(value);
  decoder.ReadStruct(go_type, fields);
  CORRAL_TRY_STATUS(decoder.status());
  if (request.model.empty()) request.model = std::move(name);
  return request;
}

}  // namespace

Result<TransferRequest> ReadPullRequest(std::string_view body) {
  return ReadTransferRequest(body, "api.PullRequest");
}
Result<TransferRequest> ReadPushRequest(std::string_view body) {
  return ReadTransferRequest(body, "api.PushRequest");
}

}  // namespace corral::api
