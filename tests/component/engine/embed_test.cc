// Embeddings of a generating model (mean of its tokens) and of an encoder.
#include <gmock/gmock.h>

#include <cmath>

#include "bench.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

const std::string& BertModel() {
  static const std::string bytes = corral::testing::TinyBert().Bytes();
  return bytes;
}

double Dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

Embeddings Embed(Bench& bench, std::vector<std::string> texts) {
  EmbedJob job;
  job.texts = std::move(texts);
  const Story story = bench.Wait(bench.Submit(job));
  EXPECT_TRUE(std::holds_alternative<Embeddings>(story.last)) << story.error().message;
  return std::holds_alternative<Embeddings>(story.last) ? std::get<Embeddings>(story.last)
                                                        : Embeddings{};
}

TEST(EngineEmbed, GivesAGeneratingModelsUnitVectors) {
  Bench bench(EndlessModel());
  const Embeddings embeddings = Embed(bench, {"hello world", "the sky", "hello world"});
  ASSERT_EQ(embeddings.vectors.size(), 3U);
  EXPECT_EQ(static_cast<int>(embeddings.vectors[0].size()), bench.engine().facts().n_embd);
  for (const auto& vector : embeddings.vectors) EXPECT_NEAR(Dot(vector, vector), 1.0, 1e-5);
  EXPECT_NEAR(Dot(embeddings.vectors[0], embeddings.vectors[2]), 1.0, 1e-5);
  EXPECT_LT(Dot(embeddings.vectors[0], embeddings.vectors[1]), 0.9999);
  EXPECT_GT(embeddings.prompt_tokens, 6);
}

TEST(EngineEmbed, GrowsItsContextWithTheTexts) {
  Bench bench(EndlessModel(), Bench::Small(1, 2048));
  const auto before = Embed(bench, {"hello world"}).vectors;
  Embed(bench, {Words(1'500, 1)});
  EXPECT_GT(Dot(before.at(0), Embed(bench, {"hello world"}).vectors.at(0)), 0.9999);
}

TEST(EngineEmbed, CutsOrRefusesATextThatIsTooLong) {
  for (const std::string* model : {&EndlessModel(), &BertModel()}) {
    Bench bench(*model, Bench::Small(1, 64));
    EmbedJob job;
    job.texts = {Words(200, 1)};
    job.num_ctx = 64;
    const Story cut = bench.Wait(bench.Submit(job));
    ASSERT_TRUE(std::holds_alternative<Embeddings>(cut.last)) << cut.error().message;
    EXPECT_EQ(std::get<Embeddings>(cut.last).prompt_tokens, 64);
    job.truncate = false;
    EXPECT_EQ(bench.Wait(bench.Submit(job)).error().message,
              "the input length exceeds the context length");
    job.texts = {std::string(3 << 20, 'a')};
    EXPECT_EQ(bench.Wait(bench.Submit(job)).n_last, 1);
  }
}

TEST(EngineEmbed, GivesAnEncodersTextsTheSameVectorsTogetherAsAlone) {
  Bench bench(BertModel());
  EXPECT_TRUE(bench.engine().facts().is_embedding);
  std::vector<std::string> texts;
  for (unsigned i = 0; i < 40; ++i) texts.push_back(Words(1 + static_cast<int>(i) * 3 % 50, i));
  const Embeddings together = Embed(bench, texts);
  ASSERT_EQ(together.vectors.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_NEAR(Dot(together.vectors[i], together.vectors[i]), 1.0, 1e-5);
    EXPECT_GT(Dot(together.vectors[i], Embed(bench, {texts[i]}).vectors.at(0)), 0.9999) << i;
  }
}

TEST(EngineEmbed, DoesNotGenerateWithAnEncoder) {
  Bench bench(BertModel());
  EXPECT_EQ(bench.Run(Greedy("hello", 3)).error().code, Code::kInvalidArgument);
}

TEST(EngineEmbed, AnswersACancelledJobWhileAnotherIsComputed) {
  Bench bench(EndlessModel(), Bench::Small(1, 2048));
  EmbedJob large;
  large.texts.assign(2'000, Words(1'000, 1));
  const JobId first = bench.Submit(large);
  const JobId second = bench.Submit(large);
  bench.engine().Cancel(second);
  EXPECT_EQ(bench.Wait(second).error().code, Code::kCancelled);
  EXPECT_EQ(bench.Now(first).n_last, 0) << "it is still being computed";
  bench.engine().Cancel(first);
  EXPECT_EQ(bench.Wait(first).error().code, Code::kCancelled);
}

TEST(EngineEmbed, TakesTurnsWithAStream) {
  Bench bench(EndlessModel());
  const JobId stream = bench.Submit(Greedy(Words(20, 1), 5'000));
  bench.WaitForPieces(stream, 1);
  EXPECT_EQ(Embed(bench, {Words(300, 1), Words(300, 2)}).vectors.size(), 2U);
  EXPECT_EQ(bench.Now(stream).n_last, 0) << "the stream has not come to its end meanwhile";
  bench.engine().Cancel(stream);
  bench.Wait(stream);
}

}  // namespace
}  // namespace corral::engine
