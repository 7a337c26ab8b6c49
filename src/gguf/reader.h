// Reads and checks the header of a GGUF file: metadata and tensor table, never tensor data. Trusts no length.
//
// Source: GGUF specification (ggml, docs/gguf.md), versions 2 and 3; magic "GGUF", little endian.
// Thread-safe (an Info is a value). Blocking: reads the disk; call from a blocking pool.
// Hostile files end in kCorrupt with a text that names the field; memory used is bounded by the file's size and kLimits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/result.h"

namespace corral::gguf {

struct Limits {
  std::uint64_t max_keys = 65'536;
  std::uint64_t max_tensors = 65'536;
  std::uint64_t max_key_bytes = 65'535;            // the specification's
  std::uint64_t max_string_bytes = 64ULL << 20;    // a chat template or a token
  std::uint64_t max_array_elements = 16ULL << 20;  // a vocabulary
  std::uint32_t max_dims = 4;
  std::uint32_t max_alignment = 65'536;
  std::uint32_t max_blocks = 512;                  // llama.cpp aborts above (LLAMA_MAX_LAYERS)
  // Arrays longer than this are counted and skipped, not kept, unless ReadOptions::keep_arrays.
  std::uint64_t keep_array_elements = 64;
};

enum class ValueType : std::uint32_t {
  kUint8 = 0, kInt8, kUint16, kInt16, kUint32, kInt32, kFloat32, kBool, kString, kArray, kUint64, kInt64, kFloat64,
};

struct Array;
// Integers widen to 64 bits, floats to double.
using Value = std::variant<std::uint64_t, std::int64_t, double, bool, std::string, Array>;
struct Array {
  ValueType type = ValueType::kUint8;
  std::uint64_t size = 0;       // elements in the file
  std::vector<Value> elements;  // empty when skipped (size > 0)
};
struct KeyValue {
  std::string key;
  ValueType type;
  Value value;
};

struct TensorInfo {
  std::string name;
  std::uint32_t type = 0;                 // ggml_type
  std::vector<std::uint64_t> dims;        // as in the file: fastest first
  std::uint64_t offset = 0;               // from the start of the data section
  std::uint64_t size_bytes = 0;           // computed from type and dims, checked against the file's size
};

struct Info {
  std::uint32_t version = 0;
  std::uint32_t alignment = 32;
  std::uint64_t data_offset = 0;  // of the data section in the file
  std::uint64_t file_bytes = 0;
  std::vector<KeyValue> metadata;  // file order
  std::vector<TensorInfo> tensors;

  const KeyValue* Find(std::string_view key) const;
  std::optional<std::uint64_t> Uint(std::string_view key) const;   // any integer type, >= 0
  std::optional<std::string_view> String(std::string_view key) const;

  std::string_view Architecture() const;                           // general.architecture, "unknown" if absent
  // "<arch>.<name>", or the key itself if it begins with "general." or "tokenizer."
  std::optional<std::uint64_t> ArchUint(std::string_view name) const;
  std::uint64_t ParameterCount() const;                            // sum of elements over all tensors
  std::string FileType() const;                                    // "Q4_K_M" of general.file_type, "unknown" if absent or 0
  bool IsEmbeddingModel() const;                                   // has <arch>.pooling_type
  std::string_view ChatTemplate() const;                           // tokenizer.chat_template, or empty
};

struct ReadOptions {
  Limits limits;
  bool keep_arrays = false;  // keep every array (verbose show)
};

// Errors: kNotFound, kIo, kCorrupt.
Result<Info> Read(const std::filesystem::path& file, const ReadOptions& options = {});
// As Read from a descriptor positioned anywhere; does not close it.
Result<Info> ReadFd(int fd, const ReadOptions& options = {});

// What libllama would abort or misbehave on, beyond the header's own shape: block_count, expert counts, rms epsilon,
// head counts, zero divisors, required keys of another type... Errors: kCorrupt.
Status CheckLoadable(const Info& info);

// "F16" for ggml_type 1; "unknown" otherwise.
std::string TensorTypeName(std::uint32_t ggml_type);

}  // namespace corral::gguf
