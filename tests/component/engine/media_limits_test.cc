// What images and sounds may take: threads, time after a cancel, memory. The parts of the engine by
// themselves, where the limits can be small and the steps are one after the other.
#include <gmock/gmock.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bench.h"
#include "engine/llama/cores.h"
#include "engine/llama/loaded_model.h"
#include "engine/llama/projector.h"
#include "engine/llama/prompt_builder.h"
#include "engine/llama/thread_limit.h"
#include "engine/media_memory.h"
#include "pictures.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr std::int64_t kMiB = 1 << 20;

// A text with `[img]` for each picture.
GenerateJob About(std::vector<std::string> pictures, int num_predict = 2) {
  GenerateJob job = Greedy({}, num_predict);
  ChatMessage message;
  message.role = "user";
  message.content = "look";
  message.images = std::move(pictures);
  job.prompt.kind = PromptSource::Kind::kMessages;
  job.prompt.messages = {std::move(message)};
  return job;
}

// A model and its projector, without an engine.
class EngineMediaLimits : public ::testing::Test {
 protected:
  void Load(const gguf::Writer& model, const gguf::Writer& projector) {
    InstallLlamaLog();
    llama_backend_init();
    const auto go_on = [](float) { return true; };
    const UniqueFd model_file = FileWith(model.Bytes());
    auto loaded = LoadedModel::Load(model_file.get(), Bench::Small().load, go_on);
    ASSERT_TRUE(loaded) << loaded.error().message;
    model_ = std::move(*loaded);
    const UniqueFd projector_file = FileWith(projector.Bytes());
    auto sees = Projector::Load(projector_file.get(), *model_, go_on);
    ASSERT_TRUE(sees) << sees.error().message;
    projector_ = std::move(*sees);
  }
  void LoadLlava() { Load(testing::TinyLlama(), testing::TinyLlavaProjector()); }

  // The picture, ready for the encoder.
  MediaPrompt Picture(int width, int height, unsigned seed) {
    DecodedMedia picture;
    picture.width = static_cast<std::uint32_t>(width);
    picture.height = static_cast<std::uint32_t>(height);
    picture.data = Pixels(width, height, seed);
    const std::vector<Projector::Part> parts = {&picture};
    const std::vector<std::string> hashes = {std::to_string(seed)};
    auto prompt = projector_->Tokenize(parts, hashes, false);
    EXPECT_TRUE(prompt) << prompt.error().message;
    EXPECT_TRUE(picture.data.empty()) << "the pixels are there twice";
    return prompt ? std::move(*prompt) : MediaPrompt{};
  }

  std::unique_ptr<LoadedModel> model_;
  std::unique_ptr<Projector> projector_;
};

// ---- an encode that is ended ----

TEST_F(EngineMediaLimits, ACancelEndsAnEncodeInItsMiddleAndNoOtherAfterIt) {
  // 4,096 patches that all see each other: enough work for several looks.
  Load(testing::TinyTwoDimensional(), testing::TinyQwenProjector());
  const MediaPrompt prompt = Picture(256, 256, 1);
  ASSERT_EQ(prompt.media.size(), 1U);
  StopSource source;
  source.RequestStop(StopReason::kClientGone);
  const auto ended = projector_->Encode(prompt.media[0], source.token());
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, Code::kCancelled);
  EXPECT_EQ(projector_->n_looks(), 1) << "it ends at the first look";
  EXPECT_EQ(projector_->n_encoded(), 0);

  const auto whole = projector_->Encode(prompt.media[0], StopToken());
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_GE(projector_->n_looks(), 1 + 2) << "a whole encode has several looks";
  EXPECT_EQ(projector_->n_encoded(), 1) << "what a cancelled encode left is not taken for it";
  const std::vector<float> after(whole->begin(), whole->end());
  const std::int64_t n_looks = projector_->n_looks();

  Load(testing::TinyTwoDimensional(), testing::TinyQwenProjector());
  const MediaPrompt again = Picture(256, 256, 1);
  const auto fresh = projector_->Encode(again.media.at(0), StopToken());
  ASSERT_TRUE(fresh) << fresh.error().message;
  EXPECT_THAT(after, ElementsAreArray(*fresh));
  EXPECT_EQ(projector_->n_looks(), n_looks - 1) << "as many as in a first encode";
}

// ---- threads ----

std::set<std::string> Threads() {
  std::set<std::string> threads;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task"))
    threads.insert(entry.path().filename());
  return threads;
}

// Threads that are there now and were not.
std::size_t CountNew(const std::set<std::string>& before) {
  std::size_t n = 0;
  for (const std::string& thread : Threads()) n += before.count(thread) == 0 ? 1 : 0;
  return n;
}

