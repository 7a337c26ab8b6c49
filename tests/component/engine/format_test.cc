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
