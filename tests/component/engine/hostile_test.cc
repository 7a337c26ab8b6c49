// Model files that are none: an error each, and no crash.
#include "bench.h"
#include "core/host.h"
#include "core/kv_cache_types.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

EngineConfig Config() {
  EngineConfig config;
  config.options = Bench::Small(1, 64).load;
  config.sink = [](JobId, JobEvent) {};
  return config;
}

TEST(EngineHostile, RefusesWhatIsNoModel) {
  const std::string& good = EndlessModel();
  EXPECT_TRUE(Bench::Load(good, Config()));
  EXPECT_EQ(Bench::Load("", Config()).error().code, Code::kCorrupt);
  EXPECT_EQ(Bench::Load("hello", Config()).error().code, Code::kCorrupt);
  for (const std::size_t size : {std::size_t{30}, good.size() / 3, good.size() - 1000}) {
    EXPECT_EQ(Bench::Load(good.substr(0, size), Config()).error().code, Code::kCorrupt) << size;
  }
}

// A key's value replaced by another of the same type.
std::string With(std::string bytes, const std::string& key, std::uint32_t value) {
  const std::size_t at = bytes.find(key);
  EXPECT_NE(at, std::string::npos);
  for (std::size_t i = 0; i < 4; ++i)
    bytes[at + key.size() + 4 + i] = static_cast<char>(value >> (8 * i));
  return bytes;
}

TEST(EngineHostile, RefusesNumbersThatLlamaCppAbortsOn) {
  for (const std::uint32_t value : {0U, 513U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    EXPECT_FALSE(Bench::Load(With(EndlessModel(), "llama.block_count", value), Config())) << value;
    EXPECT_FALSE(Bench::Load(With(EndlessModel(), "llama.embedding_length", value), Config()))
        << value;
    EXPECT_FALSE(Bench::Load(With(EndlessModel(), "llama.attention.head_count", value), Config()))
        << value;
  }
  EXPECT_FALSE(Bench::Load(
      With(EndlessModel(), "llama.attention.layer_norm_rms_epsilon", 0xBF800000U), Config()))
      << "-1";
}

TEST(EngineHostile, RefusesOptionsThatCannotBe) {
  EngineConfig config = Config();
  config.options.kv_cache_type = "no such type";
  EXPECT_EQ(Bench::Load(EndlessModel(), config).error().code, Code::kInvalidArgument);
  config = Config();
  config.options.num_ctx = 0;
  EXPECT_EQ(Bench::Load(EndlessModel(), config).error().code, Code::kInvalidArgument);
}

// One setting serves all models: where heads are no multiple of a type's block, cells are f16.
TEST(EngineHostile, EveryKvCacheTypeServesAModelOfNarrowHeads) {
  Bench plain(EndlessModel());
  const Story as_f16 = plain.Run(Greedy("hello world", 8));
  for (const std::string_view type : kKvCacheTypes) {
    Bench::Options options = Bench::Small();
    options.load.kv_cache_type = type;
    Bench bench(EndlessModel(), options);
    const Story story = bench.Run(Greedy("hello world", 8));
    ASSERT_TRUE(story.IsFinished()) << type << ": " << story.error().message;
    if (type != "f32" && type != "bf16") {
      ExpectSameAnswer(story, as_f16);
    }
    EmbedJob job;
    job.texts = {"hello"};
    EXPECT_TRUE(std::holds_alternative<Embeddings>(bench.Wait(bench.Submit(job)).last)) << type;
  }
}

TEST(EngineHostile, LoadsWithAbsurdOptions) {
  EngineConfig config = Config();
  config.options.num_ctx = 2'000'000'000;  // the model was trained for 2,048
  config.options.num_batch = -5;
  config.options.n_slots = 2;
  config.options.num_thread = 1'000'000;
  const auto engine = Bench::Load(EndlessModel(), config);
  ASSERT_TRUE(engine) << engine.error().message;
  EXPECT_EQ((*engine)->facts().n_ctx_seq, 2048);
  EXPECT_LE((*engine)->facts().n_threads, ReadHostFacts().logical_cpus);
}

TEST(EngineHostile, EndsALoadThatIsNotWanted) {
  EngineConfig config = Config();
  config.on_progress = [](float) { return false; };
  EXPECT_EQ(Bench::Load(EndlessModel(), config).error().code, Code::kCancelled);
}

}  // namespace
}  // namespace corral::engine
