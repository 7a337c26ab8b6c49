#include "gguf/header.h"

#include <bit>
#include <utility>

#include "gguf/types.h"

namespace corral::gguf {
namespace {

static_assert(std::endian::native == std::endian::little,
              "values are written as they lie in memory");

template <class T>
void Append(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendString(std::string& to, std::string_view text) {
  Append<std::uint64_t>(to, text.size());
  to.append(text);
}

template <class T>
void AppendArray(std::string& to, ValueType type, std::span<const T> values) {
  Append(to, static_cast<std::uint32_t>(type));
  Append<std::uint64_t>(to, values.size());
  to.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

// An integer in as many bytes as its type has.
template <class T>
void AppendInteger(std::string& to, ValueType type, T value) {
  to.append(reinterpret_cast<const char*>(&value), ValueTypeBytes(type));
}

void AppendValue(std::string& to, ValueType type, const Value& value) {
  if (const auto* number = std::get_if<std::uint64_t>(&value)) {
    AppendInteger(to, type, *number);
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    AppendInteger(to, type, *integer);  // two's complement: the low bytes are the narrow value
  } else if (const auto* real = std::get_if<double>(&value)) {
    if (type == ValueType::kFloat32) {
      Append(to, static_cast<float>(*real));
    } else {
      Append(to, *real);
    }
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    Append<std::uint8_t>(to, *flag ? 1 : 0);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    AppendString(to, *text);
  } else {
    const Array& array = std::get<Array>(value);
    CORRAL_CHECK(array.elements.size() == array.size, "an array is written whole");
    Append(to, static_cast<std::uint32_t>(array.type));
    Append<std::uint64_t>(to, array.size);
    for (const Value& element : array.elements) AppendValue(to, array.type, element);
  }
}

}  // namespace

void Header::AddKey(std::string_view key, ValueType type) {
  AppendString(metadata_, key);
  Append(metadata_, static_cast<std::uint32_t>(type));
  ++n_keys_;
}

void Header::SetUint32(std::string_view key, std::uint32_t value) {
  AddKey(key, ValueType::kUint32);
  Append(metadata_, value);
}

void Header::SetFloat32(std::string_view key, float value) {
  AddKey(key, ValueType::kFloat32);
  Append(metadata_, value);
}

void Header::SetBool(std::string_view key, bool value) {
  AddKey(key, ValueType::kBool);
  Append<std::uint8_t>(metadata_, value ? 1 : 0);
}

void Header::SetString(std::string_view key, std::string_view value) {
  AddKey(key, ValueType::kString);
  AppendString(metadata_, value);
}

void Header::SetStrings(std::string_view key, std::span<const std::string> values) {
  AddKey(key, ValueType::kArray);
  Append(metadata_, static_cast<std::uint32_t>(ValueType::kString));
  Append<std::uint64_t>(metadata_, values.size());
  for (const std::string& value : values) AppendString(metadata_, value);
}

void Header::SetInt32s(std::string_view key, std::span<const std::int32_t> values) {
  AddKey(key, ValueType::kArray);
  AppendArray(metadata_, ValueType::kInt32, values);
}

void Header::SetFloat32s(std::string_view key, std::span<const float> values) {
  AddKey(key, ValueType::kArray);
  AppendArray(metadata_, ValueType::kFloat32, values);
}

void Header::Set(const KeyValue& value) {
  AddKey(value.key, value.type);
  AppendValue(metadata_, value.type, value.value);
}

void Header::SetRaw(std::string_view key, ValueType type, std::string_view bytes) {
  AddKey(key, type);
  metadata_.append(bytes);
}

std::uint64_t Header::DeclareTensor(std::string_view name, std::uint32_t ggml_type,
                                    std::span<const std::uint64_t> dims, std::uint64_t size_bytes) {
  const std::uint64_t offset = data_bytes_;
  AppendString(tensors_, name);
  Append(tensors_, static_cast<std::uint32_t>(dims.size()));
  for (const std::uint64_t dim : dims) Append(tensors_, dim);
  Append(tensors_, ggml_type);
  Append(tensors_, offset);
  ++n_tensors_;
  data_bytes_ += Padded(size_bytes);
  return offset;
}

std::string Header::HeaderBytes() const {
  std::string bytes = "GGUF";
  Append<std::uint32_t>(bytes, 3);
  Append(bytes, n_tensors_);
  Append(bytes, n_keys_);
  bytes += metadata_;
  bytes += tensors_;
  bytes.resize(Padded(bytes.size()));
  return bytes;
}

}  // namespace corral::gguf
