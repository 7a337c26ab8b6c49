// Answers that describe models: tags, ps, show.
#include <algorithm>

#include "api/json_writer.h"
#include "api/native/responses.h"

namespace corral::api {
namespace {

void WriteStrings(std::string_view key, const std::vector<std::string>& values, JsonWriter* w) {
  w->Key(key);
  if (values.empty()) {
    w->Null();  // Go's nil slice
    return;
  }
  w->BeginArray();
  for (const std::string& value : values) w->Value(value);
  w->EndArray();
}

void WriteCapabilities(const std::vector<Capability>& capabilities, JsonWriter* w) {
  if (capabilities.empty()) return;
  w->Key("capabilities").BeginArray();
  for (const Capability capability : capabilities) w->Value(CapabilityName(capability));
  w->EndArray();
}

// The six fields that are always there; the caller closes the object.
void WriteDetails(const models::ModelConfig& config, std::string_view parent,
                  std::string_view quantization, JsonWriter* w) {
  w->Key("details").BeginObject().Field("parent_model", parent);
  w->Field("format", config.model_format).Field("family", config.model_family);
  WriteStrings("families", config.model_families, w);
  w->Field("parameter_size", config.model_type).Field("quantization_level", quantization);
}

void WriteScalar(const gguf::Value& value, gguf::ValueType type, JsonWriter* w) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    w->Value(*text);
  } else if (const auto* boolean = std::get_if<bool>(&value)) {
    w->Value(*boolean);
  } else if (const auto* unsigned_integer = std::get_if<std::uint64_t>(&value)) {
    w->Value(*unsigned_integer);
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    w->Value(*integer);
  } else if (const auto* number = std::get_if<double>(&value)) {
    if (type == gguf::ValueType::kFloat32) {
      w->Value(static_cast<float>(*number));
    } else {
      w->Value(*number);
    }
  } else {
    w->Null();  // an array inside an array
  }
}

void WriteMetadataValue(const gguf::KeyValue& entry, bool is_verbose, JsonWriter* w) {
  const auto* array = std::get_if<gguf::Array>(&entry.value);
  if (array == nullptr) {
    WriteScalar(entry.value, entry.type, w);
    return;
  }
  if (array->size > 0 && !is_verbose) {
    w->Null();
    return;
  }
  w->BeginArray();
  for (const gguf::Value& element : array->elements) WriteScalar(element, array->type, w);
  w->EndArray();
}

// Keys sorted, as Go writes a map.
void WriteMetadata(std::string_view field, const gguf::Info& info, bool is_verbose,
                   std::string_view basename, JsonWriter* w) {
  static constexpr std::string_view kBasename = "general.basename";
  static constexpr std::string_view kCount = "general.parameter_count";
  std::vector<const gguf::KeyValue*> entries;
  for (const gguf::KeyValue& entry : info.metadata) {
    if (entry.key == "general.name" || entry.key == "tokenizer.chat_template" ||
        entry.key == kCount)
      continue;
    if (entry.key == kBasename && !basename.empty()) continue;
    entries.push_back(&entry);
  }
  std::sort(entries.begin(), entries.end(),
            [](const auto* a, const auto* b) { return a->key < b->key; });

  w->Key(field).BeginObject();
  bool is_count_written = false;
  bool is_basename_written = basename.empty();
  const auto write_ours_before = [&](std::string_view key) {
    if (!is_basename_written && (key.empty() || kBasename < key)) {
      w->Field(kBasename, basename);
      is_basename_written = true;
    }
    if (!is_count_written && (key.empty() || kCount < key)) {
      w->Field(kCount, info.ParameterCount());
      is_count_written = true;
    }
  };
  for (const gguf::KeyValue* entry : entries) {
    write_ours_before(entry->key);
    w->Key(entry->key);
    WriteMetadataValue(*entry, is_verbose, w);
  }
  write_ours_before("");
  w->EndObject();
}

void WriteTensors(const gguf::Info& info, JsonWriter* w) {
  if (info.tensors.empty()) return;
  w->Key("tensors").BeginArray();
  for (const gguf::TensorInfo& tensor : info.tensors) {
    w->BeginObject().Field("name", tensor.name).Field("type", gguf::TensorTypeName(tensor.type));
    w->Key("shape").BeginArray();
    for (const std::uint64_t size : tensor.dims) w->Value(size);
    w->EndArray().EndObject();
  }
  w->EndArray();
}

std::string_view ParentOf(const models::Model& model) {
  const models::Layer* layer = model.manifest.Find("model");
  return layer == nullptr ? std::string_view() : std::string_view(layer->from);
}

