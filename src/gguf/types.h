// The tensor types and file types of GGUF by number: names, and how many bytes a block of a type
// takes.
//
// Source: ggml_type and its type traits (ggml.h, ggml.c), llama_ftype (llama.h), and the names that
// Ollama shows for them (fs/ggml/type.go). Pure functions, thread-safe.
#pragma once

#include <cstdint>
#include <string_view>

#include "gguf/reader.h"

namespace corral::gguf {

struct TensorType {
  std::string_view name;         // "Q4_K"
  std::uint32_t block_elements;  // elements of one block, along the first dimension
  std::uint32_t block_bytes;     // bytes of one block
  bool is_loadable;  // libllama reads it; false for a type that only other programs write
};

// Null for a number that is no type, or a type that was removed from the format.
const TensorType* FindTensorType(std::uint32_t ggml_type);

// Whether a matrix of this type can be multiplied: integers, doubles and the types of intermediate
// results cannot.
bool IsMatrixType(std::uint32_t ggml_type);

// "Q4_K_M" for 15; "unknown" otherwise. 0 (F32) has a name here; Info::FileType() treats it as
// absent.
std::string_view FileTypeName(std::uint64_t file_type);

// "uint32", for messages; "type 13" has no name: "unknown".
std::string_view ValueTypeName(ValueType type);

// Bytes of one fixed-size value; 0 for strings, arrays and numbers that are no type.
std::uint32_t ValueTypeBytes(ValueType type);

}  // namespace corral::gguf
