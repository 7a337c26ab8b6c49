// The front of a GGUF file while it is made: metadata and the table of tensors. Version 3, little
// endian, alignment 32. The data is written behind it by whoever has it (Writer: small files;
// convert and merge: files of any size).
//
// Not thread-safe. No I/O.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/reader.h"

namespace corral::gguf {

inline constexpr std::uint64_t kAlignment = 32;

// `size` up to the next multiple of kAlignment.
constexpr std::uint64_t Padded(std::uint64_t size) {
  return (size + kAlignment - 1) / kAlignment * kAlignment;
}

class Header {
 public:
  // Keys are written in the order of the calls; a key must not be set twice (nobody could read the
  // file).
  void SetUint32(std::string_view key, std::uint32_t value);
  void SetFloat32(std::string_view key, float value);
  void SetBool(std::string_view key, bool value);
  void SetString(std::string_view key, std::string_view value);
  void SetStrings(std::string_view key, std::span<const std::string> values);
  void SetInt32s(std::string_view key, std::span<const std::int32_t> values);
  void SetFloat32s(std::string_view key, std::span<const float> values);
  // As it was read, with the width it had in the file. Arrays must have been kept (keep_arrays).
  void Set(const KeyValue& value);
  // `bytes` stand for the value as they are: keys of any type, well formed or not.
  void SetRaw(std::string_view key, ValueType type, std::string_view bytes);

  // The next tensor of the file; its data follows that of the one before, each padded to
  // kAlignment. `dims`: fastest first. Returns its offset from the start of the data.
  std::uint64_t DeclareTensor(std::string_view name, std::uint32_t ggml_type,
                              std::span<const std::uint64_t> dims, std::uint64_t size_bytes);
  // Bytes of all tensors, padded.
  std::uint64_t data_bytes() const { return data_bytes_; }

  // Everything in front of the data, padded.
  std::string HeaderBytes() const;

 private:
  void AddKey(std::string_view key, ValueType type);

  std::string metadata_;  // encoded
  std::uint64_t n_keys_ = 0;
  std::string tensors_;  // encoded
  std::uint64_t n_tensors_ = 0;
  std::uint64_t data_bytes_ = 0;
};

}  // namespace corral::gguf
