// Evaluated prefixes in host RAM: a tree of segments under a byte budget.
//
// A segment holds the saved state of the positions [begin, end) of a token sequence; its ancestors
// hold what comes before. Sequences that begin alike share the segments of their common part, and
// what a branch saves is its own tail only. A segment without children that was least recently used
// goes first, so that what is stored can always be reached. Sequences of another space (another
// salt, other adapters: what else decides the state) never meet. A position without a token, as of
// an image, holds a negative number that stands for its content. Knows nothing of llama.cpp: states
// are bytes. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/job.h"

namespace corral::engine {

// Bytes of a saved state, not initialised when made.
class StateBytes {
 public:
  StateBytes() = default;
  // Empty if there is no memory for it: a cache may forget, it must not end the process.
  explicit StateBytes(std::size_t size);
  std::uint8_t* data() { return data_.get(); }
  const std::uint8_t* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  std::unique_ptr<std::uint8_t[]> data_;
  std::size_t size_ = 0;
};

class PrefixTree {
 public:
  class Segment {
   public:
    std::size_t begin() const { return begin_; }
    std::size_t end() const { return begin_ + tokens_.size(); }
    const StateBytes& state() const { return state_; }

   private:
    friend class PrefixTree;
    std::int64_t Bytes() const;
    Segment* parent_ = nullptr;
    std::size_t begin_ = 0;
    std::vector<Token> tokens_;
    StateBytes state_;
    std::uint64_t last_use_ = 0;
    std::vector<std::unique_ptr<Segment>> children_;
  };

  // How much of a sequence is stored, and where: the first segment begins at 0, each later one at
  // or before the end of the one before it, and after that one's begin. Of a segment, only what
  // comes before the next one's begin belongs to the sequence. Valid until the next Add or
  // SetBudget.
  struct Match {
    std::size_t n_tokens = 0;
    std::vector<const Segment*> path;
  };

  explicit PrefixTree(std::int64_t budget_bytes) : budget_bytes_(budget_bytes) {}

  // The longest stored prefix of `tokens`. `ends_only`: a state counts as a whole only, as the
  // state of a recurrent model does.
  Match Find(std::string_view space, std::span<const Token> tokens, bool ends_only) const;
  // Its segments were useful now.
  void Touch(const Match& match);

  // Stores the state of the positions from `begin` to the end of `tokens`. False, and nothing
  // changes: what comes before `begin` is not stored, or it does not fit into the budget.
  bool Add(std::string_view space, std::span<const Token> tokens, std::size_t begin, bool ends_only,
           StateBytes state);

  std::int64_t budget_bytes() const { return budget_bytes_; }
  // Forgets what is beyond a smaller one, least recently used first.
  void SetBudget(std::int64_t budget_bytes);
  std::int64_t bytes() const { return bytes_; }  // never more than the budget
  std::size_t n_segments() const { return n_segments_; }

 private:
  using Roots = std::vector<std::unique_ptr<Segment>>;
  bool EvictOne(std::uint64_t used_before);

  std::int64_t budget_bytes_;
  std::int64_t bytes_ = 0;
  std::size_t n_segments_ = 0;
  std::uint64_t clock_ = 0;
  std::map<std::string, Roots, std::less<>> spaces_;
};

}  // namespace corral::engine
