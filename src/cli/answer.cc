#include "cli/answer.h"

#include <algorithm>
#include <initializer_list>

#include "cli/width.h"
#include "core/text.h"

namespace corral::cli {
namespace {

constexpr int kLeastColumns = 10;  // narrower screens are not wrapped
constexpr int kMargin = 5;         // kept free at the right edge
constexpr int kWordMargin =
    10;  // a word longer than the screen less this is broken where it stands

constexpr std::string_view kGrey = "\x1b[38;5;245m";
constexpr std::string_view kBold = "\x1b[1m";
constexpr std::string_view kReset = "\x1b[0m";

std::string Concat(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (const std::string_view part : parts) out += part;
  return out;
}

// The model asked for a tool that nobody gave it.
std::string ToolCallText(const std::vector<ToolCall>& calls, bool is_plain) {
  const std::string mark = is_plain ? "" : Concat({kGrey, kBold});
  const std::string_view plain = is_plain ? "" : kReset;
  std::string out = mark;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (i > 0) out += "\n";
    out += Concat({"  Model called a non-existent function '", plain, calls[i].name, mark,
                   "()' with arguments: ", plain, calls[i].arguments_json, mark});
  }
  return out + std::string(plain);
}

}  // namespace

std::string WordWrap::Add(std::string_view text) {
  if (columns_ < kLeastColumns) return std::string(text);
  pending_ += text;
  const std::size_t n_whole = pending_.size() - IncompleteUtf8Suffix(pending_);
  std::string out;
  std::string_view rest = std::string_view(pending_).substr(0, n_whole);
  while (!rest.empty()) {
    const Rune rune = DecodeRune(rest);
    AddRune(rune.value, out);
    rest.remove_prefix(rune.size);
  }
  pending_.erase(0, n_whole);
  return out;
}

void WordWrap::AddRune(char32_t rune, std::string& out) {
  const int width = RuneWidth(rune);
  if (rune == '\n' || rune == '\r') {
    AppendRune(out, rune);
    line_width_ = 0;
    word_.clear();
    return;
  }
  if (line_width_ + std::max(width, 1) > columns_ - kMargin && width > 0) {
    const int word_width = TextWidth(word_);
    if (word_width > columns_ - kWordMargin) {
      // Longer than a line: goes on at the edge.
      AppendRune(out, rune);
      word_.clear();
      line_width_ = 0;
      return;
    }
    if (rune == ' ' || rune == '\t') {
      // The blank becomes the line's end.
      out += "\x1b[K\n";
      word_.clear();
      line_width_ = 0;
      return;
    }
    if (word_width > 0) out += "\x1b[" + std::to_string(word_width) + "D";
    out += "\x1b[K\n" + word_;
    line_width_ = word_width;
  }
  AppendRune(out, rune);
  line_width_ += width;
  if (width >= 2 || rune == ' ' || rune == '\t') {
    word_.clear();
  } else {
    AppendRune(word_, rune);
  }
}

std::string AnswerWriter::Add(const AnswerRecord& record) {
  std::string out;
  if (!record.thinking.empty()) {
    thinking_ += record.thinking;
    if (!style_.hide_thinking) {
      if (!is_thinking_) {
        constexpr std::string_view kOpening = "Thinking...\n";
        out += style_.is_plain ? std::string(kOpening)
                               : Concat({kGrey, kBold, kOpening, kReset, kGrey});
        is_thinking_ = true;
      }
      out += wrap_.Add(record.thinking);
    }
  }
  if (is_thinking_ && (!record.text.empty() || !record.tool_calls.empty())) {
    constexpr std::string_view kClosing = "...done thinking.\n\n";
    if (!thinking_.ends_with('\n')) out += "\n";
    out += style_.is_plain ? std::string(kClosing) : Concat({kGrey, kBold, kClosing, kReset});
    is_thinking_ = false;
    wrap_ = WordWrap(style_.wrap_columns);
  }
  text_ += record.text;
  if (!record.tool_calls.empty()) out += ToolCallText(record.tool_calls, style_.is_plain);
  return out + wrap_.Add(record.text);
}

std::string AnswerWriter::End() {
  const bool is_grey = is_thinking_ && !style_.is_plain;
  is_thinking_ = false;
  return is_grey ? std::string(kReset) : "";
}

}  // namespace corral::cli
