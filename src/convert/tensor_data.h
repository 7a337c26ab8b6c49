// One tensor of the result: where its numbers come from and what is done to them on the way.
//
// Plain values and functions. Data is read and written in pieces of about a megabyte, so that a
// tensor of any size takes little memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "convert/safetensors.h"
#include "core/result.h"

namespace corral::convert {

inline constexpr std::uint32_t kTypeFloat32 = 0;  // ggml_type
inline constexpr std::uint32_t kTypeFloat16 = 1;

struct OutputTensor {
  std::string name = {};
  std::uint32_t type = kTypeFloat16;      // kTypeFloat32 or kTypeFloat16
  std::vector<std::uint64_t> shape = {};  // slowest first

  std::optional<SafeTensor> source = {};  // F32, F16, BF16 or F64
  std::vector<float> values = {};         // instead of a source

  // Rows of a query or key matrix in the order in which llama.cpp rotates them, for as many heads;
  // 0: as they are. (Hugging Face keeps the halves of a head's dimensions apart, llama.cpp pairs.)
  std::uint64_t interleave_heads = 0;
  bool adds_one = false;       // Gemma stores its norms less one
  bool is_transposed = false;  // two dimensions; `shape` is the one after it

  std::uint64_t SizeBytes() const;
};

// The data as it lies in the file, padded to GGUF's alignment. Errors: kInvalidArgument, kIo.
Status WriteTensor(const OutputTensor& tensor, int output);

// IEEE 754 half precision; to the nearest, ties to even.
std::uint16_t ToHalf(float value);
float FromHalf(std::uint16_t half);

}  // namespace corral::convert
