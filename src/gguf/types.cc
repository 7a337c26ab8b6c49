#include "gguf/types.h"

#include <array>
#include <cstddef>
#include <string>

namespace corral::gguf {
namespace {

constexpr TensorType kRemoved = {{}, 0, 0, false};

// Index: ggml_type.
constexpr std::array<TensorType, 43> kTensorTypes = {{
    {"F32", 1, 4, true},
    {"F16", 1, 2, true},
    {"Q4_0", 32, 18, true},
    {"Q4_1", 32, 20, true},
    {"MXFP4", 32, 17,
     false},  // 4 is Ollama's own number for MXFP4 (fs/ggml/type.go); removed from ggml
    kRemoved,
    {"Q5_0", 32, 22, true},
    {"Q5_1", 32, 24, true},
    {"Q8_0", 32, 34, true},
    {"Q8_1", 32, 36, true},
    {"Q2_K", 256, 84, true},
    {"Q3_K", 256, 110, true},
    {"Q4_K", 256, 144, true},
    {"Q5_K", 256, 176, true},
    {"Q6_K", 256, 210, true},
    {"Q8_K", 256, 292, true},
    {"IQ2_XXS", 256, 66, true},
    {"IQ2_XS", 256, 74, true},
    {"IQ3_XXS", 256, 98, true},
    {"IQ1_S", 256, 50, true},
    {"IQ4_NL", 32, 18, true},
    {"IQ3_S", 256, 110, true},
    {"IQ2_S", 256, 82, true},
    {"IQ4_XS", 256, 136, true},
    {"I8", 1, 1, true},
    {"I16", 1, 2, true},
    {"I32", 1, 4, true},
    {"I64", 1, 8, true},
    {"F64", 1, 8, true},
    {"IQ1_M", 256, 56, true},
    {"BF16", 1, 2, true},
    kRemoved,
    kRemoved,
    kRemoved,
    {"TQ1_0", 256, 54, true},
    {"TQ2_0", 256, 66, true},
    kRemoved,
    kRemoved,
    kRemoved,
    {"MXFP4", 32, 17, true},
    {"NVFP4", 64, 36, true},
    {"Q1_0", 128, 18, true},
    {"Q2_0", 64, 18, true},
}};

// Index: llama_ftype. 4 is Ollama's own number for MXFP4.
constexpr std::array<std::string_view, 42> kFileTypes = {{
    "F32",   "F16",     "Q4_0",   "Q4_1",   "MXFP4",  "",        "",       "Q8_0",   "Q5_0",
    "Q5_1",  "Q2_K",    "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S",  "Q4_K_M", "Q5_K_S", "Q5_K_M",
    "Q6_K",  "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS", "IQ1_S",  "IQ4_NL", "IQ3_S",
    "IQ3_M", "IQ2_S",   "IQ2_M",  "IQ4_XS", "IQ1_M",  "BF16",    "",       "",       "",
    "TQ1_0", "TQ2_0",   "MXFP4",  "NVFP4",  "Q1_0",   "Q2_0",
}};

}  // namespace

const TensorType* FindTensorType(std::uint32_t ggml_type) {
  if (ggml_type >= kTensorTypes.size()) return nullptr;
  const TensorType& type = kTensorTypes[ggml_type];
  return type.block_elements == 0 ? nullptr : &type;
}

std::string_view FileTypeName(std::uint64_t file_type) {
  if (file_type >= kFileTypes.size()) return "unknown";
  const std::string_view name = kFileTypes[static_cast<std::size_t>(file_type)];
  return name.empty() ? "unknown" : name;
}

std::string TensorTypeName(std::uint32_t ggml_type) {
  const TensorType* type = FindTensorType(ggml_type);
  return std::string(type == nullptr ? "unknown" : type->name);
}

bool IsMatrixType(std::uint32_t ggml_type) {
  constexpr std::array<std::string_view, 7> kOthers = {"Q8_1", "Q8_K", "I8", "I16",
                                                       "I32",  "I64",  "F64"};
  const TensorType* type = FindTensorType(ggml_type);
  return type != nullptr && type->is_loadable &&
         std::find(kOthers.begin(), kOthers.end(), type->name) == kOthers.end();
}

std::string_view ValueTypeName(ValueType type) {
  switch (type) {
    case ValueType::kUint8:
      return "uint8";
    case ValueType::kInt8:
      return "int8";
    case ValueType::kUint16:
      return "uint16";
    case ValueType::kInt16:
      return "int16";
    case ValueType::kUint32:
      return "uint32";
    case ValueType::kInt32:
      return "int32";
    case ValueType::kFloat32:
      return "float32";
    case ValueType::kBool:
      return "bool";
    case ValueType::kString:
      return "string";
    case ValueType::kArray:
      return "array";
    case ValueType::kUint64:
      return "uint64";
    case ValueType::kInt64:
      return "int64";
    case ValueType::kFloat64:
      return "float64";
  }
  return "unknown";
}

std::uint32_t ValueTypeBytes(ValueType type) {
  switch (type) {
    case ValueType::kUint8:
    case ValueType::kInt8:
    case ValueType::kBool:
      return 1;
    case ValueType::kUint16:
    case ValueType::kInt16:
      return 2;
    case ValueType::kUint32:
    case ValueType::kInt32:
    case ValueType::kFloat32:
      return 4;
    case ValueType::kUint64:
    case ValueType::kInt64:
    case ValueType::kFloat64:
      return 8;
    case ValueType::kString:
    case ValueType::kArray:
      return 0;
  }
  return 0;
}

}  // namespace corral::gguf
