#include "engine/llama/sequence_cache.h"

#include <algorithm>
#include <utility>

#include "core/log.h"
#include "engine/media_marks.h"

namespace corral::engine {
namespace {

// Fewer common tokens than this are not worth sharing cells for.
constexpr std::size_t kMinReuse = 4;
// What is known elsewhere up to this many tokens is not parked again.
constexpr std::size_t kParkWorth = 32;
// Tokens of a segment at most: so that the beginning of a sequence can stay when its end must go.
constexpr std::size_t kSegmentTokens = 1024;
// How far apart the snapshots of a long prompt are (kState).
constexpr std::size_t kSnapshotDistance = 2048;
// Cells below which packing is not worth a copy.
constexpr std::size_t kPackWorth = 1024;

}  // namespace

SequenceCache::SequenceCache(llama_context* context, const LoadedModel& model, int n_seq_max,
                             std::int64_t park_budget_bytes)
    : context_(context),
      memory_(llama_get_memory(context)),
      model_(model),
      kind_(!model.has_positional_cache() ? Kind::kState
            : model.n_swa() > 0           ? Kind::kWindow
                                          : Kind::kFull),
      scratch_id_(n_seq_max - 1),
      tree_(park_budget_bytes) {
  for (llama_seq_id id = scratch_id_ - 1; id >= 0; --id) free_ids_.push_back(id);
}

// ---- what can be reused ----

// Whether positions [0, n) are there, as far as position n attends to them: with a sliding window,
// old cells may be gone.
bool SequenceCache::IsWhole(llama_seq_id id, std::span<const Token> tokens) const {
  const auto n = static_cast<llama_pos>(tokens.size());
  const llama_pos last = llama_memory_seq_pos_max(memory_, id);
  // With M-RoPE all cells of an image have the position of its first one (llama-kv-cache.cpp).
  const bool ends_in_media = !tokens.empty() && IsMark(tokens.back());
  const auto least =
      ends_in_media ? static_cast<llama_pos>(MediaBegin(tokens, tokens.size() - 1)) : n - 1;
  if (kind_ == Kind::kState) return last == n - 1 || (ends_in_media && last == least);
  const llama_pos first = llama_memory_seq_pos_min(memory_, id);
  const llama_pos needed = kind_ == Kind::kWindow ? std::max(0, n - model_.n_swa() + 1) : 0;
  return first >= 0 && first <= needed && last >= least;
}

std::size_t SequenceCache::Usable(const Sequence& sequence, const PrefixKey& prompt) const {
  if (sequence.space != prompt.space || prompt.tokens.empty()) return 0;
  const std::size_t n = CommonPrefix(ReusablePart(prompt.tokens), sequence.PureTokens());
  if (n < kMinReuse || !IsWhole(sequence.id, prompt.tokens.first(n))) return 0;
  return kind_ != Kind::kState || n == sequence.tokens.size() ? n : 0;
}

SequenceCache::Match SequenceCache::Find(const PrefixKey& prompt, Running running) const {
  Match match;
  for (auto held = held_.begin(); held != held_.end(); ++held) {
    if (const std::size_t n = Usable(*held, prompt); n > match.n_held) {
      match.n_held = n;
      match.held = held;
    }
  }
  for (const Sequence* sequence : running) {
    if (const std::size_t n = Usable(*sequence, prompt); n > match.n_running) {
      match.n_running = n;
      match.running = sequence;
    }
  }
  match.n_tokens = std::max(match.n_held, match.n_running);
  if (!prompt.tokens.empty()) {
    match.parked = tree_.Find(prompt.space, ReusablePart(prompt.tokens), kind_ == Kind::kState);
  }
  if (match.parked.n_tokens < kMinReuse) match.parked = {};
  // A state cannot be continued by another one.
  if (kind_ == Kind::kState && match.parked.n_tokens > match.n_tokens)
    match.n_held = match.n_running = 0;
  match.n_tokens = std::max(match.n_tokens, match.parked.n_tokens);
  return match;
}

Reuse SequenceCache::ReusableNow(const PrefixKey& prompt, Running running) const {
  const Match match = Find(prompt, running);
  return {match.n_tokens, match.n_held >= match.n_running ? 0 : match.n_running};
}

// ---- a job begins ----

std::optional<Sequence> SequenceCache::Start(const PrefixKey& prompt, Running running) {
  Match match = Find(prompt, running);
  Sequence sequence;
  if (match.n_held > 0 && match.n_held >= match.n_running) {
    std::list<Sequence> taken;
    taken.splice(taken.begin(), held_, match.held);
    sequence = std::move(taken.front());
    match.n_running = 0;
    // The tail beyond the common part would be lost.
    if (sequence.tokens.size() - match.n_held >= kParkWorth) Park(sequence, running);
  }
  while (EvictOne()) {
  }
  if (sequence.id < 0) {
    const std::optional<llama_seq_id> id = TakeId();
    if (!id) return std::nullopt;
    sequence.id = *id;
    match.n_held = 0;
  }
  std::size_t n_have = std::max(match.n_held, match.n_running);
  if (match.n_running > 0) {
    llama_memory_seq_cp(memory_, match.running->id, sequence.id, 0,
                        static_cast<llama_pos>(match.n_running));
  }
  if (n_have > 0 && kind_ != Kind::kState &&
      !llama_memory_seq_rm(memory_, sequence.id, static_cast<llama_pos>(n_have), -1)) {
    Clear(sequence.id);
    n_have = 0;
  }

  // Parking may have moved what was found before: search again.
  sequence.space = prompt.space;
  sequence.tokens.assign(prompt.tokens.begin(),
                         prompt.tokens.begin() + static_cast<std::ptrdiff_t>(n_have));
  const Match again = Find(prompt, {});
  tree_.Touch(again.parked);
  if (again.parked.n_tokens > n_have) Restore(sequence, again.parked, n_have);
  if (n_have = sequence.tokens.size();
      n_have > 0 && !IsWhole(sequence.id, prompt.tokens.first(n_have)))
    n_have = 0;
  if (n_have == 0) Clear(sequence.id);
  sequence.tokens.assign(prompt.tokens.begin(),
                         prompt.tokens.begin() + static_cast<std::ptrdiff_t>(n_have));
  sequence.n_pure = kAllPure;  // what an earlier job's shift left impure has been removed
  sequence.n_saved = std::min(again.parked.n_tokens, n_have);
  return sequence;
}

// Puts the segments beyond the first `n_have` tokens, which are in the cells, behind them.
void SequenceCache::Restore(Sequence& sequence, const PrefixTree::Match& parked,
                            std::size_t n_have) {
  for (std::size_t i = 0; i < parked.path.size(); ++i) {
    const PrefixTree::Segment* const segment = parked.path[i];
    // Where the next one branches off, this one goes on with other tokens.
    const std::size_t end =
        i + 1 < parked.path.size() ? parked.path[i + 1]->begin() : parked.n_tokens;
    if (end <= n_have) continue;
    if (!SetState(scratch_id_, segment->state())) break;
    const std::size_t begin = std::max(segment->begin(), n_have);
    llama_memory_seq_cp(memory_, scratch_id_, sequence.id, static_cast<llama_pos>(begin),
                        static_cast<llama_pos>(end));
    Clear(scratch_id_);
    n_have = end;
  }
  // Only the number counts here; the caller knows which tokens they are.
  sequence.tokens.resize(n_have);
}

// ---- while it runs ----

std::size_t SequenceCache::NextStop(std::size_t done, std::size_t n_prompt,
                                    std::span<const std::size_t> branches) const {
  if (kind_ != Kind::kState) return n_prompt;
  std::size_t stop = n_prompt;
  const auto consider = [&](std::size_t at) {
    if (at > done && at >= kParkWorth) stop = std::min(stop, at);
  };
  consider(n_prompt - 1);  // the same prompt again
  consider((done / kSnapshotDistance + 1) * kSnapshotDistance);
  for (const std::size_t branch : branches) consider(branch);
  return stop;
}

void SequenceCache::SaveProgress(Sequence& sequence, bool is_at_stop) {
  const std::size_t n = sequence.tokens.size();
  if (kind_ == Kind::kFull || tree_.budget_bytes() <= 0 || sequence.PureTokens().size() < n) return;
  if (kind_ == Kind::kState) {
    if (is_at_stop) Park(sequence, {});
    return;
  }
  const auto window = static_cast<std::size_t>(model_.n_swa());
  if (n - sequence.n_saved < std::max<std::size_t>(window / 4, 1)) return;
  Park(sequence, {});
  sequence.n_saved = n;
}

bool SequenceCache::Truncate(Sequence& sequence, std::size_t n_tokens) {
  if (n_tokens >= sequence.tokens.size()) return true;
  if (kind_ == Kind::kState ||
      !llama_memory_seq_rm(memory_, sequence.id, static_cast<llama_pos>(n_tokens), -1))
    return false;
  sequence.tokens.resize(n_tokens);
  sequence.n_saved = std::min(sequence.n_saved, n_tokens);
  return true;
}

// Gives the sequence cells of its own, by way of a copy in host RAM. False: it may have lost its
// cells, and has no tokens then.
bool SequenceCache::Unshare(Sequence& sequence) {
  const StateBytes state = SaveState(sequence.id);
  if (state.empty()) return false;
  Clear(sequence.id);
  if (SetState(sequence.id, state)) return true;
  sequence.tokens.clear();
  return false;
}

bool SequenceCache::Shift(Sequence& sequence, std::size_t keep, std::size_t discard) {
  // A shift moves every sharer of a cell (llama.h), and lenders do not know that they lent: every
  // sequence is unshared.
  if (!model_.can_shift_cells() || !llama_memory_can_shift(memory_) || !Unshare(sequence))
    return false;
  const auto first = static_cast<llama_pos>(keep);
  const auto last = static_cast<llama_pos>(keep + discard);
  if (!llama_memory_seq_rm(memory_, sequence.id, first, last)) return false;
  llama_memory_seq_add(memory_, sequence.id, last, -1, -static_cast<llama_pos>(discard));
  sequence.tokens.erase(sequence.tokens.begin() + first, sequence.tokens.begin() + last);
  sequence.n_pure = std::min(sequence.n_pure, keep);
  sequence.n_saved = std::min(sequence.n_saved, keep);
  return true;
}

bool SequenceCache::PackCells(Running running) {
  std::size_t n_used = 0;  // at most: shared cells count for each sharer
  for (const Sequence* sequence : running) n_used += sequence->tokens.size();
  for (const Sequence& sequence : held_) n_used += sequence.tokens.size();
  most_cells_ = n_used == 0 ? 0 : std::max(most_cells_, n_used);
  if (kind_ == Kind::kState || most_cells_ < 2 * n_used + kPackWorth) return true;
  most_cells_ = n_used;
  StateBytes state(llama_state_get_size(context_));
  if (state.empty() || llama_state_get_data(context_, state.data(), state.size()) != state.size())
    return true;
  return llama_state_set_data(context_, state.data(), state.size()) == state.size();
}

// ---- a job ends ----

void SequenceCache::Keep(Sequence sequence, bool others_run, Running running) {
  if (!Truncate(sequence, sequence.PureTokens().size()) || sequence.tokens.size() < kMinReuse) {
    Drop(std::move(sequence));
    return;
  }
  if (others_run) {
    Park(sequence, running);
    Drop(std::move(sequence));
    return;
  }
  held_.push_front(std::move(sequence));
  if (free_ids_.empty()) EvictOne();
}

void SequenceCache::Drop(Sequence sequence) {
  Clear(sequence.id);
  free_ids_.push_back(sequence.id);
}

bool SequenceCache::EvictOne() {
  if (held_.empty()) return false;
  Sequence oldest = std::move(held_.back());
  held_.pop_back();
  Park(oldest, {});
  Drop(std::move(oldest));
  return true;
}

// Copies to host RAM what is not there yet. `running`: what these know is theirs to park.
void SequenceCache::Park(const Sequence& sequence, Running running) {
  const std::span<const Token> tokens = sequence.PureTokens();
  const std::size_t n = tokens.size();
  if (tree_.budget_bytes() <= 0 || n < kParkWorth) return;
  const PrefixTree::Match known = tree_.Find(sequence.space, tokens, kind_ == Kind::kState);
  tree_.Touch(known);
  if (kind_ == Kind::kState) {
    if (known.n_tokens < n && n == sequence.tokens.size()) Save(sequence, known.n_tokens, n);
    return;
  }
  const std::size_t worth = kind_ == Kind::kWindow ? 1 : kParkWorth;
  if (n - known.n_tokens < worth) return;
  if (std::any_of(running.begin(), running.end(), [&](const Sequence* other) {
        return other->space == sequence.space &&
               CommonPrefix(tokens, other->PureTokens()) + worth > n;
      }))
    return;
  const std::size_t most = kind_ == Kind::kWindow
                               ? std::min(static_cast<std::size_t>(model_.n_swa()), kSegmentTokens)
                               : kSegmentTokens;
  for (std::size_t begin = known.n_tokens; begin < n;) {
    // Beside an image: part of one is of no use.
    std::size_t end = CutBesideMedia(tokens, std::min(begin + most, n));
    while (end <= begin || (end < n && IsMark(tokens[end]) && !IsFirstMark(tokens[end]))) ++end;
    if (!Save(sequence, begin, end)) return;
    begin = end;
  }
}

// Stores positions [begin, end) as a segment behind what is stored already.
bool SequenceCache::Save(const Sequence& sequence, std::size_t begin, std::size_t end) {
  const auto first = static_cast<llama_pos>(begin);
  if (kind_ == Kind::kWindow && llama_memory_seq_pos_min(memory_, sequence.id) > first)
    return false;  // part of it has left the window
  StateBytes state;
  if (begin == 0 && end == sequence.tokens.size()) {
    state = SaveState(sequence.id);
  } else {
    llama_memory_seq_cp(memory_, sequence.id, scratch_id_, first, static_cast<llama_pos>(end));
    state = SaveState(scratch_id_);
    Clear(scratch_id_);
  }
  return tree_.Add(sequence.space, std::span(sequence.tokens).first(end), begin,
                   kind_ == Kind::kState, std::move(state));
}

// ---- states and ids ----

// Empty: nothing to save, no memory for it, or more than could be kept.
StateBytes SequenceCache::SaveState(llama_seq_id id) const {
  StateBytes state(llama_state_seq_get_size_ext(context_, id, LLAMA_STATE_SEQ_FLAGS_NONE));
  if (!state.empty() && llama_state_seq_get_data_ext(context_, state.data(), state.size(), id,
                                                     LLAMA_STATE_SEQ_FLAGS_NONE) != state.size())
    return {};
  return state;
}

// False: the sequence is empty then.
bool SequenceCache::SetState(llama_seq_id id, const StateBytes& state) {
  if (llama_state_seq_set_data_ext(context_, state.data(), state.size(), id,
                                   LLAMA_STATE_SEQ_FLAGS_NONE) != 0)
    return true;
  Clear(id);
  return false;
}

std::optional<llama_seq_id> SequenceCache::TakeId() {
  if (free_ids_.empty()) return std::nullopt;
  const llama_seq_id id = free_ids_.back();
  free_ids_.pop_back();
  return id;
}

void SequenceCache::Clear(llama_seq_id id) { llama_memory_seq_rm(memory_, id, -1, -1); }

}  // namespace corral::engine
