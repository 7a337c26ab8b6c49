#include "convert/tensor_data.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>

#include "convert/inputs.h"
#include "core/files.h"
#include "gguf/header.h"

namespace corral::convert {
namespace {

constexpr std::uint64_t kPieceElements = 1U << 18U;

std::uint64_t SourceBytes(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return 8;
    case DType::kFloat32:
      return 4;
    default:
      return 2;
  }
}

// `n` numbers of the source, from element `first`.
Status ReadFloats(const SafeTensor& source, std::uint64_t first, std::span<float> to,
                  std::string* buffer) {
  const std::uint64_t width = SourceBytes(source.dtype);
  buffer->resize(to.size() * width);
  CORRAL_TRY_STATUS(
      ReadAt(source.fd, source.offset + first * width, buffer->data(), buffer->size()));
  const char* at = buffer->data();
  for (float& value : to) {
    if (source.dtype == DType::kFloat32) {
      std::memcpy(&value, at, 4);
    } else if (source.dtype == DType::kFloat64) {
      double wide = 0;
      std::memcpy(&wide, at, 8);
      value = static_cast<float>(wide);
    } else {
      std::uint16_t bits = 0;
      std::memcpy(&bits, at, 2);
      value = source.dtype == DType::kFloat16
                  ? FromHalf(bits)
                  : std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
    }
    at += width;
  }
  return {};
}

void AddOne(const SafeTensor& source, std::span<float> values) {
  for (float& value : values) {
    value += 1.0F;
    // The sum is made in the type of the source, unless that is too coarse (bfloat16).
    if (source.dtype == DType::kFloat16) value = FromHalf(ToHalf(value));
  }
}

Status WriteFloats(std::span<const float> values, std::uint32_t type, int output,
                   std::string* buffer) {
  if (type == kTypeFloat32) {
    return WriteAll(output, std::string_view(reinterpret_cast<const char*>(values.data()),
                                             values.size_bytes()));
  }
  buffer->resize(values.size() * 2);
  char* at = buffer->data();
  for (const float value : values) {
    const std::uint16_t half = ToHalf(value);
    std::memcpy(at, &half, 2);
    at += 2;
  }
  return WriteAll(output, *buffer);
}

// The row of the source that becomes row `row`: within a head of d rows, row 2i + j comes from j *
// d/2 + i.
std::uint64_t InterleavedRow(std::uint64_t row, std::uint64_t head_rows) {
  const std::uint64_t head = row / head_rows;
  const std::uint64_t within = row % head_rows;
  return head * head_rows + (within % 2) * (head_rows / 2) + within / 2;
}

Status WriteInterleaved(const OutputTensor& tensor, int output) {
  const std::uint64_t rows = tensor.shape[0];
  const std::uint64_t row_elements = rows == 0 ? 0 : tensor.source->Elements() / rows;
  const std::uint64_t head_rows = rows / tensor.interleave_heads;
  std::string raw;
  std::vector<float> values(row_elements);
  for (std::uint64_t row = 0; row < rows; ++row) {
    CORRAL_TRY_STATUS(
        ReadFloats(*tensor.source, InterleavedRow(row, head_rows) * row_elements, values, &raw));
    CORRAL_TRY_STATUS(WriteFloats(values, tensor.type, output, &raw));
  }
  return {};
}

// Small ones only (an adapter's token embeddings): held whole.
Status WriteTransposed(const OutputTensor& tensor, int output) {
  const std::uint64_t rows = tensor.shape[0];
  const std::uint64_t columns = tensor.shape[1];
  std::string raw;
  std::vector<float> values(rows * columns);
  CORRAL_TRY_STATUS(ReadFloats(*tensor.source, 0, values, &raw));
  std::vector<float> turned(values.size());
  for (std::uint64_t r = 0; r < rows; ++r) {
    for (std::uint64_t c = 0; c < columns; ++c) turned[r * columns + c] = values[c * rows + r];
  }
  return WriteFloats(turned, tensor.type, output, &raw);
}

Status WriteData(const OutputTensor& tensor, int output) {
  std::string raw;
  if (!tensor.source) return WriteFloats(tensor.values, tensor.type, output, &raw);
  if (tensor.interleave_heads > 0) return WriteInterleaved(tensor, output);
  if (tensor.is_transposed) return WriteTransposed(tensor, output);
  std::uint64_t n = 1;
  for (const std::uint64_t dim : tensor.shape) n *= dim;  // fewer rows than the source, maybe
  std::vector<float> values;
  for (std::uint64_t first = 0; first < n; first += values.size()) {
    values.resize(std::min(kPieceElements, n - first));
    CORRAL_TRY_STATUS(ReadFloats(*tensor.source, first, values, &raw));
    if (tensor.adds_one) AddOne(*tensor.source, values);
    CORRAL_TRY_STATUS(WriteFloats(values, tensor.type, output, &raw));
  }
  return {};
}

}  // namespace

std::uint64_t OutputTensor::SizeBytes() const {
  std::uint64_t n = type == kTypeFloat32 ? 4 : 2;
  for (const std::uint64_t dim : shape) n *= dim;
  return n;
}

Status WriteTensor(const OutputTensor& tensor, int output) {
  auto written = WriteData(tensor, output);
  if (!written) return Fail(std::move(written).error().Within("tensor " + tensor.name));
  const std::uint64_t size = tensor.SizeBytes();
  return WriteAll(output, std::string(gguf::Padded(size) - size, '\0'));
}

std::uint16_t ToHalf(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16U) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7FFF'FFFFU;
  if (magnitude > 0x7F80'0000U) return sign | 0x7E00U;   // not a number
  if (magnitude >= 0x4780'0000U) return sign | 0x7C00U;  // 65536 and more: infinity
  std::uint32_t half = 0;
  std::uint32_t rest = 0;  // what is cut off, in units of `one`
  std::uint32_t one = 0;
  if (magnitude >= 0x3880'0000U) {  // normal
    half = (magnitude - 0x3800'0000U) >> 13U;
    rest = magnitude & 0x1FFFU;
    one = 0x2000U;
  } else {
    const std::uint32_t shift = 126U - (magnitude >> 23U);  // of the mantissa, for 2^-24
    if (shift > 24U + 1U) return sign;
    const std::uint32_t mantissa = (magnitude & 0x7F'FFFFU) | 0x80'0000U;
    half = shift >= 32U ? 0U : mantissa >> shift;
    one = 1U << shift;
    rest = mantissa & (one - 1U);
  }
  if (rest * 2U > one || (rest * 2U == one && (half & 1U) != 0))
    ++half;  // may carry: that is right
  return static_cast<std::uint16_t>(sign | half);
}

float FromHalf(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16U;
  const std::uint32_t exponent = (half >> 10U) & 0x1FU;
  const std::uint32_t mantissa = half & 0x3FFU;
  if (exponent == 0x1FU) return std::bit_cast<float>(sign | 0x7F80'0000U | (mantissa << 13U));
  if (exponent == 0) {
    const float value = std::ldexp(static_cast<float>(mantissa), -24);
    return sign == 0 ? value : -value;
  }
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23U) | (mantissa << 13U));
}

}  // namespace corral::convert
