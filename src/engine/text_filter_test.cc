#include "engine/text_filter.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/text.h"

namespace corral::engine {
namespace {

std::string All(TextFilter& filter, const std::vector<std::string>& tokens) {
  std::string shown;
  for (const std::string& token : tokens) shown += filter.Add(token);
  return shown;
}

TEST(TextFilter, ShowsTextAtOnceWhenNothingCanHoldItBack) {
  TextFilter filter({});
  EXPECT_EQ(filter.Add("Hello"), "Hello");
  EXPECT_EQ(filter.Add(" world"), " world");
  EXPECT_EQ(filter.Flush(), "");
}

TEST(TextFilter, HoldsBackHalfACodePointUntilItIsWhole) {
  TextFilter filter({});
  EXPECT_EQ(filter.Add("a\xF0\x9F"), "a");
  EXPECT_EQ(filter.Add("\x98"), "");
  EXPECT_EQ(filter.Add("\x80!"), "\xF0\x9F\x98\x80!");
}

TEST(TextFilter, ReplacesBytesThatCannotBecomeACodePoint) {
  TextFilter filter({});
  EXPECT_EQ(filter.Add("a\xFF") + filter.Add("b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(filter.Add("\xE2\x82"), "");
  EXPECT_EQ(filter.Flush(), "\xEF\xBF\xBD");
}

TEST(TextFilter, RefusesOverlongFormsAndSurrogates) {
  EXPECT_EQ(ReplaceInvalidUtf8("\xC0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(ReplaceInvalidUtf8("\xF4\x90\x80\x80"),
            "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(ReplaceInvalidUtf8("gr\xC3\xBC\xC3\x9F"), "gr\xC3\xBC\xC3\x9F");
}

TEST(TextFilter, CutsAtAStopStringThatSpansTokens) {
  TextFilter filter({"<end>"});
  EXPECT_EQ(All(filter, {"one <", "en", "d> two"}), "one ");
  EXPECT_TRUE(filter.HasStopped());
  EXPECT_EQ(filter.Add("more"), "");
  EXPECT_EQ(filter.Flush(), "");
}

TEST(TextFilter, LetsGoOfAStartThatDidNotBecomeAStop) {
  TextFilter filter({"<end>"});
  EXPECT_EQ(filter.Add("a<e"), "a");
  EXPECT_EQ(filter.Add("xit"), "<exit");
}

TEST(TextFilter, FlushesAPossibleStartAtTheEnd) {
  TextFilter filter({"<end>"});
  EXPECT_EQ(filter.Add("a<en"), "a");
  EXPECT_EQ(filter.Flush(), "<en");
}

TEST(TextFilter, TakesTheEarliestOfSeveralStops) {
  TextFilter filter({"zwei", "eins"});
  EXPECT_EQ(filter.Add("null eins zwei"), "null ");
}

TEST(TextFilter, FindsAStopThatBeginsInsideAFailedStart) {
  TextFilter filter({"aab"});
  EXPECT_EQ(All(filter, {"a", "a", "a", "a", "b", "c"}), "aa");
  EXPECT_TRUE(filter.HasStopped());
}

TEST(TextFilter, AgreesWithAPlainSearchOnRandomTexts) {
  std::mt19937 random(1);
  const auto word = [&](std::size_t most) {
    std::string text(1 + random() % most, 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    const std::vector<std::string> stops = {word(5), word(5), word(5)};
    TextFilter filter(stops);
    std::string all, shown;
    for (int i = 0; i < 8 && !filter.HasStopped(); ++i) {
      const std::string token = word(4);
      all += token;
      shown += filter.Add(token);
      std::size_t earliest = std::string::npos;
      for (const std::string& stop : stops) earliest = std::min(earliest, all.find(stop));
      ASSERT_EQ(filter.HasStopped(), earliest != std::string::npos) << all;
      if (filter.HasStopped()) {
        ASSERT_EQ(shown, all.substr(0, earliest)) << all;
      }
    }
    if (!filter.HasStopped()) {
      ASSERT_EQ(shown + filter.Flush(), all);
    }
  }
}

TEST(TextFilter, IgnoresAnEmptyStop) {
  TextFilter filter({""});
  EXPECT_EQ(filter.Add("text"), "text");
  EXPECT_FALSE(filter.HasStopped());
}

TEST(TextFilter, FindsAStopThatEndsInsideACodePointsBytes) {
  TextFilter filter({"\xC3\xBC"});
  EXPECT_EQ(filter.Add("f\xC3"), "f");
  EXPECT_EQ(filter.Add("\xBCr"), "");
  EXPECT_TRUE(filter.HasStopped());
}

}  // namespace
}  // namespace corral::engine
