#include "models/manifest.h"

#include <limits>

#include "core/sha256.h"
#include "models/internal/go_json.h"

namespace corral::models {

using internal::ParseJson;
using internal::QuoteJson;
using internal::TextOf;
using nlohmann::json;

namespace {

Result<Layer> ParseLayer(const json& value) {
  if (!value.is_object()) return Fail(Code::kCorrupt, "a layer is no object");
  const auto digest = Digest::Parse(TextOf(value, "digest"));
  if (!digest) return Fail(Code::kCorrupt, "invalid digest format");
  std::int64_t size = 0;
  if (const auto found = value.find("size"); found != value.end() && !found->is_null()) {
    // get<int64>() of a larger unsigned number would wrap.
    const bool is_in_range =
        found->is_number_integer() &&
        (!found->is_number_unsigned() ||
         found->get<std::uint64_t>() <= std::numeric_limits<std::int64_t>::max());
    if (!is_in_range || found->get<std::int64_t>() < 0)
      return Fail(Code::kCorrupt, "invalid layer size");
    size = found->get<std::int64_t>();
  }
  return Layer{TextOf(value, "mediaType"), *digest, size, TextOf(value, "from"),
               TextOf(value, "name")};
}

// A config without a digest is none: odd old models have it.
Result<std::optional<Layer>> ParseConfigLayer(const json& manifest) {
  const auto found = manifest.find("config");
  if (found == manifest.end() || found->is_null()) return std::nullopt;
  if (found->is_object() && TextOf(*found, "digest").empty()) return std::nullopt;
  CORRAL_TRY(Layer layer, ParseLayer(*found));
  return std::optional<Layer>(std::move(layer));
}

void AppendLayer(const Layer& layer, std::string* out) {
  out->append("{\"mediaType\":").append(QuoteJson(layer.media_type));
  out->append(",\"digest\":").append(QuoteJson(layer.digest.ToString()));
  out->append(",\"size\":").append(std::to_string(layer.size));
  if (!layer.from.empty()) out->append(",\"from\":").append(QuoteJson(layer.from));
  if (!layer.name.empty()) out->append(",\"name\":").append(QuoteJson(layer.name));
  out->append("}");
}

std::vector<std::string> TextsOf(const json& object, const char* key) {
  std::vector<std::string> texts;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) return texts;
  for (const json& item : *found) {
    if (item.is_string()) texts.push_back(item.get<std::string>());
  }
  return texts;
}

std::int64_t CountOf(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return 0;
  const auto value = found->get<std::int64_t>();
  return value > 0 ? value : 0;
}

void AppendTexts(const std::vector<std::string>& texts, std::string* out) {
  const char* separator = "[";
  for (const std::string& text : texts) {
    out->append(separator).append(QuoteJson(text));
    separator = ",";
  }
  out->append("]");
}

}  // namespace

std::string_view Layer::Kind() const {
  std::string_view kind = media_type;
  if (!kind.starts_with(kMediaPrefix)) return {};
  kind.remove_prefix(kMediaPrefix.size());
  return kind == "prompt" ? "template" : kind;
}

const Layer* Manifest::Find(std::string_view kind) const {
  for (const Layer& layer : layers) {
    if (layer.Kind() == kind) return &layer;
  }
  return nullptr;
}

std::int64_t Manifest::TotalBytes() const {
  std::int64_t total = 0;
  const auto add = [&total](const Layer& layer) {
    constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
    total = layer.size > kMax - total ? kMax : total + layer.size;
  };
  for (const Layer& layer : layers) add(layer);
  if (config) add(*config);
  return total;
}

Result<Manifest> ParseManifest(std::string raw) {
  if (raw.size() > kMaxManifestBytes) return Fail(Code::kCorrupt, "manifest is too large");
  CORRAL_TRY(const json value, ParseJson(raw));
  if (!value.is_object()) return Fail(Code::kCorrupt, "manifest is no object");
  Manifest manifest;
  CORRAL_TRY(manifest.config, ParseConfigLayer(value));
  if (const auto layers = value.find("layers"); layers != value.end() && !layers->is_null()) {
    if (!layers->is_array()) return Fail(Code::kCorrupt, "layers is no array");
    if (layers->size() > kMaxLayers) return Fail(Code::kCorrupt, "manifest has too many layers");
    manifest.layers.reserve(layers->size());
    for (const json& item : *layers) {
      CORRAL_TRY(Layer layer, ParseLayer(item));
      manifest.layers.push_back(std::move(layer));
    }
  }
  manifest.media_type = TextOf(value, "mediaType");
  manifest.digest = Sha256Hex(raw);
  manifest.raw = std::move(raw);
  return manifest;
}

std::string EncodeManifest(const Layer& config, const std::vector<Layer>& layers) {
  std::string text =
      "{\"schemaVersion\":2,\"mediaType\":" + QuoteJson(kManifestMediaType) + ",\"config\":";
  AppendLayer(config, &text);
  text.append(",\"layers\":[");
  for (const Layer& layer : layers) {
    if (&layer != &layers.front()) text.append(",");
    AppendLayer(layer, &text);
  }
  return text.append("]}\n");
}

Result<ModelConfig> ParseConfig(std::string_view text) {
  CORRAL_TRY(const json value, ParseJson(text));
  if (!value.is_object()) return Fail(Code::kCorrupt, "config is no object");
  ModelConfig config;
  config.model_format = TextOf(value, "model_format");
  config.model_family = TextOf(value, "model_family");
  config.model_families = TextsOf(value, "model_families");
  config.model_type = TextOf(value, "model_type");
  config.file_type = TextOf(value, "file_type");
  config.renderer = TextOf(value, "renderer");
  config.parser = TextOf(value, "parser");
  config.requires_version = TextOf(value, "requires");
  config.remote_host = TextOf(value, "remote_host");
  config.remote_model = TextOf(value, "remote_model");
  config.capabilities = TextsOf(value, "capabilities");
  config.context_length = CountOf(value, "context_length");
  config.embedding_length = CountOf(value, "embedding_length");
  config.base_name = TextOf(value, "base_name");
  return config;
}

std::string EncodeConfig(const ModelConfig& config) {
  std::string text = "{\"model_format\":" + QuoteJson(config.model_format);
  text.append(",\"model_family\":")
      .append(QuoteJson(config.model_family))
      .append(",\"model_families\":");
  if (config.model_families.empty()) {
    text.append("null");
  } else {
    AppendTexts(config.model_families, &text);
  }
  text.append(",\"model_type\":").append(QuoteJson(config.model_type));
  text.append(",\"file_type\":").append(QuoteJson(config.file_type));
  const auto add = [&text](std::string_view key, const std::string& value) {
    if (!value.empty()) text.append(",\"").append(key).append("\":").append(QuoteJson(value));
  };
  add("renderer", config.renderer);
  add("parser", config.parser);
  add("requires", config.requires_version);
  add("remote_host", config.remote_host);
  add("remote_model", config.remote_model);
  if (!config.capabilities.empty()) {
    text.append(",\"capabilities\":");
    AppendTexts(config.capabilities, &text);
  }
  const auto add_count = [&text](std::string_view key, std::int64_t value) {
    if (value != 0) text.append(",\"").append(key).append("\":").append(std::to_string(value));
  };
  add_count("context_length", config.context_length);
  add_count("embedding_length", config.embedding_length);
  add("base_name", config.base_name);
  return text.append(",\"architecture\":\"amd64\",\"os\":\"linux\"}\n");
}

}  // namespace corral::models
