// What is evaluated and what is reused, by the engine's counters.
#include <chrono>
#include <thread>

#include "bench.h"

namespace corral::engine {
namespace {

std::int64_t Evaluated(Bench& bench) { return bench.engine().Counters().prompt_tokens_evaluated; }

TEST(EnginePrefix, ReusesAFinishedPrompt) {
  Bench bench(EndlessModel());
  const std::string prefix = Words(100, 1);
  const Story cold = bench.Run(Greedy(prefix + " hello world", 8));
  EXPECT_EQ(cold.finish().reused_tokens, 0);
  const std::int64_t before = Evaluated(bench);
  EXPECT_EQ(before, cold.finish().prompt_tokens);
  const Story warm = bench.Run(Greedy(prefix + " hello world", 8));
  ExpectSameAnswer(warm, cold);
  EXPECT_EQ(warm.finish().prompt_tokens, cold.finish().prompt_tokens);
  EXPECT_EQ(warm.finish().reused_tokens, warm.finish().prompt_tokens - 1);
  EXPECT_EQ(Evaluated(bench) - before, 1) << "one position is needed to predict from";
}

TEST(EnginePrefix, GivesTheSameTextFromAReusedPrefixAsAlone) {
  const std::string prefix = Words(100, 1);
  Story alone;
  {
    Bench bench(EndlessModel());
    alone = bench.Run(Greedy(prefix + " " + Words(20, 9), 16));
  }
  Bench bench(EndlessModel());
  bench.Run(Greedy(prefix + " " + Words(20, 8), 16));
  const Story story = bench.Run(Greedy(prefix + " " + Words(20, 9), 16));
  EXPECT_GE(story.finish().reused_tokens, 100);
  ExpectSameAnswer(story, alone);
}

TEST(EnginePrefix, SharesThePrefixOfARunningJob) {
  Bench::Options options = Bench::Small();
  options.initial_credit = 4;
  Bench bench(EndlessModel(), options);
  const std::string prefix = Words(100, 1);
  const JobId lender = bench.Submit(Greedy(prefix, 20));
  bench.WaitForPieces(lender, 1);
  const std::int64_t before = Evaluated(bench);
  const Story borrower = bench.Run(Greedy(prefix + " " + Words(10, 2), 3));
  EXPECT_GE(borrower.finish().reused_tokens, 100);
  EXPECT_EQ(Evaluated(bench) - before,
            borrower.finish().prompt_tokens - borrower.finish().reused_tokens);
  bench.engine().AddCredit(lender, 1'000);
  const Story lent = bench.Wait(lender);
  Bench other(EndlessModel());
  ExpectSameAnswer(lent, other.Run(Greedy(prefix, 20)));  // lending changes nothing
}

TEST(EnginePrefix, EvaluatesACommonPrefixOnceForJobsThatComeTogether) {
  constexpr int kJobs = 8;
  Bench bench(EndlessModel(), Bench::Small(kJobs, 512));
  const std::string prefix = Words(300, 1);
  std::vector<JobId> ids;
  for (unsigned i = 0; i < kJobs; ++i)
    ids.push_back(bench.Submit(Greedy(prefix + " " + Words(5, 20 + i), 4)));
  std::int64_t own = 0, whole = 0;
  for (const JobId id : ids) {
    const Finish finish = bench.Wait(id).finish();
    own += finish.prompt_tokens - finish.reused_tokens;
    whole += finish.prompt_tokens;
  }
  EXPECT_EQ(Evaluated(bench), own);
  EXPECT_LT(own, 300 + kJobs * 40)
      << "the prefix once, then the suffixes; at most a few words are evaluated twice";
  EXPECT_EQ(bench.engine().Counters().prompt_tokens_reused, whole - own);
}

TEST(EnginePrefix, ParksWhatIsPushedOutAndBringsItBack) {
  Bench bench(EndlessModel(), Bench::Small(1));
  const Story first = bench.Run(Greedy(Words(150, 1), 8));
  bench.Run(Greedy(Words(150, 2), 8));
  bench.Run(Greedy(Words(150, 3), 8));
  EXPECT_GT(bench.engine().Counters().parked_bytes, 0);
  const Story back = bench.Run(Greedy(Words(150, 1), 8));
  EXPECT_EQ(back.finish().reused_tokens, back.finish().prompt_tokens - 1);
  ExpectSameAnswer(back, first);
}

TEST(EnginePrefix, ParksNothingBeyondItsBudget) {
  Bench::Options options = Bench::Small(1);
  options.load.prefix_cache_bytes =
      100'000;  // one sequence of 150 tokens is larger than half of it
  Bench bench(EndlessModel(), options);
  for (unsigned i = 0; i < 6; ++i) {
    EXPECT_TRUE(bench.Run(Greedy(Words(150, i), 2)).IsFinished());
    EXPECT_LE(bench.engine().Counters().parked_bytes, 100'000);
  }
  options.load.prefix_cache_bytes = 0;
  Bench none(EndlessModel(), options);
  for (unsigned i = 0; i < 3; ++i) none.Run(Greedy(Words(150, i), 2));
  EXPECT_EQ(none.engine().Counters().parked_bytes, 0);
  EXPECT_LT(none.Run(Greedy(Words(150, 0), 2)).finish().reused_tokens, 10);
}

TEST(EnginePrefix, AnIdleModelGivesUpWhatOthersMayPark) {
  Bench::Options options = Bench::Small(1);
  Bench bench(EndlessModel(), options);
  for (unsigned i = 0; i < 3; ++i) bench.Run(Greedy(Words(150, i), 2));
  const std::int64_t parked = bench.engine().Counters().parked_bytes;
  ASSERT_GT(parked, 0);
  const std::int64_t n_sharers = options.load.prefix_cache_bytes / parked + 1;
  bench.engine().SetSharers({.n_parking = static_cast<std::int32_t>(n_sharers)});
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (bench.engine().Counters().parked_bytes >= parked &&
         std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  EXPECT_LT(bench.engine().Counters().parked_bytes, parked);
}

TEST(EnginePrefix, ReusesOnlyWhatWasKeptWhenTheContextWasShifted) {
  Bench bench(EndlessModel(), Bench::Small(1, 128));
  GenerateJob job = Greedy(Words(60, 1), 300);
  job.sampling.num_keep = 20;
  bench.Run(job);
  const Story story = bench.Run(Greedy(Words(60, 1), 8));
  EXPECT_LE(story.finish().reused_tokens, 21);
  Bench fresh(EndlessModel(), Bench::Small(1, 128));
  ExpectSameAnswer(story, fresh.Run(Greedy(Words(60, 1), 8)));
  EXPECT_GE(bench.Run(Greedy(Words(60, 1), 8)).finish().reused_tokens, 50)
      << "the next one has the whole again";
}

TEST(EnginePrefix, LentCellsCountWhenTheLenderHasEnded) {
  Bench::Options options = Bench::Small(4, 1'000);
  options.load.n_cells = 1'000;
  options.initial_credit = 4;
  Bench bench(EndlessModel(), options);
  const std::string prefix = Words(400, 1);
  const JobId lender = bench.Submit(Greedy(prefix, 20));
  bench.WaitForPieces(lender, 1);
  const JobId borrower = bench.Submit(Greedy(prefix + " " + Words(20, 2), 100));
  bench.WaitForPieces(borrower, 1);
  bench.engine().AddCredit(lender, 1'000);
  EXPECT_TRUE(bench.Wait(lender).IsFinished());
  // It fits beside what the borrower has of its own, but not beside the prefix too.
  const JobId late = bench.Submit(Greedy(Words(700, 3), 2));
  bench.engine().AddCredit(borrower, 1'000);
  for (const JobId id : {borrower, late}) {
    const Story story = bench.Wait(id);
    EXPECT_TRUE(story.IsFinished()) << story.error().message;
  }
}

TEST(EnginePrefix, AContextWhoseBeginningIsLentSlides) {
  // Both fit only as long as they share their beginning, which ends when one of them slides.
  Bench::Options options = Bench::Small(2, 300);
  options.load.n_cells = 512;
  Bench bench(EndlessModel(), options);
  const std::string prefix = Words(150, 1);
  std::vector<JobId> ids;
  for (unsigned i = 0; i < 2; ++i)
    ids.push_back(bench.Submit(Greedy(prefix + " " + Words(4, 2 + i), 400)));
  for (const JobId id : ids)
    EXPECT_EQ(bench.Wait(id).finish().eval_tokens, 400) << bench.Wait(id).error().message;
}

TEST(EnginePrefix, KeepsWhatACancelledJobEvaluated) {
  Bench::Options options = Bench::Small(1);
  options.initial_credit = 2;
  Bench bench(EndlessModel(), options);
  const JobId id = bench.Submit(Greedy(Words(100, 1), 50));
  bench.WaitForPieces(id, 1);
  bench.engine().Cancel(id);
  bench.Wait(id);
  EXPECT_GE(bench.Run(Greedy(Words(100, 1), 2)).finish().reused_tokens, 100);
}

}  // namespace
}  // namespace corral::engine
