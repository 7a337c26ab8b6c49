#include "engine/prompt_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace corral::engine {
namespace {

using Order = std::vector<std::size_t>;

TEST(PromptOrder, ReadsTheOneWithTheLeastLeftFirst) {
  EXPECT_EQ(PromptOrder(std::vector<std::size_t>{900, 20, 300}, 1), (Order{1, 2, 0}));
}

TEST(PromptOrder, LeavesOutWhatHasBeenRead) {
  EXPECT_EQ(PromptOrder(std::vector<std::size_t>{0, 20, 0}, 1), (Order{1}));
  EXPECT_TRUE(PromptOrder(std::vector<std::size_t>{0, 0}, kOldestTurn).empty());
}

TEST(PromptOrder, KeepsTheOrderOfArrivalAmongEquals) {
  EXPECT_EQ(PromptOrder(std::vector<std::size_t>{30, 30, 30}, 1), (Order{0, 1, 2}));
}

TEST(PromptOrder, GivesTheOldestItsTurns) {
  EXPECT_EQ(PromptOrder(std::vector<std::size_t>{900, 20, 300, 10}, kOldestTurn),
            (Order{0, 3, 1, 2}));
}

TEST(PromptOrder, EndsALongPromptBesideShortOnesThatKeepComing) {
  constexpr std::size_t kChunk = 100;
  std::vector<std::size_t> left = {1000, kChunk};
  std::int64_t n_step = 0;
  while (left[0] > 0 && n_step < 1000) {
    const std::size_t first = PromptOrder(left, ++n_step).front();
    left[first] -= std::min(left[first], kChunk);
    if (left[1] == 0) left[1] = kChunk;  // the next short one
  }
  EXPECT_LE(n_step, 10 * kOldestTurn);
}

}  // namespace
}  // namespace corral::engine
