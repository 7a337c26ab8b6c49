// Pictures and sounds, on tiny projectors: LLaVA, Gemma 3 (pictures that are seen as a whole, and a
// sliding window), Qwen2-VL (positions of two dimensions) and a sound projector.
#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "bench.h"
#include "core/text.h"
#include "pictures.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

using ::testing::HasSubstr;

Bench::Options With(const gguf::Writer& projector, int n_slots = 4, int num_ctx = 1024) {
  Bench::Options options = Bench::Small(n_slots, num_ctx);
  options.projector = projector.Bytes();
  return options;
}

// The text with `[img]` where the pictures stand.
GenerateJob About(const std::string& text, std::vector<std::string> pictures,
                  int num_predict = 12) {
  GenerateJob job = Greedy({}, num_predict);
  ChatMessage message;
  message.role = "user";
  message.content = text;
  message.images = std::move(pictures);
  job.prompt.kind = PromptSource::Kind::kMessages;
  job.prompt.messages = {std::move(message)};
  return job;
}

struct Family {
  const char* name;
  gguf::Writer (*model)();
  gguf::Writer (*projector)();
  int num_ctx;
  int n_cells;  // of a picture of 40 x 30
};
gguf::Writer Llama() { return testing::TinyLlama({.is_endless = true}); }
gguf::Writer Llava() { return testing::TinyLlavaProjector(); }
const Family kFamilies[] = {
    {"llava", Llama, Llava, 1024, 16},
    {"gemma3", testing::TinyWindow, testing::TinyGemmaProjector, 1024, 16},
    {"qwen2vl", testing::TinyTwoDimensional, testing::TinyQwenProjector, 2048, 0},
};

