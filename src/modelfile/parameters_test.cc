#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "modelfile/modelfile.h"

namespace corral::modelfile {
namespace {

using ::testing::ElementsAre;

Result<std::vector<Parameter>> Format(std::vector<std::pair<std::string, std::string>> lines,
                                      std::vector<std::string>* warnings = nullptr) {
  std::vector<std::pair<std::string, std::vector<std::string>>> values;
  for (auto& [name, text] : lines) values.push_back({name, {text}});
  return FormatParameters(values, warnings);
}

std::string ErrorOf(std::string name, std::string text) {
  const auto formatted = Format({{std::move(name), std::move(text)}});
  if (formatted) return "";
  EXPECT_EQ(formatted.error().code, Code::kInvalidArgument);
  return formatted.error().message;
}

double FloatOf(std::string text) {
  const auto formatted = Format({{"temperature", text}});
  EXPECT_TRUE(formatted) << text;
  return formatted ? std::get<double>(formatted->at(0).value) : -1;
}

TEST(Parameters, GathersStopsAndKeepsTheLastOfTheRest) {
  const auto formatted =
      Format({{"temperature", "0.5"}, {"stop", "A"}, {"stop", "B"}, {"temperature", "0.7"}});
  ASSERT_TRUE(formatted) << formatted.error().message;
  ASSERT_EQ(formatted->size(), 2U);
  EXPECT_EQ(formatted->at(0).name, "temperature");
  EXPECT_DOUBLE_EQ(std::get<double>(formatted->at(0).value), 0.7);
  EXPECT_THAT(std::get<std::vector<std::string>>(formatted->at(1).value), ElementsAre("A", "B"));
}

TEST(Parameters, KeepsAListThatLooksLikeJsonAsOneText) {
  const auto formatted = Format({{"stop", "[\"a\", \"b\"]"}});
  ASSERT_TRUE(formatted);
  EXPECT_THAT(std::get<std::vector<std::string>>(formatted->at(0).value),
              ElementsAre("[\"a\", \"b\"]"));
}

TEST(Parameters, KnowsOursBesideOllamas) {
  const auto parameters = FormatParameters(
      {{"kv_cache_type", {"q8_0"}}, {"flash_attention", {"false"}}, {"prompt_lookup", {"6"}}},
      nullptr);
  ASSERT_TRUE(parameters);
  ASSERT_EQ(parameters->size(), 3U);
  EXPECT_EQ((*parameters)[0].value, ParameterValue(std::string("q8_0")));
  EXPECT_EQ((*parameters)[1].value, ParameterValue(false));
  EXPECT_EQ((*parameters)[2].value, ParameterValue(std::int64_t{6}));
}

TEST(Parameters, RefusesAKvCacheTypeThatNoLoadTakes) {
  EXPECT_EQ(std::get<std::string>(Format({{"kv_cache_type", "Q4_0"}})->at(0).value), "q4_0");
  EXPECT_TRUE(ErrorOf("kv_cache_type", "q9").starts_with("kv_cache_type must be one of f32, f16,"));
}

TEST(Parameters, KeepsAnIntAsAnInt) {
  const auto formatted = Format({{"num_ctx", "1048576"}, {"seed", "-7"}, {"top_k", "+5"}});
  ASSERT_TRUE(formatted) << formatted.error().message;
  EXPECT_EQ(std::get<std::int64_t>(formatted->at(0).value), 1048576);
  EXPECT_EQ(std::get<std::int64_t>(formatted->at(1).value), -7);
  EXPECT_EQ(std::get<std::int64_t>(formatted->at(2).value), 5);
}

TEST(Parameters, NamesAreCaseSensitive) {
  EXPECT_EQ(ErrorOf("Temperature", "1"), "unknown parameter 'Temperature'");
}

TEST(Parameters, RefusesParametersThatAreGone) {
  for (const char* name : {"numa", "num_gqa", "tfs_z", "rope_frequency_base"}) {
    EXPECT_EQ(ErrorOf(name, "1"), "unknown parameter '" + std::string(name) + "'");
  }
}

TEST(Parameters, DropsDeprecatedOnesWithAWarning) {
  std::vector<std::string> warnings;
  const auto formatted = Format({{"mirostat", "1"}, {"low_vram", "x"}}, &warnings);
  ASSERT_TRUE(formatted);
  EXPECT_TRUE(formatted->empty());
  EXPECT_THAT(warnings, ElementsAre("warning: parameter mirostat is deprecated",
                                    "warning: parameter low_vram is deprecated"));
  EXPECT_TRUE(Format({{"mirostat", "1"}}));
}

TEST(Parameters, RefusesBadValuesWithTheValueInTheText) {
  EXPECT_EQ(ErrorOf("use_mmap", "yes"), "invalid bool value [yes]");
  for (const char* text : {"1.5", "", " 1", "1_000", "0x10", "1e3", "+-1", "9223372036854775808"}) {
    EXPECT_EQ(ErrorOf("num_ctx", text), "invalid int value [" + std::string(text) + "]");
  }
  for (const char* text : {"x", "", "1,5", "1e", "0x1", "--1", "+-1", "1e39", "inf", "NaN", "_1",
                           "1__0", "1_", "1e999", " 1"}) {
    EXPECT_EQ(ErrorOf("top_p", text), "invalid float value [" + std::string(text) + "]");
  }
}

TEST(Parameters, ReadsFloatsAsGoDoes) {
  EXPECT_DOUBLE_EQ(FloatOf("0.7"), 0.7);
  EXPECT_DOUBLE_EQ(FloatOf("1e-3"), 0.001);
  EXPECT_DOUBLE_EQ(FloatOf("+.5"), 0.5);
  EXPECT_DOUBLE_EQ(FloatOf("5."), 5);
  EXPECT_DOUBLE_EQ(FloatOf("-1"), -1);
  EXPECT_DOUBLE_EQ(FloatOf("0x1p-2"), 0.25);
  EXPECT_DOUBLE_EQ(FloatOf("-0X1.8P1"), -3);
  EXPECT_DOUBLE_EQ(FloatOf("0x_1p0"), 1);
  EXPECT_DOUBLE_EQ(FloatOf("1_0.5"), 10.5);
  EXPECT_DOUBLE_EQ(FloatOf("1e-999"), 0);
}

TEST(Parameters, ReadsBoolsAsGoDoes) {
  for (const char* text : {"1", "t", "T", "TRUE", "true", "True"}) {
    EXPECT_TRUE(std::get<bool>(Format({{"use_mmap", text}})->at(0).value)) << text;
  }
  for (const char* text : {"0", "f", "F", "FALSE", "false", "False"}) {
    EXPECT_FALSE(std::get<bool>(Format({{"use_mmap", text}})->at(0).value)) << text;
  }
}

TEST(Parameters, TakesTheFirstValueOfAScalarWithSeveral) {
  const auto formatted =
      FormatParameters({{"num_ctx", {"1", "x"}}, {"stop", {"a", "b"}}, {"stop", {"c"}}}, nullptr);
  ASSERT_TRUE(formatted) << formatted.error().message;
  EXPECT_EQ(std::get<std::int64_t>(formatted->at(0).value), 1);
  EXPECT_THAT(std::get<std::vector<std::string>>(formatted->at(1).value),
              ElementsAre("a", "b", "c"));
  EXPECT_FALSE(FormatParameters({{"num_ctx", {}}}, nullptr));
}

}  // namespace
}  // namespace corral::modelfile
