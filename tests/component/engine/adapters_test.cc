// LoRA adapters: what they change, whom they concern, and what a bad one does.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "bench.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

using ::testing::HasSubstr;
using testing::MergedAdapter;

std::string Merged(const std::vector<MergedAdapter>& adapters) {
  testing::TinyLlamaOptions options;
  options.is_endless = true;
  options.merged = adapters;
  return testing::TinyLlama(options).Bytes();
}

// Adapters "0" to "9".
void AddAdapters(Bench& bench) {
  for (unsigned i = 0; i < 10; ++i)
    bench.AddAdapter(std::to_string(i), testing::TinyAdapter(i).Bytes());
}

GenerateJob With(std::vector<AdapterUse> adapters, GenerateJob job) {
  job.adapters = std::move(adapters);
  return job;
}

const std::string kPrompt = "hello world about the sky";

TEST(EngineAdapters, AnswerAsTheMergedWeightsDo) {
  Bench bench(EndlessModel());
  AddAdapters(bench);
  const Story plain = bench.Run(Greedy(kPrompt, 24));
  const Story whole = bench.Run(With({{"1", 1}}, Greedy(kPrompt, 24)));
  const Story half = bench.Run(With({{"1", 0.5F}}, Greedy(kPrompt, 24)));
  const Story against = bench.Run(With({{"1", -0.5F}}, Greedy(kPrompt, 24)));
  const Story both = bench.Run(With({{"2", 0.25F}, {"1", 1}}, Greedy(kPrompt, 24)));
  const Story twice = bench.Run(With({{"1", 0.25F}, {"1", 0.25F}}, Greedy(kPrompt, 24)));
  EXPECT_NE(whole.text, plain.text);
  EXPECT_NE(half.text, whole.text);

  const auto merged = [](const std::vector<MergedAdapter>& adapters) {
    Bench other(Merged(adapters));
    return other.Run(Greedy(kPrompt, 24));
  };
  ExpectSameAnswer(plain, merged({}));
  ExpectSameAnswer(whole, merged({{1, 1}}));
  ExpectSameAnswer(half, merged({{1, 0.5F}}));
  ExpectSameAnswer(against, merged({{1, -0.5F}}));
  ExpectSameAnswer(both, merged({{1, 1}, {2, 0.25F}}));
  ExpectSameAnswer(twice, half);
}

TEST(EngineAdapters, WithAScaleOfZeroChangeNothing) {
  Bench bench(EndlessModel());
  AddAdapters(bench);
  const Story plain = bench.Run(Greedy(kPrompt, 12));
  bench.Run(With({{"1", 1}}, Greedy(kPrompt, 12)));
  ExpectSameAnswer(bench.Run(With({{"1", 0}}, Greedy(kPrompt, 12))), plain);
  ExpectSameAnswer(bench.Run(With({{"1", 1}, {"1", -1}}, Greedy(kPrompt, 12))), plain);
  ExpectSameAnswer(bench.Run(Greedy(kPrompt, 12)), plain);
}

TEST(EngineAdapters, OfDifferentJobsAtOnceAnswerAsAlone) {
  const std::vector<std::vector<AdapterUse>> sets = {{}, {{"1", 1}}, {{"1", 0.5F}}, {{"2", 1}}};
  const std::string prefix = Words(60, 1);
  std::vector<GenerateJob> jobs;
  for (unsigned i = 0; i < 8; ++i)
    jobs.push_back(With(sets[i % 4], Greedy(prefix + " " + Words(6, 10 + i / 4), 40)));
  std::vector<Story> alone;
  for (const GenerateJob& job : jobs) {
    Bench bench(EndlessModel());
    AddAdapters(bench);
    alone.push_back(bench.Run(job));
  }
  Bench bench(EndlessModel(), Bench::Small(8, 512));
  AddAdapters(bench);
  std::vector<JobId> ids;
  ids.reserve(jobs.size());
  for (const GenerateJob& job : jobs) ids.push_back(bench.Submit(job));
  for (std::size_t i = 0; i < jobs.size(); ++i) ExpectSameAnswer(bench.Wait(ids[i]), alone[i]);
}