class EngineMediaOfFamily : public ::testing::TestWithParam<Family> {
 protected:
  Bench bench_{GetParam().model().Bytes(), With(GetParam().projector(), 4, GetParam().num_ctx)};
};
INSTANTIATE_TEST_SUITE_P(EngineMedia, EngineMediaOfFamily, ::testing::ValuesIn(kFamilies),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST_P(EngineMediaOfFamily, APictureDecidesTheAnswer) {
  const Story one = bench_.Run(About("look [img] hello world", {Png(40, 30, 1)}));
  const Story other = bench_.Run(About("look [img] hello world", {Png(40, 30, 2)}));
  ASSERT_TRUE(one.IsFinished()) << one.error().message;
  ASSERT_TRUE(other.IsFinished()) << other.error().message;
  ASSERT_FALSE(one.logprobs.empty());
  EXPECT_NE(one.logprobs[0].logprob, other.logprobs[0].logprob);
  EXPECT_EQ(one.finish().eval_tokens, 12);
  if (GetParam().n_cells > 0) {
    const Story without = bench_.Run(About("look hello world", {}));
    EXPECT_GE(one.finish().prompt_tokens, without.finish().prompt_tokens + GetParam().n_cells);
  } else {
    EXPECT_GT(one.finish().prompt_tokens, 1000) << "every cell of a picture counts";
  }
}

TEST_P(EngineMediaOfFamily, TheOrderOfPicturesDecides) {
  const std::vector<std::string> pictures = {Png(9, 9, 1), Png(9, 9, 2)};
  if (GetParam().n_cells == 0) return;  // two of these do not fit into the model's context
  const Story forth = bench_.Run(About("[img] and [img] what", pictures));
  const Story back = bench_.Run(About("[img] and [img] what", {pictures[1], pictures[0]}));
  ASSERT_TRUE(forth.IsFinished() && back.IsFinished()) << forth.error().message;
  EXPECT_NE(forth.logprobs[0].logprob, back.logprobs[0].logprob);
}

TEST_P(EngineMediaOfFamily, TheSamePictureIsNeitherEncodedNorEvaluatedAgain) {
  const std::string picture = Png(40, 30, 3);
  const Story first = bench_.Run(About("see [img] the sky", {picture}));
  ASSERT_TRUE(first.IsFinished()) << first.error().message;
  const EngineCounters before = bench_.engine().Counters();
  EXPECT_EQ(before.media_encoded, 1);

  // The next turn of a chat: the same beginning, more text.
  const Story next = bench_.Run(About("see [img] the sky about the world", {picture}));
  const EngineCounters after = bench_.engine().Counters();
  EXPECT_EQ(after.media_encoded, 1);
  EXPECT_GE(next.finish().reused_tokens, first.finish().prompt_tokens - 4);
  EXPECT_LT(after.prompt_tokens_evaluated - before.prompt_tokens_evaluated, 16);

  // Elsewhere it must be evaluated, but not encoded.
  const Story moved = bench_.Run(About("hello world how are you [img] the sky", {picture}));
  EXPECT_TRUE(moved.IsFinished()) << moved.error().message;
  EXPECT_EQ(bench_.engine().Counters().media_encoded, 1);
  EXPECT_EQ(bench_.engine().Counters().media_reused, 1);
}

TEST_P(EngineMediaOfFamily, AReusedPictureGivesTheSameAnswer) {
  const std::string picture = Png(40, 30, 4);
  const Story cold = bench_.Run(About("see [img] the sky about", {picture}));
  bench_.Run(About("see [img] the sky other words", {picture}));
  const Story warm = bench_.Run(About("see [img] the sky about", {picture}));
  EXPECT_GT(warm.finish().reused_tokens, 0);
  ExpectSameAnswer(cold, warm);

  // Parked in host RAM and brought back.
  const JobId running = bench_.Submit(Greedy(Words(40, 9), 200));
  bench_.WaitForPieces(running, 2);
  const Story beside = bench_.Run(About("see [img] the sky about", {picture}));
  bench_.Wait(running);
  ExpectSameAnswer(cold, beside);
}

TEST_P(EngineMediaOfFamily, APromptMayEndWithAPicture) {
  const Story first = bench_.Run(About("see the sky and [img]", {Png(40, 30, 5)}));
  const Story again = bench_.Run(About("see the sky and [img]", {Png(40, 30, 5)}));
  ASSERT_TRUE(first.IsFinished()) << first.error().message;
  ASSERT_TRUE(again.IsFinished()) << again.error().message;
  ExpectSameAnswer(first, again);
}

TEST_P(EngineMediaOfFamily, TakesPicturesOfAnySize) {
  constexpr std::pair<int, int> kSizes[] = {{1, 1},   {1, 150},    {150, 1},  {33, 7},
                                            {3, 600}, {1000, 999}, {2000, 11}};
  for (const auto& [width, height] : kSizes) {
    const Story story = bench_.Run(About("look [img] hello", {Png(width, height, 1)}, 2));
    // At most too many tokens for this context.
    EXPECT_TRUE(story.IsFinished() ||
                story.error().message.find("exceeds the available context") != std::string::npos)
        << width << "x" << height << ": " << story.error().message;
  }
}

TEST_P(EngineMediaOfFamily, PicturesAndStreamsRunBesideEachOther) {
  const Story alone = bench_.Run(About("see [img] the sky", {Png(40, 30, 6)}));
  std::vector<JobId> streams;
  for (unsigned i = 0; i < 2; ++i) streams.push_back(bench_.Submit(Greedy(Words(20, i), 120)));
  for (const JobId id : streams) bench_.WaitForPieces(id, 2);
  std::vector<JobId> about;
  for (unsigned i = 6; i < 9; ++i)
    about.push_back(bench_.Submit(About("see [img] the sky", {Png(40, 30, i)})));
  for (std::size_t i = 0; i < about.size(); ++i) {
    const Story story = bench_.Wait(about[i]);
    EXPECT_TRUE(story.IsFinished()) << story.error().message;
    if (i == 0) ExpectSameAnswer(alone, story);
  }
  for (const JobId id : streams) EXPECT_EQ(bench_.Wait(id).finish().eval_tokens, 120);
}

// media_golden.json: what llama-server of the same llama.cpp answers (media_golden.py).
TEST(EngineMedia, AnswersAsLlamaServerDoes) {
  std::ifstream file(std::string(CORRAL_TEST_FOLDER) + "/media_golden.json");
  const auto records = nlohmann::json::parse(file);
  ASSERT_EQ(records.size(), 6U);
  for (const auto& record : records) {
    const std::string family = record["family"];
    SCOPED_TRACE(family + ": " + std::string(record["prompt"]));
    const Family* known = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                       [&](const Family& one) { return one.name == family; });
    const bool is_sound = known == std::end(kFamilies);
    ASSERT_EQ(is_sound, family == "sound");
    Bench bench((is_sound ? Llama() : known->model()).Bytes(),
                With(is_sound ? testing::TinySoundProjector() : known->projector(), 4,
                     is_sound ? 1024 : known->num_ctx));
    std::vector<std::string> media;
    for (const std::string text : record["media"]) media.push_back(Base64Decode(text).value());
    const Story story = bench.Run(About(record["prompt"], media));
    ASSERT_TRUE(story.IsFinished()) << story.error().message;
    EXPECT_EQ(story.finish().prompt_tokens, record["prompt_tokens"]);
    const auto& wanted = record["answer"];
    ASSERT_GE(story.logprobs.size(), wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      constexpr double kClose = 0.05;  // what another order of sums makes
      const double best = wanted[i]["top"][0];
      const double second = wanted[i]["top"][1];
      ASSERT_NEAR(story.logprobs[i].logprob, best, kClose) << "token " << i;
      if (story.logprobs[i].token == wanted[i]["token"]) continue;
      EXPECT_LT(best - second, kClose) << "token " << i;
      break;
    }
  }
}