TEST_F(EngineMediaLimits, AnEncodeTakesNoMoreThreadsThanAreGoodNow) {
  if (!CanLimitThreads()) GTEST_SKIP() << "ggml does not compute by OpenMP in this build";
  Bench::Options options = Bench::Small();
  options.load.num_thread = 0;
  options.projector = testing::TinyLlavaProjector().Bytes();
  Bench bench(testing::TinyLlama({.is_endless = true}).Bytes(), options);
  const int n_most = bench.engine().facts().n_threads;
  if (n_most < 2) GTEST_SKIP() << "one processor: nothing can be fewer";

  // OpenMP starts a thread when it is first wanted, and keeps it.
  bench.engine().SetSharers({.n_computing = n_most});
  std::set<std::string> before = Threads();
  ASSERT_TRUE(bench.Run(About({Png(40, 30, 1)})).IsFinished());
  EXPECT_EQ(bench.engine().Counters().media_encoded, 1);
  EXPECT_EQ(CountNew(before), 0U) << "one thread for this model";

  bench.engine().SetSharers({});
  before = Threads();
  ASSERT_TRUE(bench.Run(About({Png(40, 30, 2)})).IsFinished());
  EXPECT_GT(CountNew(before), 0U) << "a lone model has them all";
}

TEST_F(EngineMediaLimits, WhatThrowsOnFewerThreadsThrows) {
  Cores cores(2, false);
  EXPECT_THROW(cores.Compute([]() -> int { throw std::runtime_error("no memory"); }),
               std::runtime_error);
  EXPECT_EQ(cores.Compute([] { return 7; }), 7) << "its turn has come to an end";
}

// ---- memory ----

TEST_F(EngineMediaLimits, APromptHasSoManyPicturesAndNotOneMore) {
  Bench::Options options = Bench::Small();
  options.projector = testing::TinyLlavaProjector().Bytes();
  Bench bench(testing::TinyLlama().Bytes(), options);
  // As the limit is: 256, and they are looked at before the context is.
  const std::vector<std::string> most(256, Png(1, 1, 1));
  EXPECT_THAT(bench.Run(About(most)).error().message, HasSubstr("exceeds the available context"));
  std::vector<std::string> one_more = most;
  one_more.push_back(most[0]);
  const Error refused = bench.Run(About(one_more)).error();
  EXPECT_EQ(refused.code, Code::kInvalidArgument);
  EXPECT_EQ(refused.message, "a prompt may have at most 256 images and sounds");
}

TEST_F(EngineMediaLimits, APromptHasSoMuchDecodedAndNoMore) {
  LoadLlava();
  MediaMemory memory(100 * kMiB);
  const PromptBuilder builder(*model_, Formatters(), projector_.get(), memory,
                              {.decoded_bytes = 1 * kMiB});
  const std::string picture = Png(500, 400, 1);  // 600,000 bytes
  EXPECT_TRUE(builder.Build(About({picture}), 512, StopToken()));
  const auto refused = builder.Build(About({picture, picture}), 512, StopToken());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("at most 1 MiB together when decoded"));
  EXPECT_EQ(memory.used_bytes(), 0) << "a refused prompt holds nothing";
}

TEST_F(EngineMediaLimits, AllPromptsTogetherHaveSoMuchAndNoMore) {
  LoadLlava();
  MediaMemory memory(1 * kMiB);
  const PromptBuilder builder(*model_, Formatters(), projector_.get(), memory);
  const std::vector<std::string> small(8, Png(40, 30, 1));
  std::vector<PreparedPrompt> prepared;
  // What waits for the encoder is scaled to what it sees.
  const std::int64_t one = Picture(40, 30, 1).memory_bytes * 8;
  ASSERT_GE(one, 8 * 3 * 32 * 32 * 4);
  while (memory.used_bytes() + one <= 1 * kMiB) {
    auto next = builder.Build(About(small), 512, StopToken());
    ASSERT_TRUE(next) << next.error().message;
    prepared.push_back(std::move(*next));
    ASSERT_EQ(memory.used_bytes(), one * static_cast<std::int64_t>(prepared.size()));
  }
  ASSERT_GE(prepared.size(), 2U);
  const auto refused = builder.Build(About(small), 512, StopToken());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kBusy);
  EXPECT_THAT(refused.error().message, HasSubstr("please try again"));
  EXPECT_TRUE(builder.Build(About({}), 512, StopToken())) << "text needs none of it";
  prepared.pop_back();  // that job has ended
  EXPECT_TRUE(builder.Build(About(small), 512, StopToken()));
}

TEST_F(EngineMediaLimits, WhatNeverFitsIsTheRequestsFault) {
  LoadLlava();
  MediaMemory memory(1 * kMiB);
  const PromptBuilder builder(*model_, Formatters(), projector_.get(), memory);
  const auto refused = builder.Build(About({Png(800, 600, 1)}), 512, StopToken());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("all prompts together may take 1 MiB"));
}

TEST_F(EngineMediaLimits, SamplesThatAreNoNumbersAreRefused) {
  std::string wav = Wav(6400, 1);
  const Result<DecodedMedia> good = DecodeMediaBytes(wav, 16'000);
  ASSERT_TRUE(good) << good.error().message;
  // 32 bits a sample, and floats, of which all but zero bits are no number.
  wav[20] = 3;
  wav[34] = 32;
  wav[32] = 4;
  for (std::size_t i = 44; i + 3 < wav.size(); i += 4) wav[i + 2] = wav[i + 3] = '\xFF';
  const Result<DecodedMedia> refused = DecodeMediaBytes(wav, 16'000);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("samples that are no sound"));
}

}  // namespace
}  // namespace corral::engine
