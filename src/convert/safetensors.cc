#include "convert/safetensors.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "convert/inputs.h"

namespace corral::convert {
namespace {

constexpr std::uint64_t kMostHeaderBytes = 100'000'000;  // the format's own limit
constexpr std::size_t kMostTensors = 1U << 20U;
constexpr std::size_t kMostDims = 8;

struct TypeInfo {
  std::string_view name;
  DType dtype;
  std::uint64_t bytes;
};
constexpr TypeInfo kTypes[] = {
    {"F32", DType::kFloat32, 4}, {"F16", DType::kFloat16, 2},   {"BF16", DType::kBFloat16, 2},
    {"F64", DType::kFloat64, 8}, {"I64", DType::kOther, 8},     {"U64", DType::kOther, 8},
    {"I32", DType::kOther, 4},   {"U32", DType::kOther, 4},     {"I16", DType::kOther, 2},
    {"U16", DType::kOther, 2},   {"I8", DType::kOther, 1},      {"U8", DType::kOther, 1},
    {"BOOL", DType::kOther, 1},  {"F8_E4M3", DType::kOther, 1}, {"F8_E5M2", DType::kOther, 1},
};

// False if it is not that, or overflows.
bool ReadUnsigned(const Json& json, std::uint64_t* out) {
  if (!json.is_number_unsigned()) return false;
  *out = json.get<std::uint64_t>();
  return true;
}

Result<SafeTensor> ReadEntry(const std::string& name, const Json& entry, std::uint64_t data_start,
                             std::uint64_t data_bytes) {
  const auto wrong = [&name](std::string_view why) {
    return Refuse("tensor " + name.substr(0, 200) + ": " + std::string(why));
  };
  if (!entry.is_object()) return wrong("its entry is no object");
  const auto dtype = entry.find("dtype");
  const auto shape = entry.find("shape");
  const auto offsets = entry.find("data_offsets");
  if (dtype == entry.end() || !dtype->is_string() || shape == entry.end() || !shape->is_array() ||
      offsets == entry.end() || !offsets->is_array() || offsets->size() != 2) {
    return wrong("its entry has no dtype, shape and data_offsets");
  }
  SafeTensor tensor;
  tensor.name = name;
  tensor.dtype_name = dtype->get<std::string>();
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeInfo& info) {
    return info.name == tensor.dtype_name;
  });
  if (type == std::end(kTypes)) return wrong("type " + tensor.dtype_name + " is not known");
  tensor.dtype = type->dtype;
  if (shape->size() > kMostDims) return wrong("too many dimensions");
  std::uint64_t bytes = type->bytes;
  for (const Json& json : *shape) {
    std::uint64_t dim = 0;
    if (!ReadUnsigned(json, &dim)) return wrong("a dimension is no number");
    if (__builtin_mul_overflow(bytes, dim, &bytes)) return wrong("its size overflows");
    tensor.shape.push_back(dim);
  }
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  if (!ReadUnsigned((*offsets)[0], &begin) || !ReadUnsigned((*offsets)[1], &end) || begin > end ||
      end > data_bytes) {
    return wrong("its data lies outside of the file");
  }
  if (end - begin != bytes) return wrong("its data is not as long as its shape says");
  tensor.offset = data_start + begin;
  tensor.size_bytes = bytes;
  return tensor;
}

}  // namespace

std::uint64_t SafeTensor::Elements() const {
  std::uint64_t n = 1;
  for (const std::uint64_t dim : shape) n *= dim;  // ReadSafetensors has seen that it fits
  return n;
}

Result<std::vector<SafeTensor>> ReadSafetensors(int fd) {
  struct stat facts {};
  if (::fstat(fd, &facts) != 0) return Fail(ErrnoError(errno, "read"));
  const auto file_bytes = static_cast<std::uint64_t>(facts.st_size);
  std::uint64_t header_bytes = 0;
  if (file_bytes < sizeof(header_bytes)) return Refuse("it is too short for a safetensors file");
  char size[sizeof(header_bytes)];
  CORRAL_TRY_STATUS(ReadAt(fd, 0, size, sizeof(size)));
  std::memcpy(&header_bytes, size, sizeof(size));
  if (header_bytes > kMostHeaderBytes || header_bytes > file_bytes - sizeof(size))
    return Refuse("its header is longer than a safetensors file may have");
  std::string text(header_bytes, '\0');
  CORRAL_TRY_STATUS(ReadAt(fd, sizeof(size), text.data(), text.size()));
  CORRAL_TRY(const Json header, ParseJson(text, "its header"));
  if (!header.is_object()) return Refuse("its header is no object");
  if (header.size() > kMostTensors) return Refuse("it has too many tensors");

  const std::uint64_t data_start = sizeof(size) + header_bytes;
  std::vector<SafeTensor> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    CORRAL_TRY(SafeTensor tensor, ReadEntry(name, entry, data_start, file_bytes - data_start));
    tensor.fd = fd;
    tensors.push_back(std::move(tensor));
  }
  std::vector<const SafeTensor*> by_offset;
  for (const SafeTensor& tensor : tensors) {
    if (tensor.size_bytes > 0) by_offset.push_back(&tensor);
  }
  std::sort(by_offset.begin(), by_offset.end(),
            [](const SafeTensor* a, const SafeTensor* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < by_offset.size(); ++i) {
    if (by_offset[i - 1]->offset + by_offset[i - 1]->size_bytes > by_offset[i]->offset)
      return Refuse("tensors " + by_offset[i - 1]->name + " and " + by_offset[i]->name +
                    " overlap");
  }
  return tensors;
}

}  // namespace corral::convert