TEST(EngineMedia, ShowsWhereThePicturesStand) {
  Bench bench(Llama().Bytes(), With(testing::TinyLlavaProjector()));
  GenerateJob job = About("A [img] B", {Png(9, 9, 1), Png(9, 9, 2)});
  job.render_only = true;
  EXPECT_EQ(bench.Run(job).finish().rendered_prompt, "[img-1]A [img-0] B");
}

TEST(EngineMedia, GoesThroughGoAndJinjaTemplates) {
  Bench bench(ChatModel(), With(testing::TinyLlavaProjector()));
  GenerateJob jinja = About("about [img]", {Png(40, 30, 1)});
  jinja.is_chat = true;
  GenerateJob go = jinja;
  go.prompt.go_template =
      "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end "
      "}}<|im_start|>assistant\n";
  GenerateJob without = About("about ", {});
  without.is_chat = true;
  const Story by_jinja = bench.Run(jinja);
  const Story by_go = bench.Run(go);
  ExpectSameAnswer(by_jinja, by_go);
  EXPECT_GE(by_jinja.finish().prompt_tokens, bench.Run(without).finish().prompt_tokens + 16);
}

TEST(EngineMedia, LeavesPicturesOutOfTheContext) {
  Bench bench(Llama().Bytes(), With(testing::TinyLlavaProjector()));
  GenerateJob job = About("look [img] hello", {Png(9, 9, 1)});
  job.want_context = true;
  const Story first = bench.Run(job);
  ASSERT_TRUE(first.IsFinished()) << first.error().message;
  const std::vector<Token> context = first.finish().context;
  EXPECT_THAT(context, ::testing::Each(::testing::Ge(0)));
  EXPECT_EQ(static_cast<std::int64_t>(context.size()),
            first.finish().prompt_tokens - 16 + first.finish().eval_tokens);
  GenerateJob next = About("and [img] world", {Png(9, 9, 1)});
  next.prompt.context = context;
  const Story second = bench.Run(next);
  ASSERT_TRUE(second.IsFinished()) << second.error().message;
  EXPECT_GT(second.finish().prompt_tokens, static_cast<std::int64_t>(context.size()) + 16);
}

TEST(EngineMedia, RefusesAPromptThatIsTooLongInsteadOfCuttingIt) {
  Bench bench(Llama().Bytes(), With(testing::TinyLlavaProjector(), 2, 64));
  const Story story = bench.Run(
      About(Words(20, 1) + " [img][img][img]", {Png(9, 9, 1), Png(9, 9, 2), Png(9, 9, 3)}));
  EXPECT_EQ(story.error().code, Code::kInvalidArgument);
  EXPECT_THAT(story.error().message, HasSubstr("exceeds the available context size (64 tokens)"));
}

TEST(EngineMedia, EndsAtTheContextsEndInsteadOfSlidingAPictureOut) {
  Bench bench(Llama().Bytes(), With(testing::TinyLlavaProjector(), 2, 64));
  const Story story = bench.Run(About("look [img]", {Png(9, 9, 1)}, 200));
  EXPECT_EQ(story.finish().reason, DoneReason::kLength);
  EXPECT_EQ(story.finish().prompt_tokens + story.finish().eval_tokens, 65);
}

TEST(EngineMedia, NeedsAProjector) {
  Bench bench(EndlessModel());
  const Story story = bench.Run(About("look [img]", {Png(9, 9, 1)}));
  EXPECT_EQ(story.error().code, Code::kInvalidArgument);
  EXPECT_THAT(story.error().message, HasSubstr("image input is not supported"));
}

TEST(EngineMedia, TellsSoundsFromPictures) {
  Bench sees(EndlessModel(), With(testing::TinyLlavaProjector()));
  EXPECT_THAT(sees.Run(About("[img]", {Wav(6400, 1)})).error().message,
              HasSubstr("audio input is not supported"));
  Bench hears(EndlessModel(), With(testing::TinySoundProjector()));
  EXPECT_THAT(hears.Run(About("[img]", {Png(9, 9, 1)})).error().message,
              HasSubstr("image input is not supported"));
}

