// Every numeric option at the edges of its type, and what is no number: a result or a clear
// refusal, never a crash (the table is the point).
#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <limits>

#include "bench.h"

namespace corral::engine {
namespace {

using Set = std::function<void(SamplingOptions&, double)>;

struct Option {
  std::string_view name;
  Set set;
};

template <class T>
Option Of(std::string_view name, T SamplingOptions::*member) {
  return {name, [member](SamplingOptions& options, double value) {
            if constexpr (std::is_integral_v<T>) {
              using Limits = std::numeric_limits<T>;
              if (std::isnan(value)) value = 0;
              options.*member = value >= static_cast<double>(Limits::max()) ? Limits::max()
                                : value <= static_cast<double>(Limits::min())
                                    ? Limits::min()
                                    : static_cast<T>(value);
            } else {
              options.*member = static_cast<T>(value);
            }
          }};
}

const std::vector<Option>& Options() {
  using S = SamplingOptions;
  static const std::vector<Option> all = {
      Of("seed", &S::seed),
      Of("num_predict", &S::num_predict),
      Of("num_keep", &S::num_keep),
      Of("top_k", &S::top_k),
      Of("top_p", &S::top_p),
      Of("min_p", &S::min_p),
      Of("typical_p", &S::typical_p),
      Of("repeat_last_n", &S::repeat_last_n),
      Of("temperature", &S::temperature),
      Of("repeat_penalty", &S::repeat_penalty),
      Of("presence_penalty", &S::presence_penalty),
      Of("frequency_penalty", &S::frequency_penalty),
      Of("mirostat", &S::mirostat),
      Of("mirostat_tau", &S::mirostat_tau),
      Of("mirostat_eta", &S::mirostat_eta),
      Of("dry_multiplier", &S::dry_multiplier),
      Of("dry_base", &S::dry_base),
      Of("dry_allowed_length", &S::dry_allowed_length),
      Of("dry_penalty_last_n", &S::dry_penalty_last_n),
      Of("xtc_probability", &S::xtc_probability),
      Of("xtc_threshold", &S::xtc_threshold),
      Of("top_n_sigma", &S::top_n_sigma),
      Of("dynatemp_range", &S::dynatemp_range),
      Of("dynatemp_exponent", &S::dynatemp_exponent),
      Of("prompt_lookup", &S::prompt_lookup),
  };
  return all;
}

const std::vector<double> kEdges = {-1,
                                    0,
                                    1,
                                    2,
                                    -2,
                                    0.5,
                                    1e-30,
                                    -1e-30,
                                    1e-45,
                                    9007199254740992.0,
                                    static_cast<double>(std::numeric_limits<int>::max()),
                                    static_cast<double>(std::numeric_limits<int>::min()),
                                    static_cast<double>(std::numeric_limits<float>::max()),
                                    -static_cast<double>(std::numeric_limits<float>::max()),
                                    std::numeric_limits<double>::infinity(),
                                    -std::numeric_limits<double>::infinity(),
                                    std::numeric_limits<double>::quiet_NaN()};

// Bases whose samplers differ: greedy, the usual chain, each mirostat, and all switched on.
std::vector<SamplingOptions> Bases() {
  SamplingOptions usual;
  SamplingOptions greedy;
  greedy.temperature = 0;
  SamplingOptions first;
  first.mirostat = 1;
  SamplingOptions second;
  second.mirostat = 2;
  SamplingOptions all;
  all.dry_multiplier = 0.8F;
  all.xtc_probability = 0.5F;
  all.top_n_sigma = 1;
  all.dynatemp_range = 0.5F;
  all.repeat_penalty = 1.1F;
  all.presence_penalty = 0.5F;
  all.frequency_penalty = 0.5F;
  all.typical_p = 0.9F;
  all.min_p = 0.05F;
  return {usual, greedy, first, second, all};
}

TEST(EngineOptions, AtTheirEdgesGiveAResultOrARefusal) {
  Bench bench(EndlessModel(), Bench::Small(8, 128));
  int n_refused = 0;
  for (const SamplingOptions& base : Bases()) {
    for (const Option& option : Options()) {
      std::vector<std::pair<double, JobId>> jobs;
      for (const double value : kEdges) {
        GenerateJob job = Greedy("hello world hello", 4);
        job.sampling = base;
        job.sampling.num_predict = 4;
        job.num_ctx = 24;
        option.set(job.sampling, value);
        if (option.name == "num_predict") job.sampling.stop = {" ", "e", "o", "a", "t", "s"};
        jobs.emplace_back(value, bench.Submit(std::move(job)));
      }
      for (const auto& [value, id] : jobs) {
        const Story story = bench.Wait(id);
        EXPECT_EQ(story.n_last, 1) << option.name << " " << value;
        if (story.IsFinished()) continue;
        ++n_refused;
        EXPECT_EQ(story.error().code, Code::kInvalidArgument)
            << option.name << " " << value << ": " << story.error().message;
      }
    }
  }
  EXPECT_GT(n_refused, 0) << "NaN is no number";
  EXPECT_TRUE(bench.Run(Greedy("hello", 2)).IsFinished());
}

TEST(EngineOptions, ManyDrySequenceBreakersAreRefused) {
  Bench bench(EndlessModel());
  GenerateJob job = Greedy("hello", 2);
  job.sampling.dry_multiplier = 1;
  job.sampling.dry_sequence_breakers.assign(1000, "a");
  EXPECT_EQ(bench.Run(job).error().code, Code::kInvalidArgument);
  job.sampling.dry_sequence_breakers = {"", std::string(1000, 'x'), "\n"};
  EXPECT_TRUE(bench.Run(job).IsFinished());
}

using Change = std::function<void(SamplingOptions&)>;

std::string TextWith(Bench& bench, const Change& change) {
  GenerateJob job = Greedy("the world and the world and the", 24);
  change(job.sampling);
  const Story story = bench.Run(job);
  EXPECT_TRUE(story.IsFinished()) << story.error().message;
  return story.text;
}

void Warm(SamplingOptions& s) {
  s.temperature = 1.5F;
  s.seed = 7;
}

TEST(EngineOptions, PenaltiesChangeTheBestToken) {
  Bench bench(EndlessModel());
  const std::string plain = TextWith(bench, [](SamplingOptions&) {});
  const std::vector<std::pair<std::string_view, Change>> changes = {
      {"dry",
       [](SamplingOptions& s) {
         s.dry_multiplier = 50;
         s.dry_allowed_length = 0;
         s.dry_penalty_last_n = -1;
         s.dry_sequence_breakers = {};
       }},
      {"xtc",
       [](SamplingOptions& s) {
         s.xtc_probability = 1;
         s.xtc_threshold = 0.0001F;
         s.seed = 1;
       }},
      {"presence_penalty", [](SamplingOptions& s) { s.presence_penalty = 50; }},
      {"frequency_penalty", [](SamplingOptions& s) { s.frequency_penalty = 50; }},
      {"repeat_penalty", [](SamplingOptions& s) { s.repeat_penalty = 100; }}};
  for (const auto& [what, change] : changes) EXPECT_NE(TextWith(bench, change), plain) << what;
  EXPECT_EQ(TextWith(bench,
                     [](SamplingOptions& s) {
                       s.repeat_penalty = 100;
                       s.repeat_last_n = 0;
                     }),
            plain)
      << "no look back, no penalty";
}

TEST(EngineOptions, ANarrowChoiceIsTheBestTokenHoweverWarm) {
  Bench bench(EndlessModel());
  const std::string plain = TextWith(bench, [](SamplingOptions&) {});
  ASSERT_NE(TextWith(bench, Warm), plain);
  const std::vector<std::pair<std::string_view, Change>> changes = {
      {"top_k", [](SamplingOptions& s) { s.top_k = 1; }},
      {"top_p", [](SamplingOptions& s) { s.top_p = 1e-6F; }},
      {"min_p", [](SamplingOptions& s) { s.min_p = 1; }},
      {"top_n_sigma", [](SamplingOptions& s) { s.top_n_sigma = 1e-6F; }},
      {"mirostat 1",
       [](SamplingOptions& s) {
         s.mirostat = 1;
         s.mirostat_tau = 0;
         s.mirostat_eta = 0;
       }},
      {"mirostat 2",
       [](SamplingOptions& s) {
         s.mirostat = 2;
         s.mirostat_tau = 0;
         s.mirostat_eta = 0;
       }},
  };
  for (const auto& [what, change] : changes) {
    EXPECT_EQ(TextWith(bench,
                       [&change = change](SamplingOptions& s) {
                         Warm(s);
                         change(s);
                       }),
              plain)
        << what;
  }
}

TEST(EngineOptions, OthersShapeTheChoice) {
  Bench bench(EndlessModel());
  const std::string warm = TextWith(bench, Warm);
  const std::vector<std::pair<std::string_view, Change>> changes = {
      {"mirostat 1",
       [](SamplingOptions& s) {
         s.mirostat = 1;
         s.mirostat_tau = 1;
       }},
      {"mirostat 2",
       [](SamplingOptions& s) {
         s.mirostat = 2;
         s.mirostat_tau = 1;
       }},
      {"top_n_sigma", [](SamplingOptions& s) { s.top_n_sigma = 0.1F; }},
      {"dynatemp_range", [](SamplingOptions& s) { s.dynatemp_range = 1.5F; }},
      {"min_p", [](SamplingOptions& s) { s.min_p = 0.5F; }},
      {"typical_p", [](SamplingOptions& s) { s.typical_p = 0.2F; }}};
  for (const auto& [what, change] : changes) {
    EXPECT_NE(TextWith(bench,
                       [&change = change](SamplingOptions& s) {
                         Warm(s);
                         change(s);
                       }),
              warm)
        << what;
  }
}

// The one token of the most typical surprise is left: the seed has nothing to choose from.
TEST(EngineOptions, TheLeastTypicalPLeavesOneToken) {
  Bench bench(EndlessModel());
  const auto with = [&bench](float typical_p, std::int64_t seed) {
    return TextWith(bench, [&](SamplingOptions& s) {
      Warm(s);
      s.seed = seed;
      s.typical_p = typical_p;
    });
  };
  EXPECT_NE(with(1, 1), with(1, 2));
  EXPECT_EQ(with(1e-6F, 1), with(1e-6F, 2));
}

// The answer is forced, and the same three words are followed by another one each time.
TEST(EngineOptions, GuessesThatAreNeverRightEnd) {
  std::string text;
  for (const std::string_view word :
       {"you",  "that", "was",  "for",  "are",  "with", "his",  "they", "this",  "have",
        "from", "one",  "had",  "word", "but",  "not",  "what", "all",  "were",  "when",
        "your", "can",  "said", "use",  "each", "she",  "how",  "will", "other", "about"})
    text += " the sky hello " + std::string(word);
  GenerateJob job = Greedy("many", 400);
  job.format_json = R"({"const":")" + text + R"("})";
  Bench bench(EndlessModel());
  const Story plain = bench.Run(job);
  EXPECT_EQ(plain.text, "\"" + text + "\"");
  EXPECT_EQ(bench.engine().Counters().tokens_guessed, 0);
  job.sampling.prompt_lookup = 4;
  const std::int64_t before = bench.engine().Counters().decode_calls;
  ExpectSameAnswer(bench.Run(job), plain);
  const EngineCounters counters = bench.engine().Counters();
  EXPECT_EQ(counters.guesses_right, 0);
  EXPECT_EQ(counters.decode_calls - before, plain.finish().eval_tokens);
  // Four tries of four tokens; after 32 tokens without any as many again, and after 64.
  EXPECT_GE(counters.tokens_guessed, 4 * 4);
  EXPECT_LE(counters.tokens_guessed, 3 * 4 * 4) << "each step would have had a guess";
}

TEST(EngineOptions, GuessesThatAreRightSaveSteps) {
  std::string text;
  for (int i = 0; i < 20; ++i) text += " the sky hello you that was";
  GenerateJob job = Greedy("many", 400);
  job.format_json = R"({"const":")" + text + R"("})";
  job.sampling.prompt_lookup = 4;
  Bench bench(EndlessModel());
  const Story story = bench.Run(job);
  EXPECT_EQ(story.text, "\"" + text + "\"");
  const EngineCounters counters = bench.engine().Counters();
  EXPECT_GE(counters.guesses_right, 4);
  EXPECT_LE(counters.guesses_right, counters.tokens_guessed);
  EXPECT_EQ(counters.decode_calls + counters.guesses_right, story.finish().eval_tokens);
}

TEST(EngineOptions, ASeedDecidesAndNoneIsAnotherEachTime) {
  Bench bench(EndlessModel());
  const auto with = [&bench](std::int64_t seed) {
    return TextWith(bench, [seed](SamplingOptions& s) {
      s.temperature = 1.5F;
      s.seed = seed;
    });
  };
  EXPECT_EQ(with(1), with(1));
  EXPECT_EQ(with(0), with(0));
  EXPECT_NE(with(1), with(2));
  EXPECT_NE(with(-1), with(-1));
}

TEST(EngineOptions, AStepReadsAsMuchOfAPromptAsNumBatchSays) {
  const auto steps_of_a_prompt = [](int num_batch) {
    Bench::Options options = Bench::Small(1, 2048);
    options.load.num_batch = num_batch;
    Bench bench(EndlessModel(), options);
    EXPECT_TRUE(bench.Run(Greedy(Words(300, 1), 1)).IsFinished());  // its speed is known now
    const std::int64_t before = bench.engine().Counters().decode_calls;
    EXPECT_TRUE(bench.Run(Greedy(Words(1'200, 2), 1)).IsFinished());
    return bench.engine().Counters().decode_calls - before;
  };
  EXPECT_GE(steps_of_a_prompt(64), 18);
  EXPECT_LT(steps_of_a_prompt(2'048), steps_of_a_prompt(512));
}

}  // namespace
}  // namespace corral::engine
