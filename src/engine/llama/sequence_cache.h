// Which token sequences are in the cells or parked in host RAM, and how a new prompt gets the
// longest prefix of one of them.
//
// A sequence runs (owned by a job), is held (finished, still in the cells) or is parked (a copy in
// host RAM). Idle cells slow every stream down, since attention's work grows with the highest used
// cell: so a sequence is held only while nothing else runs, and parked, within a byte budget and
// least recently used first out, when something does. A running sequence lends its prefix by
// sharing cells (llama_memory_seq_cp): no copy, and the lender goes on. Never a wrong answer: what
// cannot be reused for certain (recurrent state, cells outside a sliding window) is evaluated
// again. Search is a plain comparison with each known sequence: there are a few dozen, and most
// differ early. One thread: the engine's. Sources: llama.h (memory, state); docs/architecture.md
// (Prefix cache).
#pragma once

#include <llama.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <vector>

#include "core/job.h"
#include "engine/llama/loaded_model.h"
#include "engine/prompt_cut.h"

namespace corral::engine {

inline constexpr std::size_t kAllPure = static_cast<std::size_t>(-1);

struct Sequence {
  llama_seq_id id = -1;
  std::vector<Token> tokens;  // evaluated: position i holds tokens[i]
  bool has_shared_cells = false;
  // After a context shift the rest was computed in a context that is gone: only this many tokens
  // may serve another prompt.
  std::size_t n_pure = kAllPure;

  std::span<const Token> PureTokens() const {
    return std::span(tokens).first(std::min(n_pure, tokens.size()));
  }
};

class SequenceCache {
 public:
  // `context` and `model` must outlive this. Ids are 0 .. n_seq_max - 1.
  SequenceCache(llama_context* context, const LoadedModel& model, int n_seq_max,
                std::int64_t park_budget_bytes);

  // How many tokens of `prompt` Start would reuse now; never all of them (one must be evaluated to
  // predict from).
  std::size_t ReusableNow(std::span<const Token> prompt,
                          std::span<const Sequence* const> running) const;

  // A new running sequence that holds the longest reusable prefix of `prompt` in `tokens`. What
  // else was held is parked first. nullopt: no id is free.
  std::optional<Sequence> Start(std::span<const Token> prompt,
                                std::span<const Sequence* const> running);

  // A job ended: keep its tokens for the next one. `others_run`: park instead of hold.
  void Keep(Sequence sequence, bool others_run, std::span<const Sequence* const> running);
  // Its cells are of no use (failed decode).
  void Drop(Sequence sequence);

  // Frees the cells of a held sequence (parking it); false if there was none.
  bool EvictOne();
  // Discards positions [keep, keep + discard) and moves the rest down. False: the model cannot
  // shift.
  bool Shift(Sequence& sequence, std::size_t keep, std::size_t discard);

  std::int64_t parked_bytes() const { return parked_bytes_; }

 private:
  struct Parked {
    std::vector<Token> tokens;
    std::vector<std::uint8_t> state;
  };
  enum class From { kNothing, kRunning, kHeld, kParked };
  struct Match {
    From from = From::kNothing;
    std::size_t n_tokens = 0;
    const Sequence* running = nullptr;
    std::list<Sequence>::iterator held;
    std::list<Parked>::iterator parked;
  };
  Match Find(std::span<const Token> prompt, std::span<const Sequence* const> running) const;
  bool IsWhole(llama_seq_id id, std::size_t n_tokens) const;
  std::optional<llama_seq_id> TakeId();
  void ReleaseId(llama_seq_id id);
  void Park(const Sequence& sequence, std::span<const Sequence* const> running);
  std::vector<std::uint8_t> SaveState(llama_seq_id id) const;
  bool Unshare(Sequence& sequence);

  llama_context* context_;
  llama_memory_t memory_;
  const LoadedModel& model_;
  const std::int64_t park_budget_bytes_;
  std::vector<llama_seq_id> free_ids_;
  mutable std::list<Sequence> held_;  // newest first
  mutable std::list<Parked> parked_;  // newest first
  std::int64_t parked_bytes_ = 0;
};

}  // namespace corral::engine
