// Which token sequences are in the cells or parked in host RAM, and how a new prompt gets the
// longest prefix of one of them.
//
// A sequence runs (owned by a job), is held (finished, still in the cells) or is parked (in
// segments in host RAM, engine/prefix_tree.h). Idle cells slow every stream down, since attention's
// work grows with the highest used cell: so a sequence is held only while nothing else runs, and
// parked when something does. A running sequence lends its prefix by sharing cells
// (llama_memory_seq_cp): no copy, and the lender goes on. What is shared is not saved or restored
// again: only the rest is.
//
// Never a wrong answer; what cannot be reused for certain is evaluated again. What can be depends
// on the model's memory:
//   kFull    any part of any sequence.
//   kWindow  a sliding window forgets its cells as a sequence goes on. Checked before every reuse
//            (pos_min); saved while a prompt is evaluated, in segments no longer than the window,
//            as a later state would lack what has left it.
//   kState   recurrent or hybrid: a state is of its last position. A sequence that stands at
//   exactly
//            the end of the common part lends; elsewhere snapshots help, taken where the generator
//            stops on purpose (NextStop).
// An image or a sound is reused as one or not at all: common prefixes and segments end beside it.
// Search is a plain comparison with each known sequence: there are few, and most differ early. One
// thread: the engine's. Sources: llama.h (memory, state); docs/architecture.md (The prefix cache).
#pragma once

#include <llama.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/job.h"
#include "engine/llama/loaded_model.h"
#include "engine/prefix_tree.h"
#include "engine/prompt_cut.h"

namespace corral::engine {

inline constexpr std::size_t kAllPure = static_cast<std::size_t>(-1);

// What a prompt is looked up by; a view.
struct PrefixKey {
  // Sequences of different spaces share nothing: the salt of a user, a set of adapters.
  std::string_view space;
  std::span<const Token> tokens;
};

// What a prompt would find.
struct Reuse {
  std::size_t n_tokens = 0;
  std::size_t n_shared = 0;  // of the cells of a running sequence: these take no new ones
};

struct Sequence {
  llama_seq_id id = -1;
  std::string space;
  // Evaluated: position i holds tokens[i]. An image or a sound holds marks (engine/media_marks.h),
  // and may take more cells than positions.
  std::vector<Token> tokens;
  // After a context shift the rest was computed in a context that is gone: only this many tokens
  // may serve another prompt.
  std::size_t n_pure = kAllPure;
  std::size_t n_saved = 0;  // of these tokens, in segments in host RAM (kWindow)

  std::span<const Token> PureTokens() const {
    return std::span(tokens).first(std::min(n_pure, tokens.size()));
  }
};

class SequenceCache {
 public:
  using Running = std::span<const Sequence* const>;

  // `context` and `model` must outlive this. Ids are 0 .. n_seq_max - 1; the last one is used for
  // copies.
  SequenceCache(llama_context* context, const LoadedModel& model, int n_seq_max,
                std::int64_t park_budget_bytes);

  // What Start would reuse now; never the whole prompt (one token must be evaluated to predict
  // from).
  Reuse ReusableNow(const PrefixKey& prompt, Running running) const;

  // A new running sequence that holds the longest reusable prefix of the prompt in `tokens`. What
  // else was held is parked first. nullopt: no id is free.
  std::optional<Sequence> Start(const PrefixKey& prompt, Running running);

  // Where the evaluation of a prompt should stop for a moment, so that its state can be saved or
  // lent: a position after `done`; the prompt's end if nothing is to be done before. `branches`:
  // lengths that waiting prompts have in common with this one.
  std::size_t NextStop(std::size_t done, std::size_t n_prompt,
                       std::span<const std::size_t> branches) const;
  // Saves of a running sequence what could not be saved later. Cheap when there is nothing to do;
  // called after each step.
  void SaveProgress(Sequence& sequence, bool is_at_stop);

  // A job ended: keep its tokens for the next one. `others_run`: park instead of hold.
  void Keep(Sequence sequence, bool others_run, Running running);
  // Its cells are of no use (failed decode).
  void Drop(Sequence sequence);
  // Forgets the tokens from `n_tokens` on. False: the model cannot; the sequence is as it was.
  bool Truncate(Sequence& sequence, std::size_t n_tokens);

  // Frees the cells of a held sequence (parking it); false if there was none.
  bool EvictOne();
  // Discards positions [keep, keep + discard) and moves the rest down. False: the model cannot
  // shift.
  bool Shift(Sequence& sequence, std::size_t keep, std::size_t discard);
  // When long sequences have gone, those that stayed may stand far up in the cells, and attention
  // works through all below: packs them again if that is worth the copy. Called after each step.
  // False: the cells of all sequences are lost.
  bool PackCells(Running running);

  void SetParkBudget(std::int64_t bytes) { tree_.SetBudget(bytes); }
  bool can_truncate() const { return kind_ != Kind::kState; }
  std::int64_t parked_bytes() const { return tree_.bytes(); }

 private:
  enum class Kind : std::uint8_t { kFull, kWindow, kState };
  struct Match {
    std::size_t n_tokens = 0;  // the most of the three
    std::size_t n_held = 0, n_running = 0;
    std::list<Sequence>::const_iterator held;
    const Sequence* running = nullptr;
    PrefixTree::Match parked;
  };
  Match Find(const PrefixKey& prompt, Running running) const;
  std::size_t Usable(const Sequence& sequence, const PrefixKey& prompt) const;
  bool IsWhole(llama_seq_id id, std::span<const Token> tokens) const;
  std::optional<llama_seq_id> TakeId();
  void Clear(llama_seq_id id);
  void Park(const Sequence& sequence, Running running);
  bool Save(const Sequence& sequence, std::size_t begin, std::size_t end);
  void Restore(Sequence& sequence, const PrefixTree::Match& parked, std::size_t n_have);
  StateBytes SaveState(llama_seq_id id) const;
  bool SetState(llama_seq_id id, const StateBytes& state);
  bool Unshare(Sequence& sequence);

  llama_context* context_;
  llama_memory_t memory_;
  const LoadedModel& model_;
  const Kind kind_;
  const llama_seq_id scratch_id_;
  std::vector<llama_seq_id> free_ids_;
  std::list<Sequence> held_;  // newest first
  PrefixTree tree_;
  std::size_t most_cells_ = 0;  // an upper bound of the highest used cell
};

}  // namespace corral::engine
