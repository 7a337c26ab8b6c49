// A llama_batch of embeddings in place of tokens, all of one sequence, handed out in parts.
#pragma once

#include <llama.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace corral::engine {

class EmbeddingBatch {
 public:
  // `embeddings`: [n_cells][width], must outlive this. `positions`: one or more numbers a cell, one
  // dimension after the other.
  EmbeddingBatch(std::span<const float> embeddings, std::size_t width,
                 std::vector<llama_pos> positions, llama_seq_id sequence)
      : embeddings_(embeddings),
        width_(width),
        n_cells_(embeddings.size() / width),
        positions_(std::move(positions)),
        sequence_(sequence),
        n_ids_(n_cells_, 1),
        ids_(n_cells_, &sequence_),
        wants_scores_(n_cells_, 0) {}
  EmbeddingBatch(const EmbeddingBatch&) = delete;
  EmbeddingBatch& operator=(const EmbeddingBatch&) = delete;

  std::size_t n_cells() const { return n_cells_; }
  void WantLastScores() { wants_scores_.back() = 1; }

  // The cells [begin, begin + n); good until the next call.
  llama_batch Part(std::size_t begin, std::size_t n) {
    part_.clear();
    for (std::size_t dimension = 0; dimension < positions_.size(); dimension += n_cells_) {
      const auto first = positions_.begin() + static_cast<std::ptrdiff_t>(dimension + begin);
      part_.insert(part_.end(), first, first + static_cast<std::ptrdiff_t>(n));
    }
    llama_batch batch{};
    batch.n_tokens = static_cast<std::int32_t>(n);
    batch.embd = const_cast<float*>(embeddings_.data() + begin * width_);  // read only
    batch.pos = part_.data();
    batch.n_seq_id = n_ids_.data() + begin;
    batch.seq_id = ids_.data() + begin;
    batch.logits = wants_scores_.data() + begin;
    return batch;
  }

 private:
  const std::span<const float> embeddings_;
  const std::size_t width_;
  const std::size_t n_cells_;
  const std::vector<llama_pos> positions_;
  llama_seq_id sequence_;
  std::vector<std::int32_t> n_ids_;
  std::vector<llama_seq_id*> ids_;
  std::vector<std::int8_t> wants_scores_;
  std::vector<llama_pos> part_;
};

}  // namespace corral::engine
