// Writes small GGUF files with F32 tensors: test models. Holds all tensors in memory. Not
// thread-safe. Blocking (disk).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "gguf/header.h"

namespace corral::gguf {

class Writer : public Header {
 public:
  // F32 data; product of dims == data.size(). dims: fastest first.
  void AddTensor(std::string name, std::vector<std::uint64_t> dims, std::span<const float> data);

  // The whole file.
  std::string Bytes() const;
  // Replaces `file`. Errors: kNotFound (no such folder), kForbidden, kIo; on error a part may be
  // left behind.
  Status Write(const std::filesystem::path& file) const;

 private:
  std::string data_;  // of all tensors, each padded
};

}  // namespace corral::gguf