std::string ShownTemplate(const ShowInput& input) {
  if (!input.uses_go_template && input.info != nullptr && !input.info->ChatTemplate().empty()) {
    return std::string(input.info->ChatTemplate());
  }
  return input.model.template_text.value_or("{{ .Prompt }}");
}

}  // namespace

std::string TagsAnswer(const std::vector<models::ModelSummary>& summaries) {
  JsonWriter w;
  w.BeginObject().Key("models").BeginArray();
  for (const models::ModelSummary& summary : summaries) {
    const std::string name = summary.name.Short();
    w.BeginObject().Field("name", name).Field("model", name);
    w.FieldUnlessEmpty("remote_model", summary.config.remote_model);
    w.FieldUnlessEmpty("remote_host", summary.config.remote_host);
    w.Field("modified_at", FormatRfc3339(summary.modified_at, TimeZone::kLocal));
    w.Field("size", summary.size_bytes).Field("digest", summary.digest);
    WriteDetails(summary.config, "", summary.config.file_type, &w);
    w.FieldUnlessZero("context_length", summary.context_length);
    w.FieldUnlessZero("embedding_length", summary.embedding_length).EndObject();
    WriteCapabilities(summary.capabilities, &w);
    w.EndObject();
  }
  w.EndArray().EndObject();
  return w.Take();
}

std::string PsAnswer(const std::vector<scheduler::LoadedModel>& loaded, Timestamp now) {
  static const models::ModelConfig kUnknown;
  JsonWriter w;
  w.BeginObject().Key("models").BeginArray();
  for (const scheduler::LoadedModel& row : loaded) {
    const auto* model = static_cast<const models::Model*>(row.details.get());
    const models::ModelConfig& config = model == nullptr ? kUnknown : model->config;
    const Timestamp expires =
        row.is_forever ? now.Plus(std::chrono::nanoseconds::max()) : Timestamp(row.expires_at);
    w.BeginObject().Field("name", row.name).Field("model", row.name);
    w.Field("size", row.size_bytes).Field("digest", row.digest);
    WriteDetails(config, "", config.file_type, &w);
    w.EndObject();
    w.Field("expires_at", FormatRfc3339(expires, TimeZone::kLocal));
    w.Field("size_vram", row.vram_bytes).Field("context_length", row.num_ctx).EndObject();
  }
  w.EndArray().EndObject();
  return w.Take();
}

std::string ShowAnswer(const ShowInput& input) {
  const models::Model& model = input.model;
  std::string license;
  for (const std::string& text : model.licenses) {
    if (!license.empty()) license += '\n';
    license += text;
  }
  std::string quantization = model.config.file_type;
  if ((quantization.empty() || quantization == "unknown") && input.info != nullptr) {
    quantization = input.info->FileType();
  }

  JsonWriter w;
  w.BeginObject()
      .FieldUnlessEmpty("license", license)
      .FieldUnlessEmpty("modelfile", input.modelfile);
  w.FieldUnlessEmpty("parameters", models::ShowParameters(model.params));
  w.FieldUnlessEmpty("template", ShownTemplate(input)).FieldUnlessEmpty("system", model.system);
  w.FieldUnlessEmpty("renderer", model.config.renderer)
      .FieldUnlessEmpty("parser", model.config.parser);
  WriteDetails(model.config, ParentOf(model), quantization, &w);
  w.EndObject();
  if (!model.messages.empty()) {
    w.Key("messages").BeginArray();
    for (const models::StoredMessage& message : model.messages) {
      w.BeginObject().Field("role", message.role).Field("content", message.content).EndObject();
    }
    w.EndArray();
  }
  w.FieldUnlessEmpty("remote_model", model.config.remote_model);
  w.FieldUnlessEmpty("remote_host", model.config.remote_host);
  if (input.info != nullptr) {
    WriteMetadata("model_info", *input.info, input.is_verbose, input.basename_override, &w);
  } else {
    w.Key("model_info").BeginObject().EndObject();
  }
  if (input.projector != nullptr)
    WriteMetadata("projector_info", *input.projector, input.is_verbose, "", &w);
  if (input.info != nullptr) WriteTensors(*input.info, &w);
  WriteCapabilities(input.capabilities, &w);
  w.Field("modified_at", FormatRfc3339(model.modified_at, TimeZone::kLocal));
  w.FieldUnlessEmpty("requires", model.config.requires_version).EndObject();
  return w.Take();
}

}  // namespace corral::api
