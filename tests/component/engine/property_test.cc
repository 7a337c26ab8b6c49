// Random schedules of prompts that share, branch, are cancelled and push each other out give each
// prompt the scores that plain llama.cpp gives it alone, without a cache; also with pictures in the
// prompts, with adapters, and for users that share nothing.
//
// The same sums in another order are not the same bits, so scores are compared as distributions:
// the divergence (Kullback and Leibler) from llama.cpp's must lie within what two batch sizes of
// llama.cpp itself differ by on these prompts, measured here for each model.
#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

#include "bench.h"
#include "plain.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

using Random = std::minstd_rand;

constexpr std::string_view kMark = "[img]";

// What a schedule is made of.
struct World {
  Plain::Files files;
  int num_ctx = 448;
  int n_cells = 900;
  std::int64_t prefix_cache_bytes = 400'000;  // a few of these prompts
  std::size_t most_pictures = 3;
  int n_rounds = 60;
  std::int64_t least_reused = 200;
  std::vector<std::string> users = {""};  // their salts
};

// Some sets of adapters, where there are any.
std::vector<AdapterUse> SomeAdapters(Random& random, const World& world) {
  if (world.files.adapters.empty()) return {};
  switch (random() % 5) {
    case 0:
      return {{"a", 1}};
    case 1:
      return {{"a", 0.5F}};
    case 2:
      return {{"b", 1}};
    case 3:
      return {{"b", 0.25F}, {"a", 1}};
    default:
      return {};
  }
}

std::size_t MarksIn(std::string_view text) {
  std::size_t n = 0;
  for (std::size_t at = text.find(kMark); at != std::string_view::npos;
       at = text.find(kMark, at + 1))
    ++n;
  return n;
}

std::string NewWords(Random& random, int most) {
  return Words(1 + static_cast<int>(random() % static_cast<unsigned>(most)),
               static_cast<unsigned>(random()));
}

// Few pictures, so that the same ones come again.
unsigned SomePicture(Random& random) { return 1 + static_cast<unsigned>(random() % 3); }

void InsertPicture(Random& random, Ask& ask) {
  const std::size_t at = ask.text.find(' ', random() % ask.text.size());
  if (at == std::string::npos) return;  // the text must end with a word
  const auto n_before = static_cast<std::ptrdiff_t>(MarksIn(ask.text.substr(0, at)));
  ask.text.insert(at, " " + std::string(kMark));
  ask.pictures.insert(ask.pictures.begin() + n_before, SomePicture(random));
}

void CutAndGoOn(Random& random, Ask& ask) {
  ask.text = ask.text.substr(0, ask.text.find(' ', random() % ask.text.size()));
  ask.pictures.resize(MarksIn(ask.text));
  ask.text += " " + NewWords(random, 40);
}

