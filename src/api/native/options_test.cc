#include "api/native/options.h"

#include <gtest/gtest.h>

namespace corral::api {
namespace {

OptionMap Options(std::string_view json) {
  OptionMap options;
  Decoder decoder(json);
  ReadOptions(decoder, &options);
  EXPECT_TRUE(decoder.status());
  return options;
}

std::string ErrorOf(std::string_view json) {
  const auto resolved = ResolveOptions({}, Options(json));
  return resolved ? "ok" : resolved.error().message;
}

TEST(ResolveOptions, StartsFromOllamasDefaults) {
  const auto resolved = ResolveOptions({}, {});
  ASSERT_TRUE(resolved);
  EXPECT_EQ(resolved->sampling.top_k, 40);
  EXPECT_FLOAT_EQ(resolved->sampling.temperature, 0.8F);
  EXPECT_EQ(resolved->sampling.num_predict, -1);
  EXPECT_FALSE(resolved->num_ctx.has_value());
}

TEST(ResolveOptions, LetsTheRequestReplaceTheModel) {
  const models::Params of_model = {{"temperature", 0.1},
                                   {"num_ctx", std::int64_t{8192}},
                                   {"stop", std::vector<std::string>{"A", "B"}}};
  auto resolved = ResolveOptions(of_model, Options(R"({"num_ctx":256})"));
  ASSERT_TRUE(resolved);
  EXPECT_EQ(resolved->num_ctx, 256);
  EXPECT_FLOAT_EQ(resolved->sampling.temperature, 0.1F);
  EXPECT_EQ(resolved->sampling.stop, (std::vector<std::string>{"A", "B"}));
  resolved = ResolveOptions(of_model, Options(R"({"stop":[]})"));
  ASSERT_TRUE(resolved);
  EXPECT_TRUE(resolved->sampling.stop.empty());
}

TEST(ResolveOptions, TakesOursFromTheModelAndTheRequest) {
  const models::Params of_model = {{"kv_cache_type", std::string("q8_0")},
                                   {"flash_attention", false}};
  const auto resolved = ResolveOptions(of_model, Options(R"({"prompt_lookup":6})"));
  ASSERT_TRUE(resolved);
  EXPECT_EQ(resolved->kv_cache_type, "q8_0");
  EXPECT_EQ(resolved->flash_attention, false);
  EXPECT_EQ(resolved->sampling.prompt_lookup, 6);
}

TEST(ResolveOptions, RefusesAKvCacheTypeThatNoLoadTakes) {
  EXPECT_TRUE(
      ErrorOf(R"({"kv_cache_type":"q9"})").starts_with("kv_cache_type must be one of f32, f16,"));
  EXPECT_EQ(ResolveOptions({}, Options(R"({"kv_cache_type":"Q4_0"})"))->kv_cache_type, "q4_0");
}

TEST(ResolveOptions, CutsFractionsOfIntegers) {
  const auto resolved =
      ResolveOptions({}, Options(R"({"top_k":3.9,"seed":-2.5,"num_predict":1e300})"));
  ASSERT_TRUE(resolved);
  EXPECT_EQ(resolved->sampling.top_k, 3);
  EXPECT_EQ(resolved->sampling.seed, -2);
  EXPECT_EQ(resolved->sampling.num_predict, std::numeric_limits<int>::max());
}

TEST(ResolveOptions, KeepsLargeSeedsExact) {
  const auto resolved = ResolveOptions({}, Options(R"({"seed":9007199254740993})"));
  ASSERT_TRUE(resolved);
  EXPECT_EQ(resolved->sampling.seed, 9007199254740993);
}

TEST(ResolveOptions, IgnoresUnknownNamesAndNull) {
  EXPECT_EQ(ErrorOf(R"({"mirostat":2,"zzz":{"a":[1]},"top_k":null,"penalize_newline":"x"})"), "ok");
}

TEST(ResolveOptions, RefusesWrongTypesInOllamasWords) {
  EXPECT_EQ(ErrorOf(R"({"temperature":"hot"})"), R"(option "temperature" must be of type float32)");
  EXPECT_EQ(ErrorOf(R"({"num_ctx":"1"})"), R"(option "num_ctx" must be of type integer)");
  EXPECT_EQ(ErrorOf(R"({"kv_cache_type":8})"), R"(option "kv_cache_type" must be of type string)");
  EXPECT_EQ(ErrorOf(R"({"use_mmap":1})"), R"(option "use_mmap" must be of type boolean)");
  EXPECT_EQ(ErrorOf(R"({"stop":1})"), R"(option "stop" must be of type array)");
  EXPECT_EQ(ErrorOf(R"({"stop":["a",1]})"), R"(option "stop" must be of an array of strings)");
}

TEST(ResolveOptions, KnowsLlamaCppsOtherSamplers) {
  const auto resolved = ResolveOptions(
      {{"xtc_probability", 0.25}},
      Options(R"({"mirostat":2,"mirostat_tau":4.5,"dry_multiplier":0.8,"dry_penalty_last_n":-1,
                  "dry_sequence_breakers":["a","b"],"top_n_sigma":1,"dynatemp_range":0.5})"));
  ASSERT_TRUE(resolved);
  const SamplingOptions& sampling = resolved->sampling;
  EXPECT_EQ(sampling.mirostat, 2);
  EXPECT_FLOAT_EQ(sampling.mirostat_tau, 4.5F);
  EXPECT_FLOAT_EQ(sampling.dry_multiplier, 0.8F);
  EXPECT_EQ(sampling.dry_penalty_last_n, -1);
  EXPECT_EQ(sampling.dry_sequence_breakers, (std::vector<std::string>{"a", "b"}));
  EXPECT_FLOAT_EQ(sampling.xtc_probability, 0.25F);
  EXPECT_FLOAT_EQ(sampling.top_n_sigma, 1.0F);
  EXPECT_FLOAT_EQ(sampling.dynatemp_range, 0.5F);
}

TEST(ResolveOptions, LeavesOutWrongTypesUnderNamesThatOllamaDoesNotKnow) {
  const auto resolved =
      ResolveOptions({}, Options(R"({"mirostat":"2","dry_base":[],"xtc_threshold":true})"));
  ASSERT_TRUE(resolved);
  EXPECT_EQ(resolved->sampling.mirostat, 0);
  EXPECT_FLOAT_EQ(resolved->sampling.dry_base, 1.75F);
  EXPECT_FLOAT_EQ(resolved->sampling.xtc_threshold, 0.1F);
}

// What each option does with each value: taken, or refused in Ollama's words.
TEST(ResolveOptions, TakesOrRefusesEveryValueOfEveryOption) {
  struct Kind {
    std::string_view type;
    std::vector<std::string_view> names;
  };
  const std::vector<Kind> kinds = {
      {"integer",
       {"num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict",
        "num_keep", "seed", "num_predict", "top_k", "repeat_last_n"}},
      {"float32",
       {"top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty",
        "frequency_penalty"}},
      {"boolean", {"use_mmap"}}};
  const std::vector<std::string_view> numbers = {"-1",
                                                 "0",
                                                 "1.5",
                                                 "-1e300",
                                                 "1e300",
                                                 "2147483648",
                                                 "-2147483649",
                                                 "9007199254740992",
                                                 "18446744073709551616"};
  const std::vector<std::string_view> others = {R"("1")", "[]", "[1]", "{}", R"("NaN")"};
  for (const Kind& kind : kinds) {
    for (const std::string_view name : kind.names) {
      const auto with = [name](std::string_view value) {
        return "{\"" + std::string(name) + "\":" + std::string(value) + "}";
      };
      const std::string refusal =
          "option \"" + std::string(name) + "\" must be of type " + std::string(kind.type);
      for (const std::string_view number : numbers)
        EXPECT_EQ(ErrorOf(with(number)), kind.type == "boolean" ? refusal : "ok") << name << number;
      for (const std::string_view other : others) EXPECT_EQ(ErrorOf(with(other)), refusal) << other;
      EXPECT_EQ(ErrorOf(with("true")), kind.type == "boolean" ? "ok" : refusal) << name;
      EXPECT_EQ(ErrorOf(with("null")), "ok") << name;
    }
  }
}

TEST(ResolveOptions, TakesABareStringAsOneStop) {
  const auto resolved = ResolveOptions({}, Options(R"({"stop":"x"})"));
  ASSERT_TRUE(resolved);
  EXPECT_EQ(resolved->sampling.stop, std::vector<std::string>{"x"});
}

TEST(BoundedContext, HasAFloorAndTheTrainedCeiling) {
  EXPECT_EQ(BoundedContext(1, 0, false), 4);
  EXPECT_EQ(BoundedContext(1, 0, true), 2048);
  EXPECT_EQ(BoundedContext(262144, 40960, false), 40960);
  EXPECT_EQ(BoundedContext(256, 40960, false), 256);
}

TEST(BoundedPredict, StopsAtTenContexts) {
  EXPECT_EQ(BoundedPredict(-1, 4096), 40960);
  EXPECT_EQ(BoundedPredict(-2, 4096), 40960);
  EXPECT_EQ(BoundedPredict(100, 4096), 100);
  EXPECT_EQ(BoundedPredict(50000, 4096), 40960);
  EXPECT_EQ(BoundedPredict(0, 4096), 0);
}

TEST(ToParams, KeepsTypesAndDropsNull) {
  const auto params =
      ToParams(Options(R"({"a":1,"b":1.5,"c":true,"d":"x","e":["p","q"],"f":null})"));
  ASSERT_TRUE(params);
  EXPECT_EQ(*params, (models::Params{{"a", std::int64_t{1}},
                                     {"b", 1.5},
                                     {"c", true},
                                     {"d", std::string("x")},
                                     {"e", std::vector<std::string>{"p", "q"}}}));
  EXPECT_FALSE(ToParams(Options(R"({"a":{}})")));
}

}  // namespace
}  // namespace corral::api