TEST(EngineMedia, Hears) {
  Bench bench(EndlessModel(), With(testing::TinySoundProjector()));
  const Story one = bench.Run(About("listen [img] the word", {Wav(6400, 1)}));
  const Story other = bench.Run(About("listen [img] the word", {Wav(6400, 2)}));
  ASSERT_TRUE(one.IsFinished()) << one.error().message;
  EXPECT_NE(one.logprobs[0].logprob, other.logprobs[0].logprob);
  const Story without = bench.Run(About("listen the word", {}));
  EXPECT_GE(one.finish().prompt_tokens, without.finish().prompt_tokens + 10) << "40 ms a token";
}

std::string FileOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(EngineMedia, ReadsWhatClientsSend) {
  Bench bench(Llama().Bytes(), With(testing::TinyLlavaProjector()));
  const std::string folder = std::string(CORRAL_LLAMA_SOURCE) + "/tools/mtmd/";
  for (const std::string& picture :
       {Png(40, 30, 1), Webp(40, 30, 1), FileOf(folder + "test-1.jpeg"), Png(1, 1, 1),
        Png(1, 150, 1), Png(150, 1, 1), Png(2000, 1500, 1)}) {
    const Story story = bench.Run(About("look [img] hello", {picture}, 2));
    EXPECT_TRUE(story.IsFinished()) << story.error().message;
  }
  // The same pixels are the same to the model.
  ExpectSameAnswer(bench.Run(About("look [img] hello", {Png(40, 30, 1)})),
                   bench.Run(About("look [img] hello", {Webp(40, 30, 1)})));
  Bench hears(EndlessModel(), With(testing::TinySoundProjector(), 2, 2048));
  const Story sound = hears.Run(About("[img]", {FileOf(folder + "test-2.mp3")}, 2));
  EXPECT_TRUE(sound.IsFinished()) << sound.error().message;
}

TEST(EngineMedia, RefusesWhatIsNoPicture) {
  Bench bench(Llama().Bytes(), With(testing::TinyLlavaProjector()));
  const std::string png = Png(40, 30, 1);
  const std::string jpeg = FileOf(std::string(CORRAL_LLAMA_SOURCE) + "/tools/mtmd/test-1.jpeg");
  const std::string webp = Webp(40, 30, 1);
  const std::vector<std::string> bad = {
      "",
      "just some words that are no picture",
      png.substr(0, png.size() / 2),
      png.substr(0, 20),
      jpeg.substr(0, 300),
      jpeg.substr(0, jpeg.size() / 2),
      webp.substr(0, webp.size() / 2),
      webp.substr(0, 16),
      PngBomb(60000, 60000),
      PngBomb(65535, 65535),
      PngBomb(0, 0),
      PngBomb(0x7FFFFFFF, 1),
      Png(1, 400, 1),
      std::string("RIFF\x10\0\0\0WEBPVP8 ", 16),
      std::string("GIF89a\xFF\xFF\xFF\xFF\0\0\0", 13),
      std::string(100000, '\0'),
  };
  for (const std::string& picture : bad) {
    const Story story = bench.Run(About("look [img] hello", {picture}, 2));
    EXPECT_EQ(story.error().code, Code::kInvalidArgument) << picture.substr(0, 20);
    EXPECT_THAT(story.error().message, HasSubstr("Failed to load image or audio file"));
  }
  EXPECT_THAT(bench.Run(About("look [img] hello", {PngBomb(10000, 10000)}, 2)).error().message,
              HasSubstr("10000x10000 pixels are too many"));
  EXPECT_TRUE(bench.Run(About("look [img] hello", {png}, 2)).IsFinished());
}

TEST(EngineMedia, RefusesWhatIsNoSound) {
  Bench bench(EndlessModel(), With(testing::TinySoundProjector()));
  for (const std::string& sound : {Wav(0, 1), Wav(1, 1), Wav(6400, 1).substr(0, 20),
                                   "ID3" + std::string(50, 'x'), "fLaC" + std::string(50, 'x')}) {
    EXPECT_EQ(bench.Run(About("[img]", {sound})).error().code, Code::kInvalidArgument);
  }
  // An hour is more than the context, but no harm.
  EXPECT_THAT(bench.Run(About("[img]", {Wav(16000 * 120, 1)})).error().message,
              HasSubstr("exceeds the available context size"));
}

