// Writes small GGUF files: test models, and later what `create` converts. Version 3, little endian,
// alignment 32. Holds all tensors in memory. Not thread-safe. Blocking (disk).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "gguf/reader.h"

namespace corral::gguf {

class Writer {
 public:
  // Keys are written in the order of the calls; a key must not be set twice (nobody could read the
  // file).
  void SetUint32(std::string key, std::uint32_t value);
  void SetFloat32(std::string key, float value);
  void SetBool(std::string key, bool value);
  void SetString(std::string key, std::string_view value);
  void SetStrings(std::string key, std::span<const std::string> values);
  void SetInt32s(std::string key, std::span<const std::int32_t> values);
  void SetFloat32s(std::string key, std::span<const float> values);
  // `bytes` stand for the value as they are: keys of any type, well formed or not.
  void SetRaw(std::string key, ValueType type, std::string_view bytes);

  // F32 data; product of dims == data.size(). dims: fastest first.
  void AddTensor(std::string name, std::vector<std::uint64_t> dims, std::span<const float> data);

  // The whole file.
  std::string Bytes() const;
  // Replaces `file`. Errors: kNotFound (no such folder), kForbidden, kIo; on error a part may be
  // left behind.
  Status Write(const std::filesystem::path& file) const;

 private:
  void AddKey(std::string_view key, ValueType type);
  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> dims;
    std::vector<float> data;
  };
  std::string metadata_;  // encoded
  std::uint64_t n_keys_ = 0;
  std::vector<Tensor> tensors_;
};

}  // namespace corral::gguf
