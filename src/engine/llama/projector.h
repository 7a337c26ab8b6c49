// What sees and hears for a language model: an encoder (a `projector` layer, GGUF of architecture
// "clip") that turns pictures and sounds into embeddings. llama.cpp's libmtmd with an owner.
// It knows no other number of threads than that of its creation: Cores::Compute limits them.
//
//   bytes ──FormatProcesses──▶ pixels ──Tokenize──▶ MediaChunk ──Encode──▶ embeddings ──▶
//   llama_decode
//           another process            prepare threads          engine thread
//
// A picture's chunk is known by its content (MediaChunk::id, engine/media_marks.h), and what was
// encoded lately is kept under a budget, so that the same picture in another conversation is not
// encoded again.
// Threads: Tokenize from any; Encode on one thread. Source: mtmd.h of the pinned release.
#pragma once

#include <llama.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "core/job.h"
#include "core/result.h"
#include "core/stop.h"
#include "engine/llama/encode_watch.h"
#include "engine/llama/loaded_model.h"
#include "engine/llama/media_decode.h"

struct mtmd_context;
struct mtmd_input_chunk;

namespace corral::engine {

// A picture, a part of one, or a part of a sound, in a prompt: evaluated as one.
struct MediaChunk {
  std::size_t begin = 0;        // its first position in the prompt
  std::size_t n_positions = 0;  // fewer than cells where it has two dimensions (M-RoPE)
  std::size_t n_cells = 0;      // embeddings, and cells of the KV cache
  std::int32_t id = 0;          // of the content: the same number, the same embeddings
  std::shared_ptr<const mtmd_input_chunk> chunk;  // one owner for all of a prompt
};

// A prompt with media in it.
struct MediaPrompt {
  std::vector<Token> tokens;  // a number a position: tokens, and marks where media stand
  std::vector<MediaChunk> media;
  std::int64_t memory_bytes = 0;  // of the media as they wait for the encoder, about
};

class Projector {
 public:
  // Of `fd` (not closed), by its path in /proc: the sandbox must let it be read. `model` must
  // outlive this. Errors: kCorrupt (it is no projector, or not of this model; the text says why),
  // kNoMemory, kCancelled.
  static Result<std::unique_ptr<Projector>> Load(int fd, const LoadedModel& model,
                                                 const std::function<bool(float)>& on_progress);
  ~Projector();
  Projector(const Projector&) = delete;
  Projector& operator=(const Projector&) = delete;

  bool sees() const { return sees_; }
  bool hears() const { return hears_; }
  int sample_rate() const { return sample_rate_; }  // of sounds
  // Tokens that a micro-batch must hold for pictures that are seen as a whole; 0: any will do.
  int least_batch() const { return least_batch_; }
  std::int64_t memory_bytes() const { return memory_bytes_; }

  // What a prompt is made of: text, which may hold control tokens, and decoded media.
  using Part = std::variant<std::string_view, DecodedMedia*>;
  // Takes the media's data. `hashes`: of the media's bytes, in their order. `add_special`: BOS and
  // EOS as the vocabulary says. Errors: kInvalidArgument (a picture that cannot be prepared, a text
  // without tokens).
  Result<MediaPrompt> Tokenize(std::span<const Part> parts, std::span<const std::string> hashes,
                               bool add_special);

  // The chunk's embeddings, [n_cells][n_embd]; good until the next call. On the processor a stop
  // ends it in its middle (EncodeWatch). Errors: kInternal, those of `stop`.
  Result<std::span<const float>> Encode(const MediaChunk& chunk, const StopToken& stop);
  // How the chunk is to be evaluated: `positions` of its cells from its begin on, four numbers a
  // cell, one dimension after the other, with M-RoPE; all cells in one micro-batch that sees itself
  // as a whole, or one after the other as text.
  std::vector<llama_pos> Positions(const MediaChunk& chunk) const;
  bool IsSeenAsAWhole(const MediaChunk& chunk) const;

  // Since the start, from any thread: chunks encoded, and chunks whose embeddings were still there.
  std::int64_t n_encoded() const { return n_encoded_; }
  std::int64_t n_reused() const { return n_reused_; }
  // The same: how often an encode looked at its StopToken.
  std::int64_t n_looks() const { return watch_.n_looks(); }

 private:
  explicit Projector(const LoadedModel& model) : model_(model) {}
  std::int32_t IdOf(const std::string& content);
  std::size_t CountCells(std::uint32_t width, std::uint32_t height) const;
  void ReadSizes(const gguf::Info& info);
  std::int64_t MemoryOf(const MediaChunk& picture) const;

  struct ContextDeleter {
    void operator()(mtmd_context* context) const;
  };
  const LoadedModel& model_;
  EncodeWatch watch_;  // the context keeps its address
  std::unique_ptr<mtmd_context, ContextDeleter> context_;
  bool sees_ = false, hears_ = false, has_mrope_ = false;
  int sample_rate_ = 0;
  int least_batch_ = 0;
  std::int64_t memory_bytes_ = 0;
  std::int64_t least_picture_bytes_ = 0, cell_bytes_ = 0;  // of what is encoded

  std::mutex mutex_;
  std::unordered_map<std::string, std::int32_t> ids_;  // guarded by mutex_
  std::int32_t next_id_ = 0;                           // guarded by mutex_

  // The encoding thread's own. The newest first.
  struct Encoded {
    std::int32_t id = 0;
    std::vector<float> embeddings;
  };
  std::list<Encoded> recent_;
  std::unordered_map<std::int32_t, std::list<Encoded>::iterator> encoded_;
  std::size_t encoded_bytes_ = 0;
  std::atomic<std::int64_t> n_encoded_{0}, n_reused_{0};
};

}  // namespace corral::engine
