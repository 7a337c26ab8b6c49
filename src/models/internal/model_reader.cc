#include "models/internal/model_reader.h"

#include <limits>

#include "core/log.h"
#include "models/internal/go_json.h"

namespace corral::models::internal {

using nlohmann::json;

namespace {

Result<std::string> ReadLayer(FileSystem& files, const Layout& layout, const Layer& layer) {
  auto bytes = files.Read(layout.BlobPath(layer.digest), kMaxTextLayerBytes);
  if (bytes) return bytes;
  const std::string which = "layer " + layer.digest.ToString();
  switch (bytes.error().code) {
    case Code::kNotFound:
      return Fail(Code::kCorrupt, which + " is missing");
    case Code::kTooLarge:
      return Fail(Code::kCorrupt, which + " is too large");
    default:
      return Fail(std::move(bytes).error().Within(which));
  }
}

std::shared_ptr<const gguf::Info> ReadInfo(const std::filesystem::path& file,
                                           const ModelName& name) {
  auto info = gguf::Read(file);
  if (info) return std::make_shared<const gguf::Info>(std::move(*info));
  Log(LogLevel::kWarn, "cannot read a GGUF file",
      {{"model", name.Short()},
       {"blob", file.filename().native()},
       {"error", info.error().message}});
  return nullptr;
}

Status TakeLayer(FileSystem& files, const Layout& layout, const Layer& layer, Model* model) {
  const std::string_view kind = layer.Kind();
  if (kind == "model") {
    if (model->gguf.empty()) model->gguf = layout.BlobPath(layer.digest);
  } else if (kind == "projector") {
    model->projectors.push_back(layout.BlobPath(layer.digest));
  } else if (kind == "adapter") {
    model->adapters.push_back(layout.BlobPath(layer.digest));
  } else if (kind == "draft") {
    model->drafts.push_back(layout.BlobPath(layer.digest));
  } else if (kind == "template") {
    CORRAL_TRY(model->template_text, ReadLayer(files, layout, layer));
  } else if (kind == "system") {
    CORRAL_TRY(model->system, ReadLayer(files, layout, layer));
  } else if (kind == "license") {
    CORRAL_TRY(std::string license, ReadLayer(files, layout, layer));
    model->licenses.push_back(std::move(license));
  } else if (kind == "params") {
    CORRAL_TRY(const std::string text, ReadLayer(files, layout, layer));
    CORRAL_TRY(model->params, ParseParams(text));
  } else if (kind == "messages") {
    CORRAL_TRY(const std::string text, ReadLayer(files, layout, layer));
    CORRAL_TRY(model->messages, ParseMessages(text));
  }
  return {};
}

std::optional<ParamValue> ParamOf(const json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
    return value.get<double>();
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return std::nullopt;
  std::vector<std::string> texts;
  for (const json& item : value) {
    if (!item.is_string()) return std::nullopt;
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

std::string EncodeParam(const ParamValue& value) {
  struct Encode {
    std::string operator()(bool flag) const { return flag ? "true" : "false"; }
    std::string operator()(std::int64_t number) const { return std::to_string(number); }
    std::string operator()(double number) const { return FormatNumber(number); }
    std::string operator()(const std::string& text) const { return QuoteJson(text); }
    std::string operator()(const std::vector<std::string>& texts) const {
      std::string list = "[";
      for (const std::string& text : texts)
        list.append(list.size() > 1 ? "," : "").append(QuoteJson(text));
      return list.append("]");
    }
  };
  return std::visit(Encode(), value);
}

}  // namespace

Result<Params> ParseParams(std::string_view text) {
  CORRAL_TRY(const json object, ParseJson(text));
  if (!object.is_object()) return Fail(Code::kCorrupt, "params are no object");
  Params params;
  for (const auto& [key, value] : object.items()) {
    if (auto param = ParamOf(value)) params.emplace(key, std::move(*param));
  }
  return params;
}

std::string EncodeParams(const Params& params) {
  std::string text = "{";
  for (const auto& [key, value] : params) {
    text.append(text.size() > 1 ? "," : "")
        .append(QuoteJson(key))
        .append(":")
        .append(EncodeParam(value));
  }
  return text.append("}\n");
}

Result<std::vector<StoredMessage>> ParseMessages(std::string_view text) {
  CORRAL_TRY(const json list, ParseJson(text));
  if (!list.is_array()) return Fail(Code::kCorrupt, "messages are no array");
  std::vector<StoredMessage> messages;
  for (const json& item : list) {
    if (!item.is_object()) return Fail(Code::kCorrupt, "a message is no object");
    messages.push_back({TextOf(item, "role"), TextOf(item, "content")});
  }
  return messages;
}

std::string EncodeMessages(const std::vector<StoredMessage>& messages) {
  std::string text = "[";
  for (const StoredMessage& message : messages) {
    text.append(text.size() > 1 ? "," : "").append("{\"role\":").append(QuoteJson(message.role));
    text.append(",\"content\":").append(QuoteJson(message.content)).append("}");
  }
  return text.append("]\n");
}

Result<Model> ReadModel(FileSystem& files, const Layout& layout, const ModelName& name,
                        StoredManifest stored) {
  Model model{
      .name = name, .manifest = std::move(stored.manifest), .modified_at = stored.modified_at};
  const auto within = [&name](Error error) {
    return Fail(std::move(error).Within("model " + name.Short()));
  };
  if (model.manifest.config) {
    auto text = ReadLayer(files, layout, *model.manifest.config);
    if (!text) return within(std::move(text).error());
    auto config = ParseConfig(*text);
    if (!config) return within(std::move(config).error());
    model.config = std::move(*config);
  }
  for (const Layer& layer : model.manifest.layers) {
    if (Status status = TakeLayer(files, layout, layer, &model); !status)
      return within(std::move(status).error());
  }
  if (model.template_text) {
    // One that does not parse is the caller's to report, when it is rendered.
    if (auto parsed = templates::Template::Parse(*model.template_text))
      model.parsed_template = std::move(*parsed);
  }
  if (!model.gguf.empty()) model.info = ReadInfo(model.gguf, name);
  if (!model.projectors.empty()) model.projector_info = ReadInfo(model.projectors.front(), name);
  return model;
}

}  // namespace corral::models::internal
