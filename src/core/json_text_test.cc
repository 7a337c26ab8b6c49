#include "core/json_text.h"

#include <gtest/gtest.h>

#include <string>

namespace corral {
namespace {

TEST(SkipJsonString, StopsBehindTheClosingQuote) {
  EXPECT_EQ(SkipJsonString(R"("a" x)", 0), 3U);
  EXPECT_EQ(SkipJsonString(R"(x "a\\" y)", 2), 7U) << "the backslash is escaped, the quote is not";
  EXPECT_EQ(SkipJsonString(R"("a\"b" c)", 0), 6U);
}

TEST(SkipJsonString, EndsWithTheTextWhereTheStringDoesNot) {
  for (const std::string_view text : {"\"", "\"a", "\"a\\\"", "\"a\\"}) {
    EXPECT_EQ(SkipJsonString(text, 0), text.size()) << text;
  }
}

TEST(IsJsonDeeperThan, CountsWhatIsOutsideStrings) {
  EXPECT_FALSE(IsJsonDeeperThan(R"([{"a":[1]}])", 3));
  EXPECT_TRUE(IsJsonDeeperThan(R"([{"a":[1]}])", 2));
  EXPECT_FALSE(IsJsonDeeperThan(R"(["[[[[", "\"[[[", {"}}": "{{"}])", 2));
  EXPECT_FALSE(IsJsonDeeperThan("[][][]", 1));
  EXPECT_FALSE(IsJsonDeeperThan("\"[[[[", 0)) << "a string that does not end";
  EXPECT_TRUE(IsJsonDeeperThan(std::string(513, '['), 512));
}

}  // namespace
}  // namespace corral
