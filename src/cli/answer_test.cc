#include "cli/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/testing/screen.h"

namespace corral::cli {
namespace {

using ::testing::ElementsAre;

// What a screen of `columns` shows of a text that comes character by character.
std::vector<std::string> Shown(std::string_view text, int columns) {
  WordWrap wrap(columns);
  testing::Screen screen(columns);
  for (const char c : text) {
    screen.WriteCooked(wrap.Add({&c, 1}));
  }
  return screen.Rows();
}

AnswerRecord Thought(std::string text) {
  AnswerRecord record;
  record.thinking = std::move(text);
  return record;
}

AnswerRecord Said(std::string text) {
  AnswerRecord record;
  record.text = std::move(text);
  return record;
}

TEST(WordWrap, PullsAWordThatDoesNotFitToTheNextLine) {
  EXPECT_THAT(Shown("the quick brown fox jumps", 20), ElementsAre("the quick brown", "fox jumps"));
}

TEST(WordWrap, KeepsTheTextsOwnLines) {
  EXPECT_THAT(Shown("one\ntwo\n\nthree four five six", 20),
              ElementsAre("one", "two", "", "three four five", "six"));
}

TEST(WordWrap, LetsAWordRunOnThatIsLongerThanALine) {
  EXPECT_THAT(Shown("abcdefghijklmnopqrstuvwxyz", 20),
              ElementsAre("abcdefghijklmnopqrst", "uvwxyz"));
}

TEST(WordWrap, MayBreakBehindAWideCharacter) {
  EXPECT_THAT(Shown("日本語日本語日本語", 16), ElementsAre("日本語日本", "語日本語"));
}

TEST(WordWrap, LeavesANarrowScreenAndNoScreenAlone) {
  EXPECT_EQ(WordWrap(9).Add("a b c d e f g h"), "a b c d e f g h");
  EXPECT_EQ(WordWrap(0).Add("\xff"), "\xff");
}

TEST(AnswerWriter, MarksThinkingWithoutColoursOutsideATerminal) {
  AnswerWriter writer({.is_plain = true});
  std::string out;
  for (const AnswerRecord& record : {Thought("Hm"), Thought("m."), Said("Yes"), Said(".")})
    out += writer.Add(record);
  EXPECT_EQ(out + writer.End(), "Thinking...\nHmm.\n...done thinking.\n\nYes.");
  EXPECT_EQ(writer.text(), "Yes.");
  EXPECT_EQ(writer.thinking(), "Hmm.");
}

TEST(AnswerWriter, HasColoursOnATerminalAndTakesThemBack) {
  AnswerWriter writer({});
  EXPECT_EQ(writer.Add(Thought("Hm\n")),
            "\x1b[38;5;245m\x1b[1mThinking...\n\x1b[0m\x1b[38;5;245mHm\n");
  EXPECT_EQ(writer.End(), "\x1b[0m");
  EXPECT_EQ(writer.End(), "");
}

TEST(AnswerWriter, HidesThinking) {
  AnswerWriter writer({.hide_thinking = true, .is_plain = true});
  EXPECT_EQ(writer.Add(Thought("Hm")) + writer.Add(Said("Yes")), "Yes");
}

TEST(AnswerWriter, NamesToolsThatNobodyGave) {
  AnswerWriter writer({.is_plain = true});
  AnswerRecord record;
  ToolCall call;
  call.name = "weather";
  call.arguments_json = "{\"city\":\"Bonn\"}";
  record.tool_calls = {call};
  EXPECT_EQ(
      writer.Add(record),
      "  Model called a non-existent function 'weather()' with arguments: {\"city\":\"Bonn\"}");
}

}  // namespace
}  // namespace corral::cli
