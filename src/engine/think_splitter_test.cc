#include "engine/think_splitter.h"

#include <gtest/gtest.h>

#include <vector>

namespace corral::engine {
namespace {

struct Case {
  std::string_view output;
  bool is_inside;
  std::string_view thinking, text;
};

const std::vector<Case> kCases = {
    {"<think>why</think>because", false, "why", "because"},
    {" \n<think>\n why\n</think>\n\nbecause\n", false, "why\n", "because\n"},
    {"no thinking", false, "", "no thinking"},
    {"  blanks stay", false, "", "  blanks stay"},
    {"x<think>late</think>", false, "", "x<think>late</think>"},
    {"<thin ice", false, "", "<thin ice"},
    {"<think>a < b </thin air></think>yes", false, "a < b </thin air>", "yes"},
    {"\nwhy</think> yes", true, "why", "yes"},
    {"<think>never ends </thi", false, "never ends </thi", ""},
    {"<thi", false, "", "<thi"},
    {"<think></think>x</think>", false, "", "x</think>"},
    {"", false, "", ""},
};

TEST(ThinkSplitter, SplitsAtEveryWayToCutTheStream) {
  for (const Case& one : kCases) {
    for (std::size_t size = 1; size <= std::max<std::size_t>(one.output.size(), 1); ++size) {
      ThinkSplitter splitter("<think>", "</think>", one.is_inside);
      std::string thinking;
      std::string text;
      const auto take = [&](const ThinkSplitter::Parts& parts) {
        thinking += parts.thinking;
        text += parts.text;
      };
      for (std::size_t at = 0; at < one.output.size(); at += size)
        take(splitter.Add(one.output.substr(at, size)));
      take(splitter.Finish());
      EXPECT_EQ(thinking, one.thinking) << one.output << " in pieces of " << size;
      EXPECT_EQ(text, one.text) << one.output << " in pieces of " << size;
    }
  }
}

TEST(ThinkSplitter, ShowsThinkingWhileItComes) {
  ThinkSplitter splitter("<think>", "</think>", false);
  EXPECT_EQ(splitter.Add("<think>one").thinking, "one");
  EXPECT_EQ(splitter.Add(" two").thinking, " two");
  EXPECT_EQ(splitter.Add(" </").thinking, "");
  EXPECT_EQ(splitter.Add("b>").thinking, " </b>");
}

TEST(BegunMark, IsTheLongestBeginning) {
  EXPECT_EQ(BegunMark("a</th", "</think>"), 4U);
  EXPECT_EQ(BegunMark("aa", "aaa"), 2U);
  EXPECT_EQ(BegunMark("x", "</think>"), 0U);
  EXPECT_EQ(BegunMark("", "y"), 0U);
}

}  // namespace
}  // namespace corral::engine
