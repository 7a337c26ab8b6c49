#include "engine/prompt_cut.h"

#include <gtest/gtest.h>

#include <vector>

namespace corral::engine {
namespace {

TEST(PromptCut, KeepsTheLengthThatOllamaKeeps) {
  EXPECT_EQ(CutPromptLength(4096, 5), 2051);
  EXPECT_EQ(CutPromptLength(4096, 0), 2048);
  EXPECT_EQ(CutPromptLength(4096, 4095), 4095);
}

TEST(PromptCut, LeavesRoomForATokenWhateverIsToBeKept) {
  for (int n_ctx = 2; n_ctx < 20; ++n_ctx) {
    for (int keep = -3; keep < 30; ++keep) {
      EXPECT_LT(CutPromptLength(n_ctx, keep), n_ctx) << n_ctx << " " << keep;
      EXPECT_GE(CutPromptLength(n_ctx, keep), 1) << n_ctx << " " << keep;
    }
  }
  EXPECT_EQ(CutPromptLength(1, 0), 1);
  EXPECT_EQ(CutPromptLength(-5, 0), 0);
}

TEST(PromptCut, CountsTheCommonBeginning) {
  const std::vector<Token> a = {1, 2, 3, 4}, b = {1, 2, 9, 4};
  EXPECT_EQ(CommonPrefix(a, b), 2U);
  EXPECT_EQ(CommonPrefix(a, a), 4U);
  EXPECT_EQ(CommonPrefix(a, std::span(a).first(3)), 3U);
  EXPECT_EQ(CommonPrefix(a, {}), 0U);
}

}  // namespace
}  // namespace corral::engine
