#include "engine/prefix_tree.h"

#include <algorithm>
#include <new>
#include <utility>

#include "engine/prompt_cut.h"

namespace corral::engine {

StateBytes::StateBytes(std::size_t size)
    : data_(size > 0 ? new (std::nothrow) std::uint8_t[size] : nullptr), size_(data_ ? size : 0) {}

std::int64_t PrefixTree::Segment::Bytes() const {
  return static_cast<std::int64_t>(state_.size() + tokens_.size() * sizeof(Token) +
                                   sizeof(Segment));
}

PrefixTree::Match PrefixTree::Find(std::string_view space, std::span<const Token> tokens,
                                   bool ends_only) const {
  Match best;
  const auto roots = spaces_.find(space);
  if (roots == spaces_.end()) return best;
  const Segment* deepest = nullptr;
  // Segments whose predecessors match up to their begin.
  std::vector<const Segment*> open;
  const auto add = [&](const std::vector<std::unique_ptr<Segment>>& children, std::size_t reach) {
    for (const auto& child : children) {
      // A child that does not share its first token gives nothing that its parent does not.
      if (child->begin_ <= reach && child->begin_ < tokens.size() &&
          child->tokens_.front() == tokens[child->begin_])
        open.push_back(child.get());
    }
  };
  add(roots->second, 0);
  while (!open.empty()) {
    const Segment* segment = open.back();
    open.pop_back();
    const std::size_t n = CommonPrefix(tokens.subspan(segment->begin_), segment->tokens_);
    const std::size_t reach = segment->begin_ + n;
    const bool counts = !ends_only || n == segment->tokens_.size();
    if (counts && reach > best.n_tokens) {
      best.n_tokens = reach;
      deepest = segment;
    }
    if (counts || !ends_only) add(segment->children_, reach);
  }
  for (; deepest != nullptr; deepest = deepest->parent_) best.path.push_back(deepest);
  std::reverse(best.path.begin(), best.path.end());
  return best;
}

void PrefixTree::Touch(const Match& match) {
  ++clock_;
  for (const Segment* segment : match.path) const_cast<Segment*>(segment)->last_use_ = clock_;
}

bool PrefixTree::Add(std::string_view space, std::span<const Token> tokens, std::size_t begin,
                     bool ends_only, StateBytes state) {
  if (state.empty() || begin >= tokens.size()) return false;
  const Match before = Find(space, tokens.first(begin), ends_only);
  if (before.n_tokens != begin) return false;
  auto segment = std::make_unique<Segment>();
  segment->begin_ = begin;
  segment->tokens_.assign(tokens.begin() + static_cast<std::ptrdiff_t>(begin), tokens.end());
  segment->state_ = std::move(state);
  Touch(before);
  const std::int64_t size = segment->Bytes();
  if (size > budget_bytes_) return false;
  while (bytes_ + size > budget_bytes_) {
    if (!EvictOne(clock_)) return false;
  }
  segment->last_use_ = clock_;
  auto* const parent = before.path.empty() ? nullptr : const_cast<Segment*>(before.path.back());
  segment->parent_ = parent;
  bytes_ += size;
  ++n_segments_;
  if (parent != nullptr) {
    parent->children_.push_back(std::move(segment));
  } else {
    spaces_[std::string(space)].push_back(std::move(segment));
  }
  return true;
}

void PrefixTree::SetBudget(std::int64_t budget_bytes) {
  budget_bytes_ = budget_bytes;
  while (bytes_ > budget_bytes_ && EvictOne(clock_ + 1)) {
  }
}

// Forgets the least recently used segment without children, of those last used before
// `used_before`. False: there is none.
bool PrefixTree::EvictOne(std::uint64_t used_before) {
  std::vector<std::unique_ptr<Segment>>* from = nullptr;
  std::size_t index = 0;
  std::uint64_t oldest = used_before;
  std::vector<std::vector<std::unique_ptr<Segment>>*> open;
  for (auto& [space, roots] : spaces_) open.push_back(&roots);
  while (!open.empty()) {
    std::vector<std::unique_ptr<Segment>>& siblings = *open.back();
    open.pop_back();
    for (std::size_t i = 0; i < siblings.size(); ++i) {
      Segment& segment = *siblings[i];
      if (!segment.children_.empty()) {
        open.push_back(&segment.children_);
      } else if (segment.last_use_ < oldest) {
        oldest = segment.last_use_;
        from = &siblings;
        index = i;
      }
    }
  }
  if (from == nullptr) return false;
  bytes_ -= (*from)[index]->Bytes();
  --n_segments_;
  from->erase(from->begin() + static_cast<std::ptrdiff_t>(index));
  std::erase_if(spaces_, [](const auto& space) { return space.second.empty(); });
  return true;
}

}  // namespace corral::engine
