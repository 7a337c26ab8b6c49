// The table of a safetensors file: 8 bytes header size, a JSON header, data.
//
// Source: the format's description (huggingface/safetensors, README "Format"). Trusts no length:
// the header lies within the file and 100 MB, each tensor within the data, its bytes are what its
// type and shape need, and no two overlap. No state; blocking (disk).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"

namespace corral::convert {

enum class DType : std::uint8_t { kFloat32, kFloat16, kBFloat16, kFloat64, kOther };

struct SafeTensor {
  std::string name;
  DType dtype = DType::kOther;
  std::string dtype_name;            // "BF16"
  std::vector<std::uint64_t> shape;  // slowest first, as in the file; empty: a scalar
  int fd = -1;
  std::uint64_t offset = 0;  // in the file
  std::uint64_t size_bytes = 0;

  std::uint64_t Elements() const;
};

// Errors: kInvalidArgument (what is wrong with it), kIo.
Result<std::vector<SafeTensor>> ReadSafetensors(int fd);

}  // namespace corral::convert
