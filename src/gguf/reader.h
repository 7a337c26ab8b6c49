// Reads and checks the header of a GGUF file: metadata and tensor table, never tensor data. Trusts
// no length.
//
// Source: GGUF specification (ggml, docs/gguf.md), versions 2 and 3; magic "GGUF", little endian.
// Thread-safe (an Info is a value). Blocking: reads the disk; call from a blocking pool.
// Hostile files end in kCorrupt with a text that names the field. Memory and time are bounded by
// Limits and by the size of the file, whichever is smaller: a length is compared with what is left
// of the file before anything is allocated.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/result.h"

namespace corral::gguf {

struct Limits {
  // libllama looks for duplicates by comparing all with all, so the numbers of keys and tensors
  // bound its time too: about a second at these limits. Models have tens of keys and up to a few
  // thousand tensors.
  std::uint64_t max_keys = 16'384;
  std::uint64_t max_tensors = 16'384;
  std::uint64_t max_header_bytes = 512ULL << 20;   // everything in front of the tensor data
  std::uint64_t max_key_bytes = 65'535;            // the specification's
  std::uint64_t max_tensor_name_bytes = 63;        // llama.cpp's GGML_MAX_NAME - 1
  std::uint64_t max_string_bytes = 64ULL << 20;    // a chat template
  std::uint64_t max_token_bytes = 16ULL << 10;     // one element of tokenizer.ggml.tokens
  std::uint64_t max_array_elements = 16ULL << 20;  // a vocabulary
  std::uint32_t max_dims = 4;
  std::uint32_t max_alignment = 65'536;
  // Arrays longer than this are counted and skipped, not kept, unless ReadOptions::keep_arrays.
  // Values per layer fit.
  std::uint64_t keep_array_elements = 512;
  // Elements kept in all; arrays that do not fit any more are skipped, with keep_arrays too. About
  // 200 MB.
  std::uint64_t max_kept_elements = 4ULL << 20;
};

enum class ValueType : std::uint32_t {
  kUint8 = 0,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

struct Array;
// Unsigned integers widen to uint64, signed ones to int64, floats to double. Strings are the file's
// bytes: they need not be UTF-8.
using Value = std::variant<std::uint64_t, std::int64_t, double, bool, std::string, Array>;
struct Array {
  ValueType type = ValueType::kUint8;  // of the elements; never kArray
  std::uint64_t size = 0;              // elements in the file
  std::vector<Value> elements;         // empty when skipped (size > 0)

  bool operator==(const Array& other) const;
};
struct KeyValue {
  std::string key;  // printable ASCII, not empty, unique in the file
  ValueType type = ValueType::kUint8;
  Value value;
};

struct TensorInfo {
  std::string name;                 // printable ASCII, not empty, unique in the file
  std::uint32_t type = 0;           // ggml_type, one that FindTensorType knows
  std::vector<std::uint64_t> dims;  // as in the file: fastest first; none is 0; empty is a scalar
  std::uint64_t offset = 0;  // from the start of the data section; a multiple of the alignment
  std::uint64_t size_bytes =
      0;  // computed from type and dims; offset + size_bytes lies within the file
};

struct Info {
  std::uint32_t version = 0;
  std::uint32_t alignment = 32;
  std::uint64_t data_offset = 0;  // of the data section in the file
  std::uint64_t file_bytes = 0;
  // Two elements of tokenizer.ggml.tokens are the same text (up to a NUL). libllama aborts on such
  // a vocabulary.
  bool has_duplicate_tokens = false;
  // An element of tokenizer.ggml.token_type says "byte" (6).
  bool has_byte_tokens = false;
  std::vector<KeyValue> metadata;   // file order
  std::vector<TensorInfo> tensors;  // file order; no two overlap

  // Looks through all keys: for a handful of calls.
  const KeyValue* Find(std::string_view key) const;
  std::optional<std::uint64_t> Uint(std::string_view key) const;  // any integer type, >= 0
  std::optional<std::string_view> String(std::string_view key) const;

  std::string_view Architecture() const;  // general.architecture, "unknown" if absent
  // Uint of "<arch>.<name>", or of the key itself if it begins with "general." or "tokenizer."
  std::optional<std::uint64_t> ArchUint(std::string_view name) const;
  std::uint64_t ParameterCount() const;  // sum of elements over all tensors
  std::string FileType()
      const;  // "Q4_K_M" of general.file_type, "unknown" if absent or 0 (as Ollama has it)
  bool IsEmbeddingModel() const;          // has <arch>.pooling_type
  std::string_view ChatTemplate() const;  // tokenizer.chat_template, or empty
};

struct ReadOptions {
  Limits limits;
  bool keep_arrays = false;  // keep every array (verbose show)
};

// Errors: kNotFound, kForbidden, kIo, kCorrupt (also: not a regular file).
Result<Info> Read(const std::filesystem::path& file, const ReadOptions& options = {});
// As Read from a descriptor positioned anywhere; neither moves nor closes it.
Result<Info> ReadFd(int fd, const ReadOptions& options = {});

// What libllama would abort or divide by zero on, or refuse, beyond the header's own shape:
// block_count, expert counts, epsilons, head counts, RoPE sizes, the vocabulary's arrays and
// special tokens, zero divisors, the types of keys that every model is asked for, tensor types that
// no computation takes, tensors out of order. For models, projectors (architecture "clip") and
// adapters (general.type "adapter"); looks at the header only. A file that passes may still fail to
// load, or abort on something particular to its architecture: load it in a process of its own.
// `info` comes from Read with the default limits or larger ones. Errors: kCorrupt.
Status CheckLoadable(const Info& info);

// Of a language model: that its file holds no image encoder, as those of Ollama's own engine do.
// libllama loads no tensors that it does not know. Such a file can be stored, shown and pushed.
// Errors: kCorrupt.
Status CheckHoldsNoEncoder(const Info& info);

// Whether libllama can put the LoRA adapter on the model, without an abort: its kind, architecture
// and types, and for each tensor of the model that it changes two factors that fit. Includes
// CheckLoadable of the adapter; `model` has passed its own. Errors: kCorrupt.
Status CheckAdapter(const Info& adapter, const Info& model);

// "F16" for ggml_type 1; "unknown" otherwise.
std::string TensorTypeName(std::uint32_t ggml_type);

}  // namespace corral::gguf
