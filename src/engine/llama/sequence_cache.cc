#include "engine/llama/sequence_cache.h"

#include <algorithm>
#include <new>
#include <utility>

namespace corral::engine {
namespace {

// Fewer common tokens than this are not worth sharing cells for.
constexpr std::size_t kMinReuse = 4;
// A sequence whose tokens are known elsewhere up to this many is not parked again.
constexpr std::size_t kParkWorth = 32;

}  // namespace

SequenceCache::SequenceCache(llama_context* context, const LoadedModel& model, int n_seq_max,
                             std::int64_t park_budget_bytes)
    : context_(context),
      memory_(llama_get_memory(context)),
      model_(model),
      park_budget_bytes_(model.has_positional_cache() ? park_budget_bytes : 0) {
  for (llama_seq_id id = n_seq_max - 1; id >= 0; --id) free_ids_.push_back(id);
}

SequenceCache::Match SequenceCache::Find(std::span<const Token> prompt,
                                         std::span<const Sequence* const> running) const {
  Match best;
  if (!model_.has_positional_cache() || prompt.empty()) return best;
  const std::span<const Token> wanted = prompt.first(prompt.size() - 1);
  best.n_tokens = kMinReuse - 1;
  // Ties: what is in the cells already is cheaper than what must be copied back.
  for (auto held = held_.begin(); held != held_.end(); ++held) {
    const std::size_t n = CommonPrefix(wanted, held->PureTokens());
    if (n > best.n_tokens && IsWhole(held->id, n)) {
      best.from = From::kHeld;
      best.n_tokens = n;
      best.held = held;
    }
  }
  for (const Sequence* sequence : running) {
    const std::size_t n = CommonPrefix(wanted, sequence->PureTokens());
    if (n > best.n_tokens && IsWhole(sequence->id, n)) {
      best.from = From::kRunning;
      best.n_tokens = n;
      best.running = sequence;
    }
  }
  for (auto parked = parked_.begin(); parked != parked_.end(); ++parked) {
    const std::size_t n = CommonPrefix(wanted, parked->tokens);
    // A parked state of a sliding-window model holds the window before its end only.
    if (model_.n_swa() > 0 && n < parked->tokens.size()) continue;
    if (n > best.n_tokens) {
      best.from = From::kParked;
      best.n_tokens = n;
      best.parked = parked;
    }
  }
  if (best.from == From::kNothing) best.n_tokens = 0;
  return best;
}

// Whether positions [0, n) can all be attended to by position n: with a sliding window, old cells
// may be gone.
bool SequenceCache::IsWhole(llama_seq_id id, std::size_t n_tokens) const {
  const llama_pos first = llama_memory_seq_pos_min(memory_, id);
  if (first < 0) return false;
  const auto n = static_cast<llama_pos>(n_tokens);
  const llama_pos needed = model_.n_swa() > 0 ? std::max(0, n - model_.n_swa() + 1) : 0;
  return first <= needed && llama_memory_seq_pos_max(memory_, id) >= n - 1;
}

std::size_t SequenceCache::ReusableNow(std::span<const Token> prompt,
                                       std::span<const Sequence* const> running) const {
  return Find(prompt, running).n_tokens;
}

std::optional<Sequence> SequenceCache::Start(std::span<const Token> prompt,
                                             std::span<const Sequence* const> running) {
  Match match = Find(prompt, running);
  Sequence sequence;

  if (match.from == From::kHeld) {
    sequence = std::move(*match.held);
    held_.erase(match.held);
    // The tail beyond the common part would be lost.
    if (sequence.tokens.size() - match.n_tokens >= kParkWorth) Park(sequence, running);
  }
  while (EvictOne()) {
  }
  if (sequence.id < 0) {
    const std::optional<llama_seq_id> id = TakeId();
    if (!id) return std::nullopt;
    sequence.id = *id;
  }

  if (match.from == From::kRunning) {
    llama_memory_seq_cp(memory_, match.running->id, sequence.id, 0,
                        static_cast<llama_pos>(match.n_tokens));
    sequence.has_shared_cells = true;
  }
  if (match.from == From::kParked) {
    // Eviction may have dropped it to make room; search again.
    match = Find(prompt, {});
    if (match.from == From::kParked) {
      const Parked& parked = *match.parked;
      if (llama_state_seq_set_data_ext(context_, parked.state.data(), parked.state.size(),
                                       sequence.id, 0) == 0) {
        match.from = From::kNothing;
      } else {
        parked_.splice(parked_.begin(), parked_, match.parked);
      }
    }
  }

  std::size_t n_reused = match.from == From::kNothing ? 0 : match.n_tokens;
  if (n_reused == 0 ||
      !llama_memory_seq_rm(memory_, sequence.id, static_cast<llama_pos>(n_reused), -1) ||
      !IsWhole(sequence.id, n_reused)) {
    llama_memory_seq_rm(memory_, sequence.id, -1, -1);
    n_reused = 0;
    sequence.has_shared_cells = false;
  }
  sequence.tokens.assign(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(n_reused));
  sequence.n_pure = kAllPure;  // what an earlier job's shift left impure has been removed
  return sequence;
}

void SequenceCache::Keep(Sequence sequence, bool others_run,
                         std::span<const Sequence* const> running) {
  const std::size_t n_pure = sequence.PureTokens().size();
  if (n_pure < sequence.tokens.size()) {
    if (!llama_memory_seq_rm(memory_, sequence.id, static_cast<llama_pos>(n_pure), -1))
      sequence.tokens.clear();
    sequence.tokens.resize(std::min(n_pure, sequence.tokens.size()));
  }
  if (!model_.has_positional_cache() || sequence.tokens.size() < kMinReuse) {
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
  llama_memory_seq_rm(memory_, sequence.id, -1, -1);
  ReleaseId(sequence.id);
}

bool SequenceCache::EvictOne() {
  if (held_.empty()) return false;
  Sequence oldest = std::move(held_.back());
  held_.pop_back();
  Park(oldest, {});
  Drop(std::move(oldest));
  return true;
}

void SequenceCache::Park(const Sequence& sequence, std::span<const Sequence* const> running) {
  const std::size_t n = sequence.tokens.size();
  if (park_budget_bytes_ <= 0 || n < kParkWorth) return;
  const auto is_known = [&](const std::vector<Token>& tokens) {
    return CommonPrefix(sequence.tokens, tokens) + std::max(kParkWorth, n / 10) > n;
  };
  if (std::any_of(parked_.begin(), parked_.end(),
                  [&](const Parked& p) { return is_known(p.tokens); }))
    return;
  if (std::any_of(running.begin(), running.end(),
                  [&](const Sequence* s) { return is_known(s->tokens); }))
    return;

  const std::size_t size = llama_state_seq_get_size_ext(context_, sequence.id, 0);
  if (size == 0 || static_cast<std::int64_t>(size) > park_budget_bytes_) return;
  // What this one begins with is contained in it; then the least recently used go.
  for (auto parked = parked_.begin(); parked != parked_.end();) {
    const bool is_contained =
        CommonPrefix(sequence.tokens, parked->tokens) == parked->tokens.size();
    if (is_contained) parked_bytes_ -= static_cast<std::int64_t>(parked->state.size());
    parked = is_contained ? parked_.erase(parked) : std::next(parked);
  }
  while (!parked_.empty() && parked_bytes_ + static_cast<std::int64_t>(size) > park_budget_bytes_) {
    parked_bytes_ -= static_cast<std::int64_t>(parked_.back().state.size());
    parked_.pop_back();
  }
  Parked parked{sequence.tokens, SaveState(sequence.id)};
  if (parked.state.empty()) return;
  parked_bytes_ += static_cast<std::int64_t>(parked.state.size());
  parked_.push_front(std::move(parked));
}

// Empty: nothing to save, or no memory for it. A cache may forget; it must not end the process.
std::vector<std::uint8_t> SequenceCache::SaveState(llama_seq_id id) const {
  std::vector<std::uint8_t> state;
  try {
    state.resize(llama_state_seq_get_size_ext(context_, id, 0));
  } catch (const std::bad_alloc&) {
    return {};
  }
  if (state.empty() ||
      llama_state_seq_get_data_ext(context_, state.data(), state.size(), id, 0) != state.size())
    return {};
  return state;
}

// Gives the sequence cells of its own, by way of a copy in host RAM. False: it may have lost its
// cells, and has no tokens then.
bool SequenceCache::Unshare(Sequence& sequence) {
  if (!sequence.has_shared_cells) return true;
  const std::vector<std::uint8_t> state = SaveState(sequence.id);
  if (state.empty()) return false;
  llama_memory_seq_rm(memory_, sequence.id, -1, -1);
  sequence.has_shared_cells = false;
  if (llama_state_seq_set_data_ext(context_, state.data(), state.size(), sequence.id, 0) != 0)
    return true;
  llama_memory_seq_rm(memory_, sequence.id, -1, -1);
  sequence.tokens.clear();
  return false;
}

bool SequenceCache::Shift(Sequence& sequence, std::size_t keep, std::size_t discard) {
  // A shift moves every sharer of a cell (llama.h): lenders do not know that they lent, so every
  // sequence is unshared.
  sequence.has_shared_cells = true;
  if (!llama_memory_can_shift(memory_) || !Unshare(sequence)) return false;
  const auto first = static_cast<llama_pos>(keep);
  const auto last = static_cast<llama_pos>(keep + discard);
  if (!llama_memory_seq_rm(memory_, sequence.id, first, last)) return false;
  llama_memory_seq_add(memory_, sequence.id, last, -1, -static_cast<llama_pos>(discard));
  sequence.tokens.erase(sequence.tokens.begin() + first, sequence.tokens.begin() + last);
  sequence.n_pure = std::min(sequence.n_pure, keep);
  return true;
}

std::optional<llama_seq_id> SequenceCache::TakeId() {
  if (free_ids_.empty()) return std::nullopt;
  const llama_seq_id id = free_ids_.back();
  free_ids_.pop_back();
  return id;
}

void SequenceCache::ReleaseId(llama_seq_id id) { free_ids_.push_back(id); }

}  // namespace corral::engine
