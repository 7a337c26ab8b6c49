#include "cli/line_editor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/testing/screen.h"

namespace corral::cli {
namespace {

using ::testing::ElementsAre;
using Event = LineEditor::Event;

class LineEditorTest : public ::testing::Test {
 protected:
  void Begin(int columns = 40, std::vector<std::string> history = {}, bool use_alt_prompt = false,
             std::string_view prefill = {}) {
    history_ = std::move(history);
    screen_ = testing::Screen(columns);
    screen_.Write(editor_.Start(history_, columns, use_alt_prompt, prefill));
  }
  Event Type(std::string_view keys) {
    std::string bytes;
    const Event event = editor_.Feed(keys, &bytes);
    screen_.Write(bytes);
    return event;
  }

  std::vector<std::string> history_;
  LineEditor editor_{EditorPrompts{}};
  testing::Screen screen_{40};
};

TEST_F(LineEditorTest, AnEmptyEntryShowsThePlaceholderBehindTheCursor) {
  Begin();
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> Send a message (/? for help)"));
  EXPECT_EQ(screen_.column(), 4);
}

TEST_F(LineEditorTest, ThePlaceholderGoesWithTheFirstKeyAndComesBack) {
  Begin();
  Type("a");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> a"));
  Type("\x7f");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> Send a message (/? for help)"));
  EXPECT_EQ(Type("\r"), Event::kEntry);
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>>"));
}

TEST_F(LineEditorTest, AnOpenBlockHasItsOwnPromptAndPlaceholder) {
  Begin(40, {}, true);
  EXPECT_THAT(screen_.Rows(), ElementsAre("... Press Enter to send"));
}

TEST_F(LineEditorTest, ANarrowScreenCutsThePlaceholder) {
  Begin(12);
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> Send a"));
}

TEST_F(LineEditorTest, EnterGivesTheEntryAndKeepsWhatWasTypedAhead) {
  Begin();
  EXPECT_EQ(Type("one\rtwo\r"), Event::kEntry);
  EXPECT_EQ(editor_.entry(), "one");
  screen_.Write("\r\n" + editor_.Start(history_, 40, false));
  EXPECT_EQ(Type(""), Event::kEntry);
  EXPECT_EQ(editor_.entry(), "two");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> one", ">>> two"));
}

TEST_F(LineEditorTest, MovesAndInsertsInTheMiddle) {
  Begin();
  Type("held\x02\x02");
  Type("llo wor");
  EXPECT_EQ(editor_.entry(), "hello world");
  EXPECT_EQ(screen_.column(), 4 + 9);
  Type("\x01>\x05<\x1b[H-\x1b[F-");
  EXPECT_EQ(editor_.entry(), "->hello world<-");
}

TEST_F(LineEditorTest, DeletesCharactersWordsAndLines) {
  Begin();
  Type("one two  three");
  Type("\x17");  // Ctrl+W
  EXPECT_EQ(editor_.entry(), "one two  ");
  Type("\x1b\x7f");  // Alt+Backspace
  EXPECT_EQ(editor_.entry(), "one ");
  Type(
      "two three\x1b"
      "b\x0b");  // Alt+B, Ctrl+K
  EXPECT_EQ(editor_.entry(), "one two ");
  Type(
      "\x1b"
      "b\x1b"
      "b\x1b"
      "f\x15");  // Alt+B twice, Alt+F, Ctrl+U
  EXPECT_EQ(editor_.entry(), " two ");
  Type("\x01\x04\x1b[3~");  // Ctrl+A, Ctrl+D, Delete
  EXPECT_EQ(editor_.entry(), "wo ");
}

TEST_F(LineEditorTest, ControlCAndControlDAreEvents) {
  Begin();
  EXPECT_EQ(Type("\x04"), Event::kEndOfInput);
  Begin();
  EXPECT_EQ(Type("text\x03"), Event::kInterrupt);
  Begin();
  EXPECT_EQ(Type("text\x07"), Event::kOpenEditor);
  EXPECT_EQ(editor_.entry(), "text");
  Begin();
  EXPECT_EQ(Type("text\x1a"), Event::kSuspend);
}

TEST_F(LineEditorTest, AfterASuspensionTheEntryIsDrawnAgain) {
  Begin();
  Type("text\x02\x1a");
  screen_.Write("\r\nshell\r\n" + editor_.Redraw());
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> text", "shell", ">>> text"));
  EXPECT_EQ(screen_.column(), 7);
}

TEST_F(LineEditorTest, TheArrowsWalkThroughTheHistoryAndBackToTheDraft) {
  Begin(40, {"first", "second"});
  Type("dra\x1b[A");
  EXPECT_EQ(editor_.entry(), "second");
  Type("\x10");  // Ctrl+P
  EXPECT_EQ(editor_.entry(), "first");
  Type("\x1b[A");
  EXPECT_EQ(editor_.entry(), "first");
  Type("\x1b[B\x0e");  // down, Ctrl+N
  EXPECT_EQ(editor_.entry(), "dra");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> dra"));
}

TEST_F(LineEditorTest, LongEntriesGoOnInTheNextRow) {
  Begin(10);
  Type("abcdefghijkl");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> abcdef", "ghijkl"));
  EXPECT_EQ(screen_.row(), 1U);
  EXPECT_EQ(screen_.column(), 6);
  Type("\x01X");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> Xabcde", "fghijkl"));
  EXPECT_EQ(screen_.row(), 0U);
  EXPECT_EQ(screen_.column(), 5);
  Type("\x0b");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> X"));
}

TEST_F(LineEditorTest, AFullRowPutsTheCursorOnTheNextOne) {
  Begin(10);
  Type("abcdef");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> abcdef"));
  EXPECT_EQ(screen_.row(), 1U);
  EXPECT_EQ(screen_.column(), 0);
  Type("\x7f");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> abcde"));
  EXPECT_EQ(screen_.row(), 0U);
}

TEST_F(LineEditorTest, WideCharactersTakeTwoCells) {
  Begin(10);
  Type("日本語");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> 日本語"));
  Type("x\x02\x02");
  EXPECT_EQ(screen_.row(), 0U);
  EXPECT_EQ(screen_.column(), 8);
  Type("\x7f");
  EXPECT_EQ(editor_.entry(), "日語x");
}

TEST_F(LineEditorTest, AWideCharacterIsNotCutAtTheEdge) {
  Begin(9);
  Type("ab日本");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> ab日", "本"));
}

TEST_F(LineEditorTest, MarksAndJoinedEmojiMoveWithTheirBase) {
  Begin();
  Type("e\xcc\x81x\x02\x02");  // e + combining acute
  EXPECT_EQ(screen_.column(), 4);
  Type("\x1b[3~");
  EXPECT_EQ(editor_.entry(), "x");
  Type("\x05\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb\x7f");  // woman, joiner, laptop
  EXPECT_EQ(editor_.entry(), "x");
}

TEST_F(LineEditorTest, ACharacterMayComeInPieces) {
  Begin();
  Type("\xe6");
  Type("\x97");
  EXPECT_EQ(editor_.entry(), "");
  Type("\xa5\x1b");
  Type("[");
  Type("D!");
  EXPECT_EQ(editor_.entry(), "!日");
}

TEST_F(LineEditorTest, BytesThatAreNoTextAreDropped) {
  Begin();
  Type("a\xff\xc0z\x1b[99~\x1b[200;5uq");
  EXPECT_EQ(editor_.entry(), "azq");
}

TEST_F(LineEditorTest, APasteKeepsItsLinesAndSendsOnlyOnEnter) {
  Begin();
  EXPECT_EQ(Type("\x1b[200~one\r\ntwo\rthree\n\x03\tend\x1b[201~"), Event::kNone);
  EXPECT_EQ(editor_.entry(), "one\ntwo\nthree\n\tend");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> one", "... two", "... three", "...         end"));
  EXPECT_EQ(Type("\r"), Event::kEntry);
}

TEST_F(LineEditorTest, ControlJMakesALineAndBackspaceJoinsItAgain) {
  Begin();
  Type("one\ntwo\x01");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> one", "... two"));
  EXPECT_EQ(screen_.row(), 1U);
  EXPECT_EQ(screen_.column(), 4);
  Type("\x7f");
  EXPECT_EQ(editor_.entry(), "onetwo");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>> onetwo"));
}

TEST_F(LineEditorTest, TabIsEightBlanksAndControlLClearsTheScreen) {
  Begin();
  screen_.Write("\r\nnoise\r\n");
  Type("\tx\x0c");
  EXPECT_THAT(screen_.Rows(), ElementsAre(">>>         x"));
}

TEST_F(LineEditorTest, APrefillIsEditedAtItsEnd) {
  Begin(40, {}, false, "from elsewhere");
  Type("!");
  EXPECT_EQ(editor_.entry(), "from elsewhere!");
}

TEST_F(LineEditorTest, AnyBytesLeaveItInOrder) {
  // A cheap stand-in for a fuzzer: the same bytes every time.
  std::uint32_t state = 1;
  for (int round = 0; round < 200; ++round) {
    Begin(11, {"日本\nx", ""});
    std::string keys;
    for (int i = 0; i < 60; ++i) {
      state = state * 1664525U + 1013904223U;
      constexpr std::string_view kLikely = "ab \x1b[DCABH~\x7f\x01\x05\x02\x06\x17\n";
      const std::uint32_t pick = state >> 24U;
      keys += pick < 128 ? kLikely[pick % kLikely.size()] : static_cast<char>(state >> 16U);
    }
    while (Type(keys) != Event::kNone) {
      Begin(11, {"日本\nx", ""});
      keys.clear();
    }
    EXPECT_TRUE(IsValidUtf8(editor_.entry()));
  }
}

}  // namespace
}  // namespace corral::cli
