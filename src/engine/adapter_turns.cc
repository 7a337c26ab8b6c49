#include "engine/adapter_turns.h"

#include <algorithm>
#include <set>

namespace corral::engine {
namespace {

using Seconds = AdapterTurns::Seconds;

constexpr Seconds kRound{0.12};      // in which each set has had a turn,
constexpr Seconds kShortest{0.015};  // unless there are so many: a change takes 2 to 3 ms
constexpr std::size_t kMostKnown = 256;

}  // namespace

const std::string& AdapterTurns::Choose(std::span<const std::string_view> with_work) {
  const std::set<std::string_view> sets(with_work.begin(), with_work.end());
  const bool goes_on = sets.contains(current_);
  if (goes_on && sets.size() == 1) return current_;
  const Seconds turn = std::max(kRound / static_cast<double>(sets.size()), kShortest);
  if (goes_on && used_ < turn) return current_;

  if (order_.size() > kMostKnown)
    std::erase_if(order_, [&](const std::string& set) { return !sets.contains(set); });
  for (const std::string_view set : sets) {
    if (std::find(order_.begin(), order_.end(), set) == order_.end()) order_.emplace_back(set);
  }
  const auto next = std::find_if(order_.begin(), order_.end(), [&](const std::string& set) {
    return sets.contains(set) && set != current_;
  });
  current_ = *next;  // there is one: the current one is not the only one with work
  order_.erase(next);
  order_.push_back(current_);
  used_ = Seconds(0);
  return current_;
}

}  // namespace corral::engine
