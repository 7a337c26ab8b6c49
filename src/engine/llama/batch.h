// A llama_batch that owns its arrays, filled token by token, one sequence a token.
#pragma once

#include <llama.h>

#include <cstddef>

#include "core/job.h"

namespace corral::engine {

class Batch {
 public:
  explicit Batch(int n_most) : n_most_(n_most), value_(llama_batch_init(n_most, 0, 1)) {}
  ~Batch() { llama_batch_free(value_); }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  void Clear() { value_.n_tokens = 0; }
  // Returns the token's row. There must be room.
  int Add(Token token, std::size_t position, llama_seq_id sequence, bool wants_scores) {
    const int row = value_.n_tokens++;
    const auto i = static_cast<std::size_t>(row);
    value_.token[i] = token;
    value_.pos[i] = static_cast<llama_pos>(position);
    value_.n_seq_id[i] = 1;
    value_.seq_id[i][0] = sequence;
    value_.logits[i] = wants_scores ? 1 : 0;
    return row;
  }

  int size() const { return value_.n_tokens; }
  int room() const { return n_most_ - value_.n_tokens; }
  const llama_batch& value() const { return value_; }

 private:
  const int n_most_;
  llama_batch value_;
};

}  // namespace corral::engine
