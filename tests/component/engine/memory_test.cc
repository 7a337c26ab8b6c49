// Prefixes of models whose memory is not that of every position: a sliding
// window, a recurrent state, both kinds of blocks. What is reused where the
// model allows it, and that two users, cells that run out and guesses change no
// answer.
#include <array>

#include "bench.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

struct Kind {
  const char* name;
  std::string bytes;
};

const std::array<Kind, 4>& Kinds() {
  static const std::array<Kind, 4> kinds = {{{"Full", EndlessModel()},
                                             {"Window", testing::TinyWindow().Bytes()},
                                             {"Recurrent", testing::TinyRecurrent().Bytes()},
                                             {"Hybrid", testing::TinyHybrid().Bytes()}}};
  return kinds;
}

class EngineMemory : public ::testing::TestWithParam<int> {
 protected:
  const std::string& Model() const { return Kinds()[static_cast<std::size_t>(GetParam())].bytes; }
  bool KeepsEveryPosition() const { return GetParam() < 2; }
  Story Alone(const GenerateJob& job) const {
    Bench::Options options = Bench::Small(1, 1024);
    options.load.prefix_cache_bytes = 0;
    Bench bench(Model(), options);
    return bench.Run(job);
  }
};

std::int64_t Evaluated(Bench& bench) { return bench.engine().Counters().prompt_tokens_evaluated; }

TEST_P(EngineMemory, TheSamePromptAgainEvaluatesOneToken) {
  Bench bench(Model());
  const GenerateJob job = Greedy(Words(150, 1), 8);
  const Story first = bench.Run(job);
  const Story again = bench.Run(job);
  EXPECT_EQ(again.finish().reused_tokens, again.finish().prompt_tokens - 1);
  ExpectSameAnswer(again, first);
  ExpectSameAnswer(again, Alone(job));
}

TEST_P(EngineMemory, TheSamePromptAgainAfterOthersComesBackFromHostMemory) {
  Bench bench(Model(), Bench::Small(1));
  const GenerateJob job = Greedy(Words(150, 1), 60);
  bench.Run(job);
  for (unsigned i = 2; i < 5; ++i) bench.Run(Greedy(Words(150, i), 8));
  EXPECT_GT(bench.engine().Counters().parked_bytes, 0);
  const Story back = bench.Run(job);
  EXPECT_EQ(back.finish().reused_tokens, back.finish().prompt_tokens - 1);
  ExpectSameAnswer(back, Alone(job));
}

TEST_P(EngineMemory, AConversationGoesOnFromItsLastTurn) {
  Bench bench(Model(), Bench::Small(2));
  std::string text = Words(80, 1);
  std::int64_t n_before = 0;
  for (unsigned turn = 0; turn < 4; ++turn) {
    const GenerateJob job = Greedy(text, 12);
    const Story story = bench.Run(job);
    ExpectSameAnswer(story, Alone(job));
    EXPECT_GE(story.finish().reused_tokens + 2, n_before) << "turn " << turn;
    n_before = story.finish().prompt_tokens - 1;
    text += story.text + " " + Words(15, 10 + turn);
  }
}

TEST_P(EngineMemory, EvaluatesACommonPrefixOnceForJobsThatComeTogether) {
  constexpr unsigned kJobs = 4;
  Bench bench(Model(), Bench::Small(kJobs, 512));
  const std::string prefix = Words(300, 1);
  std::vector<JobId> ids;
  std::vector<GenerateJob> jobs;
  for (unsigned i = 0; i < kJobs; ++i) jobs.push_back(Greedy(prefix + " " + Words(9, 20 + i), 6));
  for (const GenerateJob& job : jobs) ids.push_back(bench.Submit(job));
  for (unsigned i = 0; i < kJobs; ++i) ExpectSameAnswer(bench.Wait(ids[i]), Alone(jobs[i]));
  EXPECT_LT(Evaluated(bench), 300 + kJobs * 30) << "the prefix once, then the ends";
}

TEST_P(EngineMemory, ABranchInTheMiddleIsNeverAWrongAnswer) {
  Bench bench(Model(), Bench::Small(1));
  bench.Run(Greedy(Words(200, 1), 40));
  const std::string common = Words(120, 1);  // what the longer text begins with
  const GenerateJob branch = Greedy(common + " " + Words(20, 7), 8);
  const Story story = bench.Run(branch);
  ExpectSameAnswer(story, Alone(branch));
  if (KeepsEveryPosition()) {
    EXPECT_GE(story.finish().reused_tokens, 110);
  }
}

TEST_P(EngineMemory, UsersOfDifferentSaltsShareNothing) {
  Bench bench(Model());
  GenerateJob job = Greedy(Words(100, 1), 4);
  job.prefix_salt = "alice";
  bench.Run(job);
  job.prefix_salt = "bob";
  EXPECT_EQ(bench.Run(job).finish().reused_tokens, 0);
  job.prefix_salt = "";
  EXPECT_EQ(bench.Run(job).finish().reused_tokens, 0);
  job.prefix_salt = "alice";
  EXPECT_GE(bench.Run(job).finish().reused_tokens, 100);
}

TEST_P(EngineMemory, WhenCellsRunOutTheLastJobWaitsAndLosesNothing) {
  Bench::Options options = Bench::Small(4, 700);
  options.load.n_cells = 1'300;
  Bench bench(Model(), options);
  std::vector<GenerateJob> jobs;
  std::vector<JobId> ids;
  for (unsigned i = 0; i < 3; ++i) {
    jobs.push_back(Greedy(Words(30, i), -1));  // on to the end of the context: more than expected
    jobs.back().num_ctx = 700;
    jobs.back().shift = false;
    ids.push_back(bench.Submit(jobs.back()));
  }
  for (unsigned i = 0; i < 3; ++i) {
    const Story story = bench.Wait(ids[i]);
    ASSERT_TRUE(story.IsFinished()) << story.error().message;
    EXPECT_EQ(story.finish().prompt_tokens + story.finish().eval_tokens, 701);
    ExpectSameAnswer(story, Alone(jobs[i]));
  }
}

TEST_P(EngineMemory, GuessesChangeNoAnswer) {
  const GenerateJob plain = Greedy(Words(60, 1), 120);
  GenerateJob guessed = plain;
  guessed.sampling.prompt_lookup = 8;
  Bench bench(Model());
  ExpectSameAnswer(bench.Run(guessed), bench.Run(plain));
  GenerateJob random = plain;
  random.sampling.temperature = 1;
  random.sampling.seed = 42;
  const Story without = bench.Run(random);
  random.sampling.prompt_lookup = 8;
  EXPECT_EQ(bench.Run(random).finish().eval_tokens, without.finish().eval_tokens);
}

INSTANTIATE_TEST_SUITE_P(EveryMemory, EngineMemory, ::testing::Range(0, 4),
                         [](const ::testing::TestParamInfo<int>& kind) {
                           return std::string(Kinds()[static_cast<std::size_t>(kind.param)].name);
                         });

}  // namespace
}  // namespace corral::engine
