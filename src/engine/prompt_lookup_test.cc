#include "engine/prompt_lookup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace corral::engine {
namespace {

using Seconds = PromptLookup::Seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

PromptLookup Warm(int n_most, const std::vector<Token>& prompt) {
  PromptLookup lookup(n_most, prompt);
  for (int i = 0; i < 3; ++i) lookup.Note(0, 1, Seconds(0.01));
  return lookup;
}

TEST(PromptLookup, GuessesWhatFollowedTheSameTokens) {
  PromptLookup lookup = Warm(4, {1, 2, 3, 4, 5, 6, 7, 9, 1, 2});
  lookup.Add(3);
  EXPECT_THAT(lookup.Guess(4), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(lookup.Guess(2), ElementsAre(4, 5));
}

TEST(PromptLookup, TheLatestOccurrenceCounts) {
  const PromptLookup lookup = Warm(1, {1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3});
  EXPECT_THAT(lookup.Guess(1), ElementsAre(5));
}

TEST(PromptLookup, GuessesNothingThatItHasNotSeen) {
  EXPECT_THAT(Warm(4, {1, 2, 3, 4, 5}).Guess(4), IsEmpty());
  EXPECT_THAT(Warm(4, {1, 2}).Guess(4), IsEmpty());
  EXPECT_THAT(Warm(0, {1, 2, 3, 1, 2, 3}).Guess(4), IsEmpty());
}

TEST(PromptLookup, MeasuresPlainStepsFirst) {
  const PromptLookup lookup(4, std::vector<Token>{1, 2, 3, 4, 1, 2, 3});
  EXPECT_THAT(lookup.Guess(4), IsEmpty());
}

TEST(PromptLookup, PausesWhenGuessesAreNotWorthTheirTime) {
  PromptLookup lookup = Warm(4, {1, 2, 3, 4, 1, 2, 3});
  for (int i = 0; i < 4; ++i) {
    EXPECT_FALSE(lookup.Guess(4).empty());
    lookup.Note(4, 1, Seconds(0.03));  // three times a plain step, for one token
  }
  int n_plain = 0;
  for (; lookup.Guess(4).empty() && n_plain < 10'000; ++n_plain) lookup.Note(0, 1, Seconds(0.01));
  EXPECT_EQ(n_plain, 32) << "then it tries again";
  for (int i = 0; i < 4; ++i) lookup.Note(4, 1, Seconds(0.03));
  for (n_plain = 0; lookup.Guess(4).empty() && n_plain < 10'000; ++n_plain)
    lookup.Note(0, 1, Seconds(0.01));
  EXPECT_EQ(n_plain, 64) << "and waits longer each time";
}

TEST(PromptLookup, PausesWhenNoGuessIsRightHoweverFastTheyAre) {
  PromptLookup lookup = Warm(4, {1, 2, 3, 4, 1, 2, 3});
  for (int i = 0; i < 4; ++i) {
    EXPECT_FALSE(lookup.Guess(4).empty());
    lookup.Note(4, 1, Seconds(0.001));
  }
  EXPECT_THAT(lookup.Guess(4), IsEmpty());
}

TEST(PromptLookup, GoesOnWhileGuessesAreWorthTheirTime) {
  PromptLookup lookup = Warm(4, {1, 2, 3, 4, 1, 2, 3});
  for (int i = 0; i < 50; ++i) {
    ASSERT_FALSE(lookup.Guess(4).empty()) << i;
    lookup.Note(4, 4, Seconds(0.03));
  }
}

}  // namespace
}  // namespace corral::engine
