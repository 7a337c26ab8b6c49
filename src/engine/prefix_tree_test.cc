#include "engine/prefix_tree.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace corral::engine {
namespace {

using Tokens = std::vector<Token>;

Tokens Range(Token first, std::size_t n) {
  Tokens tokens(n);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

Tokens operator+(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

bool Add(PrefixTree& tree, const Tokens& tokens, std::size_t begin = 0,
         std::size_t n_bytes = 1000) {
  return tree.Add("", tokens, begin, false, StateBytes(n_bytes));
}

TEST(PrefixTree, FindsTheLongestStoredPrefix) {
  PrefixTree tree(1 << 20);
  EXPECT_EQ(tree.Find("", Range(0, 10), false).n_tokens, 0U);
  ASSERT_TRUE(Add(tree, Range(0, 100)));
  EXPECT_EQ(tree.Find("", Range(0, 10), false).n_tokens, 10U);
  EXPECT_EQ(tree.Find("", Range(0, 200), false).n_tokens, 100U);
  EXPECT_EQ(tree.Find("", Range(0, 50) + Range(900, 50), false).n_tokens, 50U);
  EXPECT_EQ(tree.Find("", Range(1, 50), false).n_tokens, 0U);
}

TEST(PrefixTree, BranchesShareWhatTheyBeginWith) {
  PrefixTree tree(1 << 20);
  ASSERT_TRUE(Add(tree, Range(0, 100)));
  const Tokens branch = Range(0, 60) + Range(500, 40);
  ASSERT_TRUE(Add(tree, branch, 60)) << "in the middle of a segment";
  const Tokens longer = branch + Range(700, 10);
  ASSERT_TRUE(Add(tree, longer, 100));
  const PrefixTree::Match match = tree.Find("", longer + Range(0, 5), false);
  EXPECT_EQ(match.n_tokens, 110U);
  ASSERT_EQ(match.path.size(), 3U);
  EXPECT_EQ(match.path[0]->begin(), 0U);
  EXPECT_EQ(match.path[1]->begin(), 60U);
  EXPECT_EQ(match.path[2]->begin(), 100U);
  EXPECT_EQ(tree.Find("", Range(0, 100), false).n_tokens, 100U);
  EXPECT_EQ(tree.n_segments(), 3U);
}

TEST(PrefixTree, StatesOfTheirEndCountAsAWholeOnly) {
  PrefixTree tree(1 << 20);
  ASSERT_TRUE(tree.Add("", Range(0, 50), 0, true, StateBytes(10)));
  ASSERT_TRUE(tree.Add("", Range(0, 80), 50, true, StateBytes(10)));
  EXPECT_EQ(tree.Find("", Range(0, 49), true).n_tokens, 0U);
  EXPECT_EQ(tree.Find("", Range(0, 79), true).n_tokens, 50U);
  EXPECT_EQ(tree.Find("", Range(0, 99), true).n_tokens, 80U);
  EXPECT_FALSE(tree.Add("", Range(0, 99), 60, true, StateBytes(10))) << "nothing ends at 60";
}

TEST(PrefixTree, SpacesNeverMeet) {
  PrefixTree tree(1 << 20);
  ASSERT_TRUE(tree.Add("alice", Range(0, 100), 0, false, StateBytes(10)));
  EXPECT_EQ(tree.Find("bob", Range(0, 100), false).n_tokens, 0U);
  EXPECT_EQ(tree.Find("", Range(0, 100), false).n_tokens, 0U);
  EXPECT_EQ(tree.Find("alice", Range(0, 100), false).n_tokens, 100U);
}

TEST(PrefixTree, ForgetsTheLeastRecentlyUsedEndFirst) {
  PrefixTree tree(5'500);
  ASSERT_TRUE(Add(tree, Range(0, 10)));
  ASSERT_TRUE(Add(tree, Range(0, 20), 10));
  ASSERT_TRUE(Add(tree, Range(100, 10)));
  ASSERT_TRUE(Add(tree, Range(200, 10)));
  tree.Touch(tree.Find("", Range(0, 20), false));
  ASSERT_TRUE(Add(tree, Range(300, 10)));
  EXPECT_EQ(tree.Find("", Range(100, 10), false).n_tokens, 0U);
  ASSERT_TRUE(Add(tree, Range(400, 10)));
  EXPECT_EQ(tree.Find("", Range(200, 10), false).n_tokens, 0U);
  EXPECT_EQ(tree.Find("", Range(0, 20), false).n_tokens, 20U);
  tree.Touch(tree.Find("", Range(0, 10), false));
  ASSERT_TRUE(Add(tree, Range(500, 10), 0, 2'500));
  EXPECT_EQ(tree.Find("", Range(0, 20), false).n_tokens, 10U)
      << "the end goes before its beginning";
  EXPECT_LE(tree.bytes(), tree.budget_bytes());
}

TEST(PrefixTree, RefusesWhatDoesNotFitOrHasNoBeginning) {
  PrefixTree tree(3'000);
  EXPECT_FALSE(Add(tree, Range(0, 10), 0, 4'000));
  EXPECT_FALSE(Add(tree, Range(0, 10), 5));
  EXPECT_FALSE(tree.Add("", Range(0, 10), 0, false, StateBytes()));
  ASSERT_TRUE(Add(tree, Range(0, 10)));
  EXPECT_FALSE(Add(tree, Range(0, 20), 10, 2'500)) << "it must not push out its own beginning";
  EXPECT_EQ(tree.Find("", Range(0, 10), false).n_tokens, 10U);
}

TEST(PrefixTree, ASmallerBudgetForgetsTheLeastRecentlyUsed) {
  PrefixTree tree(1 << 20);
  ASSERT_TRUE(Add(tree, Range(0, 100)));
  ASSERT_TRUE(Add(tree, Range(500, 100)));
  tree.Touch(tree.Find("", Range(0, 100), false));
  tree.SetBudget(tree.bytes() - 1);
  EXPECT_EQ(tree.n_segments(), 1U);
  EXPECT_EQ(tree.Find("", Range(0, 100), false).n_tokens, 100U);
  tree.SetBudget(0);
  EXPECT_EQ(tree.bytes(), 0);
  EXPECT_FALSE(Add(tree, Range(0, 100)));
  tree.SetBudget(1 << 20);
  EXPECT_TRUE(Add(tree, Range(0, 100)));
}

TEST(PrefixTree, AnyOrderOfUseKeepsEveryPathWhole) {
  PrefixTree tree(40'000);
  std::minstd_rand random(7);
  for (int round = 0; round < 3'000; ++round) {
    Tokens tokens;
    const std::size_t n = 5 + random() % 40;
    for (std::size_t i = 0; i < n; ++i) tokens.push_back(static_cast<Token>(random() % 2));
    const PrefixTree::Match match = tree.Find("", tokens, false);
    ASSERT_LE(match.n_tokens, n);
    std::size_t reach = 0;
    for (const PrefixTree::Segment* segment : match.path) {
      ASSERT_LE(segment->begin(), reach);
      ASSERT_FALSE(segment->state().empty());
      reach = segment->end();
    }
    ASSERT_GE(reach, match.n_tokens);
    tree.Touch(match);
    if (match.n_tokens < n) Add(tree, tokens, match.n_tokens, 100 + random() % 900);
    ASSERT_LE(tree.bytes(), tree.budget_bytes());
  }
  EXPECT_GT(tree.n_segments(), 10U);
}

}  // namespace
}  // namespace corral::engine
