#include "engine/prompt_order.h"

#include <algorithm>

namespace corral::engine {

std::vector<std::size_t> PromptOrder(std::span<const std::size_t> left, std::int64_t n_step) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (left[i] > 0) order.push_back(i);
  }
  const bool is_oldest_first = n_step % kOldestTurn == 0;
  auto begin = order.begin();
  if (is_oldest_first && begin != order.end()) ++begin;
  std::stable_sort(begin, order.end(),
                   [&](std::size_t a, std::size_t b) { return left[a] < left[b]; });
  return order;
}

}  // namespace corral::engine
