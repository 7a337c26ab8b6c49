// Quantized cells: the answers of the plain ones, as far as eight bits can tell, also where cells
// are parked, brought back and shifted.
#include <algorithm>
#include <string>

#include "bench.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

// Its heads of 32 values are wide enough for a block of quantized ones.
const std::string& WideModel() {
  static const std::string bytes = testing::TinyLlama({.is_endless = true, .n_heads = 2}).Bytes();
  return bytes;
}

Bench::Options With(const std::string& type, bool flash_attention, int num_ctx = 512) {
  Bench::Options options = Bench::Small(1, num_ctx);
  options.load.kv_cache_type = type;
  options.load.flash_attention = flash_attention;
  return options;
}

std::int64_t Size(const std::string& type, bool flash_attention) {
  return Bench(WideModel(), With(type, flash_attention, 2048)).engine().facts().size_bytes;
}

bool SameScores(const Story& a, const Story& b) {
  return a.text == b.text &&
         std::equal(a.logprobs.begin(), a.logprobs.end(), b.logprobs.begin(), b.logprobs.end(),
                    [](const TokenLogprob& left, const TokenLogprob& right) {
                      return left.token == right.token && left.logprob == right.logprob;
                    });
}

TEST(EngineKvTypes, AreWhatTheCellsAre) {
  const std::int64_t plain = Size("f16", true);
  EXPECT_LT(Size("q8_0", true), plain);
  EXPECT_LT(Size("q4_0", true), Size("q8_0", true));
  EXPECT_GT(Size("f32", true), plain);
  EXPECT_EQ(Size("q8_0", false), Size("f16", false)) << "it needs flash attention: f16 without";
}

TEST(EngineKvTypes, GiveTheSameAnswerEachTimeAndNearlyThatOfPlainCells) {
  const GenerateJob job = Greedy(Words(100, 1), 40);
  for (const bool flash_attention : {true, false}) {
    Bench bench(WideModel(), With("q8_0", flash_attention));
    const Story story = bench.Run(job);
    ASSERT_EQ(story.finish().eval_tokens, 40) << story.error().message;
    Bench again(WideModel(), With("q8_0", flash_attention));
    EXPECT_TRUE(SameScores(again.Run(job), story));
    Bench plain(WideModel(), With("f16", flash_attention));
    const Story exact = plain.Run(job);
    ExpectSameAnswer(story, exact);
    EXPECT_EQ(SameScores(story, exact), !flash_attention) << "quantized with flash attention only";
  }
}

TEST(EngineKvTypes, QuantizedCellsAreParkedAndBroughtBack) {
  Bench bench(WideModel(), With("q8_0", true));
  const Story first = bench.Run(Greedy(Words(150, 1), 16));
  bench.Run(Greedy(Words(150, 2), 2));
  bench.Run(Greedy(Words(150, 3), 2));
  EXPECT_GT(bench.engine().Counters().parked_bytes, 0);
  const Story back = bench.Run(Greedy(Words(150, 1), 16));
  EXPECT_EQ(back.finish().reused_tokens, back.finish().prompt_tokens - 1);
  ExpectSameAnswer(back, first);
}

GenerateJob Sliding() {
  // The context is full after a few tokens, and slides many times.
  GenerateJob job = Greedy(Words(60, 1), 200);
  job.num_ctx = 64;
  job.sampling.num_keep = 8;
  return job;
}

TEST(EngineKvTypes, QuantizedCellsAreShifted) {
  const std::string model = testing::TinyLlama({.is_endless = true, .n_heads = 1}).Bytes();
  Bench bench(model, With("q8_0", true, 64));
  const Story story = bench.Run(Sliding());
  ASSERT_EQ(story.finish().eval_tokens, 200) << story.error().message;
  Bench plain(model, With("f16", true, 64));
  ExpectSameAnswer(story, plain.Run(Sliding()));
  Bench again(model, With("q8_0", true, 64));
  EXPECT_TRUE(SameScores(again.Run(Sliding()), story));
}

TEST(EngineKvTypes, QuantizedCellsThatCannotBeShiftedEndTheAnswerWithTheContext) {
  Bench bench(WideModel(), With("q8_0", true, 64));
  const Story story = bench.Run(Sliding());
  ASSERT_TRUE(story.IsFinished()) << story.error().message;
  EXPECT_EQ(story.finish().reason, DoneReason::kLength);
  EXPECT_EQ(story.finish().prompt_tokens + story.finish().eval_tokens, 65);
  EXPECT_EQ(bench.Run(Greedy("hello", 2)).finish().eval_tokens, 2);
  Bench plain(WideModel(), With("f16", true, 64));
  EXPECT_EQ(plain.Run(Sliding()).finish().eval_tokens, 200);
}

}  // namespace
}  // namespace corral::engine