// Prompts that begin like others: an old one again, gone on with, cut and gone on with, with
// another picture at the same place, or with one more.
Ask NextAsk(Random& random, const World& world, std::vector<Ask>& asked) {
  const bool has_pictures = !world.files.projector.empty();
  Ask ask;
  const auto begin_anew = [&](int most) {
    ask = {NewWords(random, most)};
    if (has_pictures && random() % 2 == 0) InsertPicture(random, ask);
  };
  if (asked.size() < 3) {
    begin_anew(120);
  } else {
    ask = asked[random() % asked.size()];
    switch (random() % (has_pictures ? 6 : 4)) {
      case 0:
        break;
      case 1:
        ask.text += " " + NewWords(random, 40);
        break;
      case 4:
        if (!ask.pictures.empty())
          ask.pictures[random() % ask.pictures.size()] = SomePicture(random);
        break;
      case 5:
        InsertPicture(random, ask);
        break;
      default:
        CutAndGoOn(random, ask);
    }
  }
  if (ask.text.size() > 1'500 || ask.pictures.size() > world.most_pictures) begin_anew(60);
  asked.push_back(ask);
  ask.adapters = SomeAdapters(random, world);
  return ask;
}

GenerateJob JobOf(const Ask& ask, int num_predict) {
  if (ask.pictures.empty()) {
    GenerateJob job = Greedy(ask.text, num_predict);
    job.adapters = ask.adapters;
    return job;
  }
  GenerateJob job = Greedy({}, num_predict);
  ChatMessage message;
  message.role = "user";
  message.content = ask.text;
  for (const unsigned seed : ask.pictures) message.images.push_back(PictureFile(seed));
  job.prompt.kind = PromptSource::Kind::kMessages;
  job.prompt.messages = {std::move(message)};
  job.adapters = ask.adapters;
  return job;
}

struct Asked {
  Ask ask;
  std::string user;
  JobId id{};
  bool is_cancelled = false;
  std::vector<std::int64_t> cells = {};  // of the prompt
  std::size_t n_answer = 0;
};

bool IsSameSpace(const Asked& a, const Asked& b) {
  const auto is_same_use = [](const AdapterUse& one, const AdapterUse& other) {
    return one.file == other.file && one.scale == other.scale;
  };
  return a.user == b.user && std::equal(a.ask.adapters.begin(), a.ask.adapters.end(),
                                        b.ask.adapters.begin(), b.ask.adapters.end(), is_same_use);
}

// The most that `asked` may have found of `other`. Its answer may go on as this prompt does.
std::size_t MayShare(const Asked& asked, const Asked& other) {
  const auto differs =
      std::mismatch(asked.cells.begin(), asked.cells.end(), other.cells.begin(), other.cells.end());
  const auto n = static_cast<std::size_t>(differs.first - asked.cells.begin());
  return differs.second == other.cells.end() ? n + other.n_answer : n;
}

// Nobody has found more than those of the same user with the same adapters had in common with it,
// though others had more.
void ExpectNothingCrosses(Bench& bench, const std::vector<Asked>& all, bool has_spaces) {
  std::size_t n_tempting = 0;
  for (const Asked& asked : all) {
    const Story story = bench.Wait(asked.id);
    if (!story.IsFinished()) continue;
    std::size_t allowed = 0, tempting = 0;
    for (const Asked& other : all) {
      if (&other == &asked) continue;
      std::size_t& most = IsSameSpace(asked, other) ? allowed : tempting;
      most = std::max(most, MayShare(asked, other));
    }
    EXPECT_LE(story.finish().reused_tokens, static_cast<std::int64_t>(allowed)) << asked.ask.text;
    n_tempting += tempting > allowed ? tempting - allowed : 0;
  }
  if (has_spaces) {
    EXPECT_GT(n_tempting, 200U) << "these schedules would not show it";
  }
}

Distribution OfEngine(const Story& story) {
  Distribution result;
  for (const TokenLogprob& top : story.logprobs.at(0).top)
    result[top.token] += std::exp(static_cast<double>(top.logprob));
  return result;
}

// A measure that could not tell a wrong prefix would show nothing.
void ExpectToTellWrongOnes(const World& world, Plain& plain, double bound) {
  const auto differ = [&](const Ask& right, const Ask& wrong) {
    EXPECT_GT(Divergence(plain.Next(right), plain.Next(wrong)), 10 * bound) << wrong.text;
  };
  const Ask ask{"hello world about the sky many"};
  differ(ask, {"hello world about the other many"});
  if (!world.files.projector.empty()) {
    const std::string text = "hello [img] world about the sky many";
    differ({text, {1}}, {text, {2}});
    differ({text, {1}}, {"hello world about the sky [img] many", {1}});
  }
  if (!world.files.adapters.empty()) {
    differ(ask, {ask.text, {}, {{"a", 1}}});
    differ({ask.text, {}, {{"a", 1}}}, {ask.text, {}, {{"a", 0.5F}}});
    differ({ask.text, {}, {{"a", 1}}}, {ask.text, {}, {{"b", 0.25F}, {"a", 1}}});
  }
}

// How far llama.cpp is from itself with batches of other sizes.
double Noise(Plain& plain, const Ask& ask, const Distribution& whole) {
  const Distribution all[] = {whole, plain.Next(ask, 64), plain.Next(ask, 7), plain.Next(ask, 1)};
  double noise = 0;
  for (const Distribution& one : all) {
    for (const Distribution& other : all) noise = std::max(noise, Divergence(one, other));
  }
  return noise;
}

void RunSchedule(const World& world, unsigned seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Bench::Options options = Bench::Small(3, world.num_ctx);
  options.load.n_cells = world.n_cells;
  options.load.prefix_cache_bytes = world.prefix_cache_bytes;
  options.projector = world.files.projector;
  Bench bench(world.files.model, options);
  for (const auto& [name, bytes] : world.files.adapters) bench.AddAdapter(name, bytes);
  Plain plain(world.files, world.num_ctx);
  Random random(seed);
  std::vector<Ask> texts;
  std::vector<Asked> all;
  for (int round = 0; round < world.n_rounds; ++round) {
    Asked asked{NextAsk(random, world, texts), world.users[random() % world.users.size()]};
    GenerateJob job = JobOf(asked.ask, 1 + static_cast<int>(random() % 40));
    job.top_logprobs = plain.n_vocab();
    job.sampling.prompt_lookup = random() % 3 == 0 ? 4 : 0;
    job.prefix_salt = asked.user;
    asked.id = bench.Submit(std::move(job));
    all.push_back(std::move(asked));
    if (random() % 6 == 0) {
      Asked& victim = all[random() % all.size()];
      bench.engine().Cancel(victim.id);
      victim.is_cancelled = true;
    }
    if (random() % 3 == 0) bench.Wait(all[random() % all.size()].id);
  }
  double noise = 0, worst = 0;
  std::string worst_text;
  for (Asked& asked : all) {
    const Story story = bench.Wait(asked.id);
    ASSERT_TRUE(story.IsFinished() || asked.is_cancelled) << story.error().message;
    asked.cells = plain.Cells(asked.ask);
    asked.n_answer = story.logprobs.size();
    if (story.logprobs.empty()) continue;  // cancelled before its first token
    const Distribution right = plain.Next(asked.ask);
    noise = std::max(noise, Noise(plain, asked.ask, right));
    const double divergence = Divergence(right, OfEngine(story));
    if (divergence > worst) {
      worst = divergence;
      worst_text = asked.ask.text;
    }
  }
  // Log-probabilities are handed out as float.
  const double bound = 2 * noise + 1e-6;
  EXPECT_LE(worst, bound) << "noise " << noise << ", prompt: " << worst_text;
  EXPECT_GT(bench.engine().Counters().prompt_tokens_reused, world.least_reused);
  ExpectNothingCrosses(bench, all, world.users.size() > 1 || !world.files.adapters.empty());
  ExpectToTellWrongOnes(world, plain, bound);
}

void RunSchedules(const World& world, unsigned n = 3) {
  for (unsigned seed = 1; seed <= n; ++seed) RunSchedule(world, seed);
}

// Everything that decides a prompt's state, at once.
World Crossed(const gguf::Writer& model, std::string_view architecture,
              const gguf::Writer& projector) {
  World world;
  world.files = {model.Bytes(),
                 projector.Bytes(),
                 {{"a", testing::TinyAdapter(1, architecture).Bytes()},
                  {"b", testing::TinyAdapter(2, architecture).Bytes()}}};
  world.users = {"", "alice"};
  world.least_reused = 50;  // a state is reused as a whole only, and few prompts are in a space
  return world;
}

World Only(const gguf::Writer& model) {
  World world;
  world.files.model = model.Bytes();
  return world;
}

gguf::Writer Llama() { return testing::TinyLlama({.is_endless = true}); }

TEST(EngineProperty, FullAttention) { RunSchedules(Only(Llama())); }
TEST(EngineProperty, SlidingWindow) { RunSchedules(Only(testing::TinyWindow())); }
TEST(EngineProperty, Recurrent) { RunSchedules(Only(testing::TinyRecurrent())); }
TEST(EngineProperty, Hybrid) { RunSchedules(Only(testing::TinyHybrid())); }

TEST(EngineProperty, FullAttentionWithPicturesAdaptersAndUsers) {
  RunSchedules(Crossed(Llama(), "llama", testing::TinyLlavaProjector()), 2);
}
TEST(EngineProperty, SlidingWindowWithPicturesAdaptersAndUsers) {
  RunSchedules(Crossed(testing::TinyWindow(), "gemma3", testing::TinyGemmaProjector()), 2);
}
TEST(EngineProperty, RecurrentWithPicturesAdaptersAndUsers) {
  RunSchedules(Crossed(testing::TinyRecurrent(), "mamba", testing::TinyLlavaProjector()), 2);
}
TEST(EngineProperty, HybridWithPicturesAdaptersAndUsers) {
  RunSchedules(Crossed(testing::TinyHybrid(), "jamba", testing::TinyLlavaProjector()), 2);
}
// Pictures of two dimensions take more cells than positions, a thousand each.
TEST(EngineProperty, TwoDimensionalWithPicturesAdaptersAndUsers) {
  World world = Crossed(testing::TinyTwoDimensional(), "qwen2vl", testing::TinyQwenProjector());
  world.files.least_cells = 1'024;  // as for the real ones of this family
  world.num_ctx = 2'048;
  world.n_cells = 4'200;
  world.prefix_cache_bytes = 2'000'000;
  world.most_pictures = 1;
  world.n_rounds = 30;
  RunSchedule(world, 1);
}

}  // namespace
}  // namespace corral::engine
