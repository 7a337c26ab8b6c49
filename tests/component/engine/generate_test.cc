// One job's life: lengths, stops, credit, cancelling, sampling, shifting.
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "bench.h"

namespace corral::engine {
namespace {

TEST(EngineGenerate, GivesTheSameTextAloneAndBesideOthers) {
  Bench bench(EndlessModel());
  const Story alone = bench.Run(Greedy(Words(40, 1), 24));
  ASSERT_TRUE(alone.IsFinished()) << alone.error().message;
  EXPECT_EQ(alone.finish().eval_tokens, 24);
  EXPECT_FALSE(alone.text.empty());

  std::vector<JobId> others;
  for (unsigned i = 2; i < 8; ++i) others.push_back(bench.Submit(Greedy(Words(30, i), 40)));
  const Story beside = bench.Run(Greedy(Words(40, 1), 24));
  ExpectSameAnswer(beside, alone);
  for (const JobId id : others) EXPECT_EQ(bench.Wait(id).finish().eval_tokens, 40);
}

TEST(EngineGenerate, TakesNumPredictAtItsWord) {
  Bench bench(EndlessModel(), Bench::Small(2, 64));
  const Story none = bench.Run(Greedy("hello world", 0));
  EXPECT_EQ(none.text, "");
  EXPECT_EQ(none.finish().eval_tokens, 0);
  EXPECT_EQ(none.finish().reason, DoneReason::kLength);
  EXPECT_GT(none.finish().prompt_tokens, 1);
  EXPECT_EQ(bench.Run(Greedy("hello world", 1)).finish().eval_tokens, 1);
  EXPECT_EQ(bench.Run(Greedy("hello world", -1)).finish().eval_tokens, 640)
      << "ten times the context";
  EXPECT_EQ(bench.Run(Greedy("hello world", 1'000'000'000)).finish().eval_tokens, 640);
}

TEST(EngineGenerate, StopsAtAStopStringThatSpansTokens) {
  Bench bench(EndlessModel());
  bench.Run(Greedy(Words(20, 3), 30));  // from now on each run computes the same sums
  const std::string text = bench.Run(Greedy(Words(20, 3), 30)).text;
  ASSERT_GT(text.size(), 30U);
  const std::string stop = text.substr(text.size() / 2, 9);  // longer than any token
  GenerateJob job = Greedy(Words(20, 3), 30);
  job.sampling.stop = {"no such text", stop};
  const Story story = bench.Run(job);
  EXPECT_EQ(story.text, text.substr(0, text.find(stop)));
  EXPECT_EQ(story.finish().reason, DoneReason::kStop);
  EXPECT_LT(story.finish().eval_tokens, 30);
}

TEST(EngineGenerate, WaitsForCreditAndLetsOthersGoOn) {
  Bench::Options options = Bench::Small();
  options.initial_credit = 3;
  Bench bench(EndlessModel(), options);
  const JobId held = bench.Submit(Greedy(Words(20, 1), 12));
  bench.WaitForPieces(held, 3);
  const JobId other = bench.Submit(Greedy(Words(20, 2), 3));
  EXPECT_TRUE(bench.Wait(other).IsFinished());
  EXPECT_EQ(bench.Now(held).n_last, 0);
  EXPECT_LE(bench.Now(held).n_pieces, 3);
  bench.engine().AddCredit(held, 100);
  EXPECT_EQ(bench.Wait(held).finish().eval_tokens, 12);
}

TEST(EngineGenerate, CancelsWhileDecoding) {
  Bench::Options options = Bench::Small();
  options.initial_credit = 5;
  Bench bench(EndlessModel(), options);
  const JobId id = bench.Submit(Greedy(Words(20, 1), 1'000));
  bench.WaitForPieces(id, 5);
  bench.engine().Cancel(id);
  EXPECT_EQ(bench.Wait(id).error().code, Code::kCancelled);
  EXPECT_EQ(bench.engine().Counters().jobs_running, 0);
}

TEST(EngineGenerate, CancelsWhileWaitingForASlot) {
  Bench::Options options = Bench::Small(1);
  options.initial_credit = 2;
  Bench bench(EndlessModel(), options);
  const JobId first = bench.Submit(Greedy(Words(20, 1), 100));
  bench.WaitForPieces(first, 2);
  const JobId second = bench.Submit(Greedy(Words(20, 2), 100));
  bench.engine().Cancel(second);
  const Story story = bench.Wait(second);
  EXPECT_EQ(story.error().code, Code::kCancelled);
  EXPECT_EQ(story.n_pieces, 0);
  EXPECT_EQ(bench.Now(first).n_last, 0);
  bench.engine().Cancel(first);
  EXPECT_EQ(bench.Wait(first).error().code, Code::kCancelled);
  bench.engine().Cancel(first);
  bench.engine().Cancel(JobId{12345});  // unknown ids are ignored
}

TEST(EngineGenerate, CancelsAPromptThatIsBeingEvaluated) {
  Bench bench(EndlessModel(), Bench::Small(2, 2048));
  const JobId id = bench.Submit(Greedy(Words(1'500, 1), 1'000));
  bench.engine().Cancel(id);  // wherever it is by now
  const Story story = bench.Wait(id);
  EXPECT_EQ(story.error().code, Code::kCancelled);
  EXPECT_TRUE(bench.Run(Greedy("hello", 2)).IsFinished());
}

TEST(EngineGenerate, ShiftsTheContextWhenItIsFull) {
  Bench bench(EndlessModel(), Bench::Small(2, 64));
  const JobId other = bench.Submit(Greedy(Words(40, 1), 100));
  const Story story = bench.Run(Greedy(Words(40, 1), 200));  // shares its beginning with the other
  EXPECT_EQ(story.finish().eval_tokens, 200) << story.error().message;
  EXPECT_EQ(bench.Wait(other).finish().eval_tokens, 100);
}

TEST(EngineGenerate, ReadsNothingOfThePromptAgainWhenTheContextSlides) {
  // What stays is shorter than the prompt was.
  Bench bench(EndlessModel(), Bench::Small(1, 64));
  const Story story = bench.Run(Greedy(Words(50, 1), 200));
  EXPECT_EQ(story.finish().eval_tokens, 200) << story.error().message;
  EXPECT_EQ(bench.engine().Counters().prompt_tokens_evaluated, story.finish().prompt_tokens);
}

TEST(EngineGenerate, EndsAtTheContextsEndWithoutShift) {
  Bench bench(EndlessModel(), Bench::Small(1, 64));
  GenerateJob job = Greedy(Words(40, 1), 200);
  job.shift = false;
  const JobId first = bench.Submit(job);
  // The only slot gets free by a step that evaluates nothing: who waits for it must not be
  // forgotten.
  const JobId second = bench.Submit(job);
  for (const JobId id : {first, second}) {
    const Finish finish = bench.Wait(id).finish();
    EXPECT_EQ(finish.reason, DoneReason::kLength);
    EXPECT_EQ(finish.prompt_tokens + finish.eval_tokens, 65) << "the last token needs no place";
  }
}

TEST(EngineGenerate, LimitsAJobToItsOwnContext) {
  Bench bench(EndlessModel(), Bench::Small(2, 512));
  GenerateJob job = Greedy("hello", 200);
  job.num_ctx = 32;
  job.shift = false;
  const Finish finish = bench.Run(job).finish();
  EXPECT_EQ(finish.prompt_tokens + finish.eval_tokens, 33);
}

TEST(EngineGenerate, ReportsLogprobsBestFirstAndBelowOne) {
  Bench bench(EndlessModel());
  GenerateJob job = Greedy(Words(20, 4), 8);
  job.logprobs = true;
  job.top_logprobs = 5;
  const Story story = bench.Run(job);
  ASSERT_EQ(story.logprobs.size(), 8U);
  for (const TokenLogprob& token : story.logprobs) {
    ASSERT_EQ(token.top.size(), 5U);
    EXPECT_EQ(token.top[0].token, token.token) << "greedy takes the best";
    EXPECT_FLOAT_EQ(token.top[0].logprob, token.logprob);
    double sum = 0;
    for (std::size_t i = 0; i < token.top.size(); ++i) {
      sum += std::exp(static_cast<double>(token.top[i].logprob));
      if (i > 0) {
        EXPECT_LE(token.top[i].logprob, token.top[i - 1].logprob);
      }
    }
    EXPECT_LE(sum, 1.0 + 1e-6);
  }
}

TEST(EngineGenerate, RepeatsItselfWithTheSameSeedOnly) {
  Bench bench(EndlessModel());
  GenerateJob job = Greedy(Words(20, 5), 30);
  job.sampling.temperature = 1.5F;
  job.sampling.top_k = 0;
  job.sampling.seed = 42;
  bench.Run(job);  // from now on each run computes the same sums
  const std::string first = bench.Run(job).text;
  EXPECT_EQ(bench.Run(job).text, first);
  job.sampling.seed = 43;
  EXPECT_NE(bench.Run(job).text, first);
}

TEST(EngineGenerate, SurvivesAbsurdOptions) {
  Bench bench(EndlessModel());
  GenerateJob job = Greedy(Words(20, 6), 5);
  job.sampling.temperature = 3e38F;
  job.sampling.top_k = std::numeric_limits<int>::min();
  job.sampling.top_p = -7;
  job.sampling.min_p = 1e9F;
  job.sampling.typical_p = -1;
  job.sampling.repeat_last_n = std::numeric_limits<int>::max();
  job.sampling.repeat_penalty = 1e30F;
  job.sampling.num_keep = std::numeric_limits<int>::max();
  job.sampling.seed = std::numeric_limits<std::int64_t>::max();
  job.num_ctx = std::numeric_limits<int>::max();
  EXPECT_EQ(bench.Run(job).n_last, 1);
  job = Greedy(Words(600, 6), 5);
  job.sampling.num_keep = std::numeric_limits<int>::max();
  EXPECT_TRUE(bench.Run(job).IsFinished());
  job.num_ctx = -3;
  EXPECT_EQ(bench.Run(job).n_last, 1);
  job.sampling.temperature = std::nanf("");
  EXPECT_EQ(bench.Run(job).error().code, Code::kInvalidArgument);
  EXPECT_TRUE(bench.Run(Greedy("hello", 1)).IsFinished());
}

TEST(EngineGenerate, GivesTheTokensOfTheConversationOnRequest) {
  Bench bench(EndlessModel());
  GenerateJob job = Greedy("hello world", 6);
  job.want_context = true;
  const Finish finish = bench.Run(job).finish();
  EXPECT_EQ(static_cast<std::int64_t>(finish.context.size()), finish.prompt_tokens + 6);
  GenerateJob next = Greedy(" sky", 1);
  next.prompt.context = finish.context;
  EXPECT_GT(bench.Run(next).finish().reused_tokens, finish.prompt_tokens);
  // A template that writes the BOS itself writes it where a conversation begins.
  next.prompt.text = "<s> sky";
  next.want_context = true;
  next.prompt.context = finish.context;
  const std::vector<Token> tokens = bench.Run(next).finish().context;
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), tokens.front()), 1);
  next.prompt.context = {-1};
  EXPECT_EQ(bench.Run(next).error().code, Code::kInvalidArgument);
}

TEST(EngineGenerate, EndsWhatRunsWhenItIsDestroyed) {
  Bench::Options options = Bench::Small(2);
  options.initial_credit = 2;
  Bench bench(EndlessModel(), options);
  std::vector<JobId> ids;
  for (unsigned i = 0; i < 6; ++i) {
    ids.push_back(bench.Submit(Greedy(Words(30, i), 1'000)));
    // It has a slot: later ones may be prepared faster, take both, and park without credit.
    if (i == 0) bench.WaitForPieces(ids[0], 1);
  }
  for (int i = 0; i < 3; ++i) {
    EmbedJob embed;
    embed.texts.assign(50, Words(200, 1));
    ids.push_back(bench.Submit(embed));
  }
  bench.Destroy();
  for (const JobId id : ids) EXPECT_EQ(bench.Now(id).n_last, 1);
}

}  // namespace
}  // namespace corral::engine