TEST(EngineAdapters, ShareNoPrefixWithAnotherSet) {
  Bench bench(EndlessModel(), Bench::Small(1));
  AddAdapters(bench);
  const std::string prompt = Words(100, 1);
  const auto reused = [&](const std::vector<AdapterUse>& adapters) {
    const Story story = bench.Run(With(adapters, Greedy(prompt, 4)));
    EXPECT_TRUE(story.IsFinished()) << story.error().message;
    return story.finish().reused_tokens;
  };
  EXPECT_EQ(reused({}), 0);
  EXPECT_EQ(reused({{"1", 1}}), 0);
  EXPECT_EQ(reused({{"1", 0.5F}}), 0) << "another scale is another set";
  EXPECT_EQ(reused({{"2", 1}, {"1", 1}}), 0);
  // All four are parked or held now; each finds its own.
  EXPECT_GE(reused({}), 100);
  EXPECT_GE(reused({{"1", 0}}), 100);
  EXPECT_GE(reused({{"1", 1}}), 100);
  EXPECT_GE(reused({{"1", 0.5F}}), 100);
  EXPECT_GE(reused({{"1", 1}, {"2", 1}}), 100) << "in any order";
}

TEST(EngineAdapters, AStreamGoesOnBesideALongPromptWithAnother) {
  Bench::Options options = Bench::Small(2, 2'048);
  Bench bench(EndlessModel(), options);
  AddAdapters(bench);
  const JobId stream = bench.Submit(With({{"1", 1}}, Greedy(kPrompt, 400)));
  bench.WaitForPieces(stream, 2);
  const JobId prompt = bench.Submit(With({{"2", 1}}, Greedy(Words(1'500, 3), 2)));
  const int before = bench.Now(stream).n_pieces;
  EXPECT_TRUE(bench.Wait(prompt).IsFinished());
  EXPECT_GT(bench.Now(stream).n_pieces, before);
  EXPECT_TRUE(bench.Wait(stream).IsFinished());
}

TEST(EngineAdapters, AreFreedAndLoadedAgainWhenThereAreMany) {
  Bench bench(EndlessModel());
  AddAdapters(bench);
  const JobId stream = bench.Submit(With({{"0", 1}}, Greedy(kPrompt, 400)));
  bench.WaitForPieces(stream, 1);
  std::vector<Story> first;
  for (int i = 0; i < 20; ++i) {
    const std::string file = std::to_string(i % 10);
    const Story story = bench.Run(With({{file, 1}}, Greedy(kPrompt, 8)));
    if (i < 10) {
      first.push_back(story);
    } else {
      ExpectSameAnswer(story, first[static_cast<std::size_t>(i - 10)]);
    }
  }
  EXPECT_TRUE(bench.Wait(stream).IsFinished());
}

TEST(EngineAdapters, ChangeEmbeddings) {
  EmbedJob job;
  job.texts = {kPrompt, Words(30, 2)};
  Bench bench(EndlessModel());
  AddAdapters(bench);
  const auto vectors = [](Bench& at, const EmbedJob& asked) {
    const Story story = at.Wait(at.Submit(asked));
    const auto* embeddings = std::get_if<Embeddings>(&story.last);
    return embeddings == nullptr ? std::vector<std::vector<float>>() : embeddings->vectors;
  };
  const auto distance = [](const std::vector<float>& a, const std::vector<float>& b) {
    float sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += std::abs(a[i] - b.at(i));
    return sum;
  };
  const auto plain = vectors(bench, job);
  EmbedJob changed = job;
  changed.adapters = {{"1", 1}};
  const auto other = vectors(bench, changed);
  Bench merged(Merged({{1, 1}}));
  const auto wanted = vectors(merged, job);
  ASSERT_EQ(plain.size(), 2U);
  ASSERT_EQ(other.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_GT(distance(other[i], plain[i]), 0.1F);
    EXPECT_LT(distance(other[i], wanted.at(i)), 0.01F);
  }
  EXPECT_LT(distance(vectors(bench, job).at(0), plain[0]), 0.01F);
  changed.texts.clear();
  EXPECT_EQ(vectors(bench, changed).size(), 0U) << "loads the adapters";
}

TEST(EngineAdapters, ThatAreBadEndTheirJobAndNoOther) {
  Bench bench(EndlessModel());
  AddAdapters(bench);
  const std::string good = testing::TinyAdapter(1).Bytes();
  bench.AddAdapter("text", "no GGUF at all");
  bench.AddAdapter("empty", "");
  bench.AddAdapter("cut", good.substr(0, good.size() - 1'000));
  bench.AddAdapter("model", EndlessModel());
  bench.AddAdapter("shapes", testing::UnfitAdapter().Bytes());
  const JobId stream = bench.Submit(With({{"0", 1}}, Greedy(kPrompt, 200)));
  for (const std::string file : {"text", "empty", "cut", "model", "shapes"}) {
    const Story story = bench.Run(With({{"1", 1}, {file, 1}}, Greedy(kPrompt, 4)));
    EXPECT_EQ(story.error().code, Code::kCorrupt) << file;
    EXPECT_THAT(story.error().message, HasSubstr("unable to load adapter")) << file;
    EmbedJob embed;
    embed.texts = {kPrompt};
    embed.adapters = {{file, 0}};
    EXPECT_EQ(bench.Wait(bench.Submit(embed)).error().code, Code::kCorrupt) << file;
  }
  EXPECT_TRUE(bench.Wait(stream).IsFinished());
  EXPECT_TRUE(bench.Run(With({{"1", 1}}, Greedy(kPrompt, 4))).IsFinished());
}

TEST(EngineAdapters, ThatAreDamagedAreRefusedOrLoadAndNothingEnds) {
  Bench bench(EndlessModel());
  const std::string good = testing::TinyAdapter(1).Bytes();
  std::mt19937 random(7);
  constexpr std::size_t kHeader = 2'000;  // keys and the table of tensors
  int n_loaded = 0;
  for (int round = 0; round < 400; ++round) {
    std::string bytes = good;
    for (auto n = 1 + random() % 3; n > 0; --n) {
      char& byte = bytes[random() % std::min(kHeader, bytes.size())];
      byte = random() % 2 == 0 ? static_cast<char>(random()) : static_cast<char>(byte ^ 1);
    }
    const std::string file = "damaged" + std::to_string(round);
    bench.AddAdapter(file, std::move(bytes));
    const Story story = bench.Run(With({{file, 1}}, Greedy(kPrompt, 1)));
    EXPECT_EQ(story.n_last, 1);
    n_loaded += story.IsFinished() ? 1 : 0;
  }
  EXPECT_LT(n_loaded, 400);
}

TEST(EngineAdapters, RefuseAScaleThatIsNoNumber) {
  Bench bench(EndlessModel());
  AddAdapters(bench);
  for (const float scale : {std::nanf(""), INFINITY, -INFINITY}) {
    EXPECT_EQ(bench.Run(With({{"1", scale}}, Greedy(kPrompt, 4))).error().code,
              Code::kInvalidArgument);
  }
  EXPECT_EQ(bench.Run(With({{"1", 3e38F}, {"1", 3e38F}}, Greedy(kPrompt, 4))).error().code,
            Code::kInvalidArgument);
  EXPECT_EQ(bench.Run(With({{"1", 3e38F}}, Greedy(kPrompt, 4))).n_last, 1)
      << "whatever comes of it";
}

}  // namespace
}  // namespace corral::engine
