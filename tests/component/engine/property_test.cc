// Random schedules of prompts that share, branch, are cancelled and push each
// other out give each prompt the scores that plain llama.cpp gives it alone,
// without a cache.
//
// The same sums in another order are not the same bits, so scores are compared
// as distributions: the divergence (Kullback and Leibler) from llama.cpp's must
// lie within what two batch sizes of llama.cpp itself differ by on these
// prompts, measured here for each model.
#include <llama.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <random>
#include <stdexcept>
#include <utility>

#include "bench.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

using Distribution = std::map<std::string, double>;  // by the token's text

double Divergence(const Distribution& p, const Distribution& q) {
  double sum = 0;
  for (const auto& [text, probability] : p) {
    const auto other = q.find(text);
    const double q_of = other == q.end() ? 1e-30 : std::max(other->second, 1e-30);
    if (probability > 0) sum += probability * std::log(probability / q_of);
  }
  return std::max(sum, 0.0);
}

// llama.cpp with nothing of ours around it.
class Plain {
 public:
  Plain(const std::string& bytes, int n_batch) {
    const int fd = ::memfd_create("model", MFD_CLOEXEC);
    if (::write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
      throw std::runtime_error("memfd");
    std::FILE* file = ::fdopen(fd, "rb");
    std::rewind(file);
    model_ = llama_model_load_from_file_ptr(file, llama_model_default_params());
    std::fclose(file);
    if (model_ == nullptr) throw std::runtime_error("cannot load");
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 1024;
    params.n_batch = params.n_ubatch = static_cast<std::uint32_t>(n_batch);
    params.n_threads = params.n_threads_batch = 1;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO;
    context_ = llama_init_from_model(model_, params);
    if (context_ == nullptr) throw std::runtime_error("no context");
  }
  ~Plain() {
    llama_free(context_);
    llama_model_free(model_);
  }
  Plain(const Plain&) = delete;
  Plain& operator=(const Plain&) = delete;

  std::vector<Token> Tokenize(const std::string& text) const {
    std::vector<Token> tokens(text.size() + 8);
    tokens.resize(static_cast<std::size_t>(
        std::max(0, llama_tokenize(llama_model_get_vocab(model_), text.data(),
                                   static_cast<std::int32_t>(text.size()), tokens.data(),
                                   static_cast<std::int32_t>(tokens.size()), true, true))));
    return tokens;
  }
  std::string Text(Token token) const {
    std::array<char, 64> piece{};
    const int n = llama_token_to_piece(llama_model_get_vocab(model_), token, piece.data(),
                                       static_cast<std::int32_t>(piece.size()), 0, true);
    return {piece.data(), static_cast<std::size_t>(std::max(n, 0))};
  }
  // What comes after these tokens.
  Distribution Next(std::vector<Token> tokens) {
    llama_memory_clear(llama_get_memory(context_), true);
    const auto n_batch = static_cast<std::size_t>(llama_n_batch(context_));
    for (std::size_t i = 0; i < tokens.size(); i += n_batch) {
      const std::size_t n = std::min(n_batch, tokens.size() - i);
      if (llama_decode(context_,
                       llama_batch_get_one(tokens.data() + i, static_cast<std::int32_t>(n))) != 0)
        throw std::runtime_error("llama_decode");
    }
    const float* logits = llama_get_logits_ith(context_, -1);
    const int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model_));
    const double most = *std::max_element(logits, logits + n_vocab);
    double sum = 0;
    for (Token token = 0; token < n_vocab; ++token) sum += std::exp(logits[token] - most);
    Distribution result;
    for (Token token = 0; token < n_vocab; ++token)
      result[Text(token)] += std::exp(logits[token] - most) / sum;
    return result;
  }
  int n_vocab() const { return llama_vocab_n_tokens(llama_model_get_vocab(model_)); }

 private:
  llama_model* model_ = nullptr;
  llama_context* context_ = nullptr;
};

Distribution OfEngine(const Story& story) {
  Distribution result;
  for (const TokenLogprob& top : story.logprobs.at(0).top)
    result[top.token] += std::exp(static_cast<double>(top.logprob));
  return result;
}

using Random = std::minstd_rand;

