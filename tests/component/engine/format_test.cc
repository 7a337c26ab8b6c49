// Structured output: what comes out parses, and bombs are refused quickly.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "bench.h"
#include "engine/llama/schema_limits.h"

namespace corral::engine {
namespace {

using testing::HasSubstr;

GenerateJob Formatted(std::string format, int num_predict = 400) {
  GenerateJob job = Greedy(Words(10, 1), num_predict);
  job.format_json = std::move(format);
  return job;
}

TEST(EngineFormat, GivesAValueOfTheSchema) {
  Bench bench(EndlessModel());
  const Story story = bench.Run(Formatted(
      R"({"type":"object","properties":{"yes":{"type":"boolean"},"which":{"enum":["sky","world"]}},"required":["yes","which"]})"));
  const auto value = nlohmann::json::parse(story.text, nullptr, false);
  ASSERT_TRUE(value.is_object()) << story.text << story.error().message;
  EXPECT_TRUE(value["yes"].is_boolean());
  EXPECT_TRUE(value["which"] == "sky" || value["which"] == "world");
  EXPECT_EQ(story.finish().reason, DoneReason::kStop);
}

TEST(EngineFormat, BeginsAnObjectForJson) {
  Bench bench(EndlessModel());
  const Story story = bench.Run(Formatted("\"json\"", 40));
  ASSERT_TRUE(story.IsFinished()) << story.error().message;
  EXPECT_THAT(story.text, testing::StartsWith("{"));
}

TEST(EngineFormat, RefusesASchemaThatDoesNotCompileAndGoesOn) {
  Bench bench(EndlessModel());
  EXPECT_EQ(bench.Run(Formatted(R"({"type":"no such type"})")).error().code,
            Code::kInvalidArgument);
  EXPECT_EQ(bench.Run(Formatted("{\"type\":")).error().code, Code::kInvalidArgument);
  EXPECT_EQ(bench.Run(Formatted(R"({"$ref":"#/$defs/none"})")).error().code,
            Code::kInvalidArgument);
  EXPECT_TRUE(bench.Run(Greedy("hello", 2)).IsFinished());
}

std::string Nested(int depth) {
  std::string schema;
  for (int i = 0; i < depth; ++i) schema += R"({"items":)";
  schema += "{}";
  for (int i = 0; i < depth; ++i) schema += "}";
  return schema;
}
std::string Properties(int n) {
  std::string schema = R"({"type":"object","properties":{)";
  for (int i = 0; i < n; ++i)
    schema += (i > 0 ? ",\"p" : "\"p") + std::to_string(i) + R"(":{"type":"integer"})";
  return schema + "}}";
}
std::string Enum(int n) {
  std::string schema = R"({"enum":[)";
  for (int i = 0; i < n; ++i) schema += (i > 0 ? "," : "") + std::to_string(i);
  return schema + "]}";
}

TEST(EngineFormat, RefusesBombsByTheirLimits) {
  EXPECT_THAT(CheckSchema(Nested(5'000)).error().message, HasSubstr("nesting"));
  EXPECT_THAT(CheckSchema(Properties(2'000)).error().message, HasSubstr("properties"));
  EXPECT_THAT(CheckSchema(Enum(10'000)).error().message, HasSubstr("choices"));
  EXPECT_THAT(CheckSchema(std::string(100'000, ' ')).error().message, HasSubstr("bytes"));
  EXPECT_THAT(CheckSchema(R"({"type":"string","maxLength":1e300})").error().message,
              HasSubstr("lengths"));
  EXPECT_THAT(CheckSchema("{\"pattern\":\"^" + std::string(5'000, 'a') + "$\"}").error().message,
              HasSubstr("patterns"));
  EXPECT_THAT(CheckSchema("{").error().message, HasSubstr("not valid JSON"));
  EXPECT_EQ(CheckSchema(Nested(5'000)).error().code, Code::kInvalidArgument);
}

TEST(EngineFormat, RefusesBoundsThatNoIntegerHas) {
  const std::string digits = "1000000000000000000000000000000";
  for (const std::string key : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}) {
    for (const std::string& bound : {digits, "-" + digits, std::string("9223372036854775808"),
                                     std::string("18446744073709551616"), std::string("1e300")}) {
      const std::string with = "\"" + key + "\":" + bound;
      for (const std::string& schema :
           {R"({"type":"integer",)" + with + "}", "{" + with + R"(,"type":["null","integer"]})",
            R"({"properties":{"minimum":{"type":"integer",)" + with + "}}}"}) {
        const Status checked = CheckSchema(schema);
        ASSERT_FALSE(checked) << schema;
        EXPECT_EQ(checked.error().code, Code::kInvalidArgument);
        EXPECT_THAT(checked.error().message, HasSubstr(key)) << schema;
        EXPECT_THAT(checked.error().message, HasSubstr("does not fit into 64 bits")) << schema;
      }
      EXPECT_TRUE(CheckSchema(R"({"type":"number",)" + with + "}")) << key;
    }
  }
}

TEST(EngineFormat, TakesBoundsAtTheEdgesOfInt64) {
  Bench bench(EndlessModel());
  for (const std::string bounds :
       {R"("minimum":-9223372036854775808,"maximum":9223372036854775807)",
        R"("minimum":9223372036854775806,"maximum":9223372036854775806)",
        R"("minimum":-9223372036854775807,"maximum":9223372036854775806)",
        R"("exclusiveMinimum":9223372036854775804,"exclusiveMaximum":9223372036854775806)",
        R"("minimum":999999999999999)", R"("maximum":-999999999999999)",
        R"("minimum":519999999999999)", R"("minimum":-9223372036854775806)",
        R"("maximum":9223372036854775806)", R"("minimum":-0.5,"maximum":1e18)",
        R"("minimum":5,"maximum":5)"}) {
    const std::string schema = R"({"type":"integer",)" + bounds + "}";
    ASSERT_TRUE(CheckSchema(schema)) << CheckSchema(schema).error().message;
    const Story story = bench.Run(Formatted(schema, 3));
    EXPECT_TRUE(story.IsFinished()) << schema << ": " << story.error().message;
  }
}

TEST(EngineFormat, RefusesBoundsThatLeaveNoIntegerOrNoGrammar) {
  Bench bench(EndlessModel());
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"("minimum":5,"maximum":1)", "a minimum above its maximum"},
      {R"("exclusiveMinimum":4.5,"exclusiveMaximum":5)", "a minimum above its maximum"},
      {R"("minimum":1000000000000000)", "a minimum of more than 15 digits and no maximum"},
      {R"("minimum":-9223372036854775807)", "a minimum of more than 15 digits and no maximum"},
      {R"("maximum":-1000000000000000)", "a maximum of more than 15 digits below 0"}};
  for (const auto& [bounds, why] : cases) {
    const Story story = bench.Run(Formatted(R"({"type":"integer",)" + bounds + "}"));
    EXPECT_EQ(story.error().code, Code::kInvalidArgument) << bounds;
    EXPECT_THAT(story.error().message, HasSubstr(why)) << bounds;
  }
  EXPECT_TRUE(CheckSchema(R"({"type":"number","minimum":5,"maximum":1})")) << "is not looked at";
}

TEST(EngineFormat, CompilesWhatIsAtTheLimits) {
  Bench bench(EndlessModel());
  const SchemaLimits limits;
  for (const std::string& schema :
       {Nested(limits.depth - 2), Properties(limits.properties), Enum(limits.choices),
        std::string(
            R"({"type":"array","items":{"type":"string","maxLength":1999},"maxItems":1999})")}) {
    ASSERT_TRUE(CheckSchema(schema)) << CheckSchema(schema).error().message;
    const Story story = bench.Run(Formatted(schema, 3));
    EXPECT_TRUE(story.IsFinished()) << story.error().message;
  }
}

}  // namespace
}  // namespace corral::engine
