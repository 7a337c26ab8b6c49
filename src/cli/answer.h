// How a streamed answer is written: words wrapped at the screen's edge, thinking marked, tool calls
// named.
//
// Pure: records in, bytes for stdout out. Wrapping is done after the fact, since a word's end is
// not known before it came: the cursor goes back over the word, which then begins the next line.
#pragma once

#include <string>
#include <string_view>

#include "cli/client.h"

namespace corral::cli {

class WordWrap {
 public:
  // `columns` of the screen; below 10 nothing is wrapped.
  explicit WordWrap(int columns) : columns_(columns) {}
  // What to write for some more text. Whole UTF-8 or not: an incomplete character waits for its
  // rest.
  std::string Add(std::string_view text);

 private:
  void AddRune(char32_t rune, std::string& out);

  int columns_;
  int line_width_ = 0;
  std::string word_;  // since the last blank, on this line
  std::string pending_;
};

struct AnswerStyle {
  int wrap_columns = 0;  // 0: no wrapping
  bool hide_thinking = false;
  bool is_plain = false;  // no colours
};

class AnswerWriter {
 public:
  explicit AnswerWriter(AnswerStyle style) : style_(style), wrap_(style.wrap_columns) {}
  // What to write for `record`; may be empty.
  std::string Add(const AnswerRecord& record);
  // What to write when the answer ends before its thinking did: the colour goes.
  std::string End();
  // The answer so far, without thinking.
  const std::string& text() const { return text_; }
  const std::string& thinking() const { return thinking_; }

 private:
  AnswerStyle style_;
  WordWrap wrap_;
  bool is_thinking_ = false;
  std::string text_;
  std::string thinking_;
};

}  // namespace corral::cli