// Texts that begin like others: an old one again, cut and gone on with, or
// longer.
std::string NextText(Random& random, std::vector<std::string>& texts) {
  const auto new_words = [&random](int most) {
    return Words(1 + static_cast<int>(random() % static_cast<unsigned>(most)),
                 static_cast<unsigned>(random()));
  };
  std::string text;
  if (texts.size() < 3) {
    text = new_words(120);
  } else {
    text = texts[random() % texts.size()];
    switch (random() % 4) {
      case 0:
        break;
      case 1:
        text += " " + new_words(40);
        break;
      default: {
        const std::size_t cut = text.find(' ', random() % text.size());
        text = text.substr(0, cut) + " " + new_words(40);
      }
    }
  }
  if (text.size() > 1'500) text = new_words(60);
  texts.push_back(text);
  return text;
}

void RunSchedule(const std::string& model, unsigned seed) {
  Plain alone(model, 512), in_small_steps(model, 7), one_by_one(model, 1);
  Bench::Options options = Bench::Small(3, 448);
  options.load.prefix_cache_bytes = 400'000;  // a few of these prompts
  Bench bench(model, options);
  Random random(seed);
  std::vector<std::string> texts;
  struct Asked {
    std::string text;
    JobId id{};
    bool is_cancelled = false;
  };
  std::vector<Asked> asked;
  for (int round = 0; round < 60; ++round) {
    GenerateJob job = Greedy(NextText(random, texts), 1 + static_cast<int>(random() % 40));
    job.top_logprobs = alone.n_vocab();
    job.sampling.prompt_lookup = random() % 3 == 0 ? 4 : 0;
    const std::string text = job.prompt.text;
    asked.push_back({text, bench.Submit(std::move(job))});
    if (random() % 6 == 0) {
      Asked& victim = asked[random() % asked.size()];
      bench.engine().Cancel(victim.id);
      victim.is_cancelled = true;
    }
    if (random() % 3 == 0) bench.Wait(asked[random() % asked.size()].id);
  }
  double noise = 0, worst = 0;
  std::string worst_text;
  for (const Asked& job : asked) {
    const Story story = bench.Wait(job.id);
    ASSERT_TRUE(story.IsFinished() || job.is_cancelled) << story.error().message;
    if (story.logprobs.empty()) continue;  // cancelled before its first token
    const std::vector<Token> tokens = alone.Tokenize(job.text);
    const Distribution right = alone.Next(tokens);
    noise = std::max({noise, Divergence(right, in_small_steps.Next(tokens)),
                      Divergence(right, one_by_one.Next(tokens))});
    const double divergence = Divergence(right, OfEngine(story));
    if (divergence > worst) {
      worst = divergence;
      worst_text = job.text;
    }
  }
  // Log-probabilities are handed out as float.
  const double bound = 2 * noise + 1e-6;
  EXPECT_LE(worst, bound) << "noise " << noise << ", prompt: " << worst_text;
  EXPECT_GT(bench.engine().Counters().prompt_tokens_reused, 200);

  // A measure that could not tell a wrong prefix would show nothing.
  std::vector<Token> tokens = alone.Tokenize(texts.front());
  const Distribution right = alone.Next(tokens);
  Token& changed = tokens[tokens.size() - std::min<std::size_t>(tokens.size() - 1, 4)];
  const Token sky = alone.Tokenize("sky").at(1);
  changed = changed == sky ? alone.Tokenize("many").at(1) : sky;
  EXPECT_GT(Divergence(right, alone.Next(tokens)), 10 * bound);
}

TEST(EngineProperty, FullAttention) {
  for (const unsigned seed : {1U, 2U, 3U}) RunSchedule(EndlessModel(), seed);
}
TEST(EngineProperty, SlidingWindow) {
  for (const unsigned seed : {1U, 2U, 3U}) RunSchedule(testing::TinyWindow().Bytes(), seed);
}
TEST(EngineProperty, Recurrent) {
  for (const unsigned seed : {1U, 2U, 3U}) RunSchedule(testing::TinyRecurrent().Bytes(), seed);
}
TEST(EngineProperty, Hybrid) {
  for (const unsigned seed : {1U, 2U, 3U}) RunSchedule(testing::TinyHybrid().Bytes(), seed);
}

}  // namespace
}  // namespace corral::engine