TEST(EngineMedia, LivesThroughMutatedPictures) {
  Bench bench(Llama().Bytes(), With(testing::TinyLlavaProjector()));
  const std::string folder = std::string(CORRAL_LLAMA_SOURCE) + "/tools/mtmd/";
  const std::vector<std::string> seeds = {Png(40, 30, 1), FileOf(folder + "test-1.jpeg"),
                                          Webp(40, 30, 1)};
  std::mt19937 random(7);
  std::vector<JobId> jobs;
  for (int i = 0; i < 50; ++i) {
    std::string picture = seeds[static_cast<std::size_t>(i) % seeds.size()];
    const auto n_changes = 1 + random() % 8;
    for (unsigned k = 0; k < n_changes; ++k)
      picture[random() % std::min<std::size_t>(picture.size(), 4096)] = static_cast<char>(random());
    jobs.push_back(bench.Submit(About("look [img]", {std::move(picture)}, 2)));
  }
  for (const JobId id : jobs) {
    const Story story = bench.Wait(id);
    if (!story.IsFinished()) {
      EXPECT_EQ(story.error().code, Code::kInvalidArgument) << story.error().message;
    }
  }
  EXPECT_TRUE(bench.Run(About("look [img]", {Png(40, 30, 1)}, 2)).IsFinished());
}

TEST(EngineMedia, CanBeCancelled) {
  Bench bench(Llama().Bytes(), With(testing::TinyLlavaProjector()));
  std::vector<JobId> jobs;
  for (unsigned i = 0; i < 8; ++i)
    jobs.push_back(bench.Submit(About("look [img]", {Png(400, 300, i)}, 100)));
  for (const JobId id : jobs) bench.engine().Cancel(id);
  for (const JobId id : jobs) EXPECT_EQ(bench.Wait(id).n_last, 1);
  EXPECT_TRUE(bench.Run(About("look [img]", {Png(9, 9, 1)}, 2)).IsFinished());
}

TEST(EngineMedia, FewCellsAreShared) {
  // Two pictures and an answer fit, four jobs do not: they wait, or give their cells back.
  Bench::Options options = With(testing::TinyLlavaProjector(), 4, 128);
  options.load.n_cells = 200;
  Bench bench(Llama().Bytes(), options);
  std::vector<JobId> jobs;
  for (unsigned i = 0; i < 4; ++i)
    jobs.push_back(
        bench.Submit(About("look [img] and [img]", {Png(9, 9, i), Png(9, 9, i + 9)}, 60)));
  for (const JobId id : jobs) {
    const Story story = bench.Wait(id);
    EXPECT_TRUE(story.IsFinished()) << story.error().message;
  }
}

TEST(EngineMedia, SaysWhyAProjectorCannotBeLoaded) {
  const auto error_of = [](const std::string& projector) {
    EngineConfig config;
    config.options = Bench::Small().load;
    config.sink = [](JobId, JobEvent) {};
    const auto engine = Bench::Load(EndlessModel(), std::move(config), projector);
    return engine ? Error{} : engine.error();
  };
  EXPECT_THAT(error_of(EndlessModel()).message, HasSubstr("architecture \"llama\""));
  EXPECT_EQ(error_of("not a GGUF").code, Code::kCorrupt);
  EXPECT_THAT(error_of(testing::TinyLlavaProjector(32).Bytes()).message,
              HasSubstr("mismatch between text model (n_embd = 64) and mmproj (n_embd = 32)"));
  gguf::Writer holds_its_own = Llama();
  holds_its_own.AddTensor("v.patch_embd.weight", {32}, std::vector<float>(32));
  EngineConfig config;
  config.options = Bench::Small().load;
  const auto engine = Bench::Load(holds_its_own.Bytes(), std::move(config));
  ASSERT_FALSE(engine);
  EXPECT_THAT(engine.error().message, HasSubstr("it holds its own image encoder"));

  const std::string good = testing::TinyLlavaProjector().Bytes();
  EXPECT_EQ(error_of(good.substr(0, good.size() / 2)).code, Code::kCorrupt);
  std::string unknown = testing::TinyGemmaProjector().Bytes();
  unknown.replace(unknown.find("gemma3"), 6, "gemma#");
  EXPECT_EQ(error_of(unknown).code, Code::kCorrupt);
  EXPECT_THAT(error_of(unknown).message, HasSubstr("unknown projector type: gemma#"));
}

}  // namespace
}  // namespace corral::engine
