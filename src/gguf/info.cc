#include <algorithm>
#include <string>

#include "gguf/reader.h"
#include "gguf/types.h"

namespace corral::gguf {

bool Array::operator==(const Array& other) const {
  return type == other.type && size == other.size && elements == other.elements;
}

const KeyValue* Info::Find(std::string_view key) const {
  const auto found = std::find_if(metadata.begin(), metadata.end(),
                                  [&](const KeyValue& entry) { return entry.key == key; });
  return found == metadata.end() ? nullptr : &*found;
}

std::optional<std::uint64_t> Info::Uint(std::string_view key) const {
  const KeyValue* entry = Find(key);
  if (entry == nullptr) return std::nullopt;
  if (const auto* value = std::get_if<std::uint64_t>(&entry->value)) return *value;
  if (const auto* value = std::get_if<std::int64_t>(&entry->value);
      value != nullptr && *value >= 0) {
    return static_cast<std::uint64_t>(*value);
  }
  return std::nullopt;
}

std::optional<std::string_view> Info::String(std::string_view key) const {
  const KeyValue* entry = Find(key);
  if (entry == nullptr) return std::nullopt;
  const auto* value = std::get_if<std::string>(&entry->value);
  if (value == nullptr) return std::nullopt;
  return *value;
}

std::string_view Info::Architecture() const {
  return String("general.architecture").value_or("unknown");
}

std::optional<std::uint64_t> Info::ArchUint(std::string_view name) const {
  if (name.starts_with("general.") || name.starts_with("tokenizer.")) return Uint(name);
  return Uint(std::string(Architecture()) + "." + std::string(name));
}

std::uint64_t Info::ParameterCount() const {
  std::uint64_t n_parameters = 0;
  for (const TensorInfo& tensor : tensors) {
    std::uint64_t n_elements = 1;
    for (const std::uint64_t dim : tensor.dims) n_elements *= dim;
    n_parameters += n_elements;
  }
  return n_parameters;
}

std::string Info::FileType() const {
  const std::uint64_t file_type = Uint("general.file_type").value_or(0);
  return std::string(file_type == 0 ? "unknown" : FileTypeName(file_type));
}

bool Info::IsEmbeddingModel() const {
  return Find(std::string(Architecture()) + ".pooling_type") != nullptr;
}

std::string_view Info::ChatTemplate() const {
  return String("tokenizer.chat_template").value_or(std::string_view());
}

}  // namespace corral::gguf
