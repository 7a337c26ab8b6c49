#include "engine/step_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace corral::engine {
namespace {

using Seconds = StepBudget::Seconds;

// A machine that evaluates so many prompt tokens a second and takes so long for the streams' step.
struct Machine {
  double prompt_tokens_per_s = 250;
  Seconds stream_step{0.01};

  Seconds Step(int n_streams, int n_prompt_tokens) const {
    return (n_streams > 0 ? stream_step : Seconds(0)) +
           Seconds(n_prompt_tokens / prompt_tokens_per_s);
  }
};

struct Outcome {
  Seconds stream_time{0};  // until the streams' last token
  Seconds prompt_time{0};  // until the last prompt token
  Seconds longest_gap{0};  // between tokens of a stream
};

// One stream of `n_tokens` beside `n_prompts` prompts of `n_each` tokens that come after a warm-up.
Outcome Race(int n_tokens, int n_prompts, int n_each) {
  const Machine machine;
  StepBudget budget(true);
  budget.Note(0, 100, 1, machine.Step(0, 100));
  for (int i = 0; i < 20; ++i) budget.Note(1, 0, 0, machine.Step(1, 0));
  Outcome outcome;
  Seconds now{0};
  Seconds gap{0};
  int left = n_prompts * n_each;
  while (n_tokens > 0 || left > 0) {
    const int n_streams = n_tokens > 0 ? 1 : 0;
    const int waiting = (left + n_each - 1) / n_each;
    budget.Expect(n_tokens, left);
    const int n = budget.PromptTokens(n_streams, waiting, left, 512);
    const int n_taking_part = n == 0 || budget.SharesBatch(n_streams, n) ? n_streams : 0;
    const Seconds took = machine.Step(n_taking_part, n);
    budget.Note(n_taking_part, n, waiting, took, n_streams - n_taking_part);
    now += took;
    gap += took;
    left -= n;
    if (n_taking_part > 0) {
      outcome.longest_gap = std::max(outcome.longest_gap, std::exchange(gap, Seconds(0)));
      outcome.stream_time = now;
      --n_tokens;
    }
    if (left > 0 || n > 0) outcome.prompt_time = now;
  }
  return outcome;
}

TEST(StepBudget, StreamBesideALongPromptTakesNotMuchMoreThanTwiceItsTime) {
  const Outcome outcome = Race(160, 1, 1'800);
  const Seconds alone = 160 * Machine().stream_step;
  EXPECT_LT(outcome.stream_time, 2.5 * alone);
  EXPECT_LT(outcome.longest_gap, Seconds(0.3));
}

TEST(StepBudget, LongPromptBesideAStreamLosesOnlyTheStreamsTime) {
  const Outcome outcome = Race(160, 1, 1'800);
  const Seconds alone(1'800 / Machine().prompt_tokens_per_s);
  EXPECT_LT(outcome.prompt_time, 1.4 * alone);
}

TEST(StepBudget, PromptThatEndsBeforeTheStreamCostsItTheSameAndGoesFirst) {
  const Outcome outcome = Race(600, 1, 1'000);
  const Seconds alone(1'000 / Machine().prompt_tokens_per_s);
  EXPECT_LT(outcome.prompt_time, 1.5 * alone) << "1.8 at the share of a prompt that ends last";
  EXPECT_LT(outcome.longest_gap, Seconds(0.3));
  EXPECT_NEAR(outcome.stream_time.count(), (600 * Machine().stream_step + alone).count(), 0.1);
}

TEST(StepBudget, OneShortPromptAfterTheOtherDoesNotHoldUpAStream) {
  const Machine machine;
  StepBudget budget(true);
  budget.Note(0, 100, 1, machine.Step(0, 100));
  for (int i = 0; i < 20; ++i) budget.Note(1, 0, 0, machine.Step(1, 0));
  Seconds now{0};
  int left = 0;
  for (int n_tokens = 600; n_tokens > 0;) {
    if (left == 0) left = 400;
    budget.Expect(n_tokens, left);
    const int n = budget.PromptTokens(1, 1, left, 512);
    const int n_streams = n == 0 || budget.SharesBatch(1, n) ? 1 : 0;
    const Seconds took = machine.Step(n_streams, n);
    budget.Note(n_streams, n, 1, took, 1 - n_streams);
    now += took;
    left -= n;
    n_tokens -= n_streams;
  }
  EXPECT_LT(now, 3.2 * 600 * machine.stream_step) << "5 times at the share of one short prompt";
}

TEST(StepBudget, ShortPromptBesideAStreamGoesAtOnce) {
  StepBudget budget(true);
  const Machine machine;
  budget.Note(0, 100, 1, machine.Step(0, 100));
  for (int i = 0; i < 20; ++i) budget.Note(1, 0, 0, machine.Step(1, 0));
  EXPECT_EQ(budget.PromptTokens(1, 1, 20, 512), 20);
}

TEST(StepBudget, ManyPromptsGetMoreThanOne) {
  const Outcome one = Race(160, 1, 400);
  const Outcome many = Race(160, 4, 400);
  EXPECT_LT(many.prompt_time, 4 * one.prompt_time);
  EXPECT_LT(many.longest_gap, Seconds(0.6));
}

TEST(StepBudget, ChunksAreLongerWhereAQueueOfPromptsWaits) {
  const auto chunk_beside_a_stream = [](int n_prompts) {
    StepBudget budget(true);
    const Machine machine;
    budget.Note(0, 100, n_prompts, machine.Step(0, 100));
    for (int i = 0; i < 40; ++i) budget.Note(1, 0, n_prompts, machine.Step(1, 0));
    return budget.PromptTokens(1, n_prompts, 5'000, 512);
  };
  EXPECT_EQ(chunk_beside_a_stream(1), 45);
  EXPECT_EQ(chunk_beside_a_stream(6), 128);
}

TEST(StepBudget, WithoutStreamsAStepIsBoundedByTimeAndByTheBatch) {
  StepBudget budget(true);
  EXPECT_EQ(budget.PromptTokens(0, 1, 5'000, 512), 64) << "the speed is not known yet";
  budget.Note(0, 64, 1, Seconds(64 / 240.0));
  EXPECT_EQ(budget.PromptTokens(0, 1, 5'000, 512), 128) << "whole tiles of attention";
  budget.Note(0, 100, 1, Seconds(0.001));
  EXPECT_EQ(budget.PromptTokens(0, 1, 5'000, 512), 512);
  EXPECT_EQ(budget.PromptTokens(0, 1, 7, 512), 7);
  EXPECT_EQ(budget.PromptTokens(0, 0, 0, 512), 0);
}

TEST(StepBudget, ChunkThatFillsTilesIsEvaluatedApartOnCpuOnly) {
  EXPECT_TRUE(StepBudget(true).SharesBatch(4, 20));
  EXPECT_FALSE(StepBudget(true).SharesBatch(4, 64));
  EXPECT_TRUE(StepBudget(false).SharesBatch(4, 64));
}

TEST(StepBudget, StreamsThatCannotTakePartGetTheirTimeToo) {
  StepBudget budget(true);
  const Machine machine;
  budget.Note(0, 100, 1, machine.Step(0, 100));
  for (int i = 0; i < 20; ++i) budget.Note(1, 0, 1, machine.Step(1, 0));
  const int chunk = budget.PromptTokens(1, 1, 1'000, 512);
  ASSERT_GT(chunk, 0);
  budget.Note(0, chunk, 1, machine.Step(0, chunk), /*n_streams_waiting=*/1);
  EXPECT_EQ(budget.PromptTokens(1, 1, 1'000, 512), 0) << "now it is the streams' time";
  int n_steps = 0;
  for (; budget.PromptTokens(1, 1, 1'000, 512) == 0 && n_steps < 1'000; ++n_steps)
    budget.Note(1, 0, 1, machine.Step(1, 0));
  EXPECT_GT(n_steps * machine.stream_step, machine.Step(0, chunk) / 2);
}

}  // namespace
}  // namespace corral::engine
