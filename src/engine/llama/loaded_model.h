// A model in memory: weights, vocabulary and the facts that do not change. llama.cpp's objects with
// an owner.
//
// Thread-safe once loaded (read-only), as llama.cpp's own model and vocabulary are. Contexts made
// from it belong to the caller. Source: llama.h of the pinned release; what a hostile file does is
// kept out before by gguf::CheckLoadable.
#pragma once

#include <llama.h>

#include <cstddef>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/job.h"
#include "core/result.h"
#include "gguf/reader.h"

namespace corral::engine {

struct ContextDeleter {
  void operator()(llama_context* context) const { llama_free(context); }
};
using ContextPtr = std::unique_ptr<llama_context, ContextDeleter>;

// `<architecture>.pooling_type` of a GGUF; the numbers are llama.cpp's.
enum class PoolingType : int { kNone = 0, kMean = 1, kFirst = 2, kLast = 3, kRank = 4 };

class LoadedModel {
 public:
  // Reads the GGUF from `model_fd` (not closed). `on_progress` returning false ends the load
  // (kCancelled). Errors: kCorrupt (header or tensors; the text says what), kNoMemory, kCancelled.
  static Result<std::unique_ptr<LoadedModel>> Load(int model_fd, const LoadOptions& options,
                                                   const std::function<bool(float)>& on_progress);
  ~LoadedModel();
  LoadedModel(const LoadedModel&) = delete;
  LoadedModel& operator=(const LoadedModel&) = delete;

  llama_model* model() const { return model_; }
  const llama_vocab* vocab() const { return vocab_; }
  const LoadOptions& options() const { return options_; }
  const gguf::Info& info() const { return info_; }  // of its file; long arrays are not kept

  int n_ctx_train() const { return llama_model_n_ctx_train(model_); }
  int n_vocab() const { return llama_vocab_n_tokens(vocab_); }
  int n_threads() const { return n_threads_; }
  bool is_embedding() const { return is_embedding_; }  // the GGUF names a pooling type
  PoolingType pooling() const { return pooling_; }     // the GGUF's
  bool is_encoder_only() const { return is_encoder_only_; }
  // Positions of a sequence can be dropped and copied at will: full or sliding-window attention.
  // False for recurrent state.
  bool has_positional_cache() const { return has_positional_cache_; }
  // llama.cpp moves quantized keys only where it turns them first (llama-kv-cache.cpp, attn_rot_k),
  // and ends the process elsewhere.
  bool can_shift_cells() const;
  bool computes_on_cpu() const { return computes_on_cpu_; }  // no layer is on a GPU
  int n_swa() const { return llama_model_n_swa(model_); }
  // Bytes of one cell of the KV cache over all layers (an estimate from the head counts), for the
  // type they have.
  std::int64_t KvBytesPerToken() const;

  // `add_special` adds BOS/EOS as the vocabulary says; control tokens in the text are recognised if
  // `parse_special`. Errors: kInvalidArgument (the vocabulary has no token for part of the text, or
  // the text is larger than 32 MiB, more than any context holds).
  Result<std::vector<Token>> Tokenize(std::string_view text, bool add_special,
                                      bool parse_special) const;
  // No token stands for more bytes of a text than this, so a longer text has more tokens than its
  // size divided by it. 0: the vocabulary has no such bound (an unknown word of any length is one
  // token).
  std::size_t max_token_bytes() const { return max_token_bytes_; }
  // The bytes of a token; control tokens give none unless `special`.
  std::string TokenText(Token token, bool special) const;
  std::string Detokenize(const std::vector<Token>& tokens) const;
  bool IsEndOfGeneration(Token token) const { return llama_vocab_is_eog(vocab_, token); }

  // Common part of the parameters of every context on this model.
  llama_context_params ContextParams() const;

 private:
  LoadedModel() = default;
  llama_model* model_ = nullptr;
  const llama_vocab* vocab_ = nullptr;
  LoadOptions options_;
  gguf::Info info_;
  ggml_type kv_type_ =
      GGML_TYPE_F16;  // of the cells: the one in options_, where the model allows it
  int n_threads_ = 1;
  bool is_embedding_ = false;
  bool is_encoder_only_ = false;
  PoolingType pooling_ = PoolingType::kNone;
  bool has_positional_cache_ = true;
  bool computes_on_cpu_ = true;
  std::size_t max_token_bytes_ = 0;
};

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
// A stream at the beginning of the file behind `fd`, for libllama, which moves the position. Null:
// no descriptor is left.
std::unique_ptr<std::FILE, FileCloser> OpenStream(int fd);

// Sends llama.cpp's log to ours; the last error line is kept for load failures. Once a process.
void InstallLlamaLog();
// The newest error line since the last call, or empty.
std::string TakeLastLlamaError();
// Whether such a line says that there was no memory.
bool MentionsMemory(std::string_view text);

}  // namespace corral::engine
