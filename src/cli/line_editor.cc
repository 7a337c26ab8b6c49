#include "cli/line_editor.h"

#include <algorithm>
#include <utility>

#include "cli/width.h"
#include "core/text.h"

namespace corral::cli {
namespace {

constexpr char kEscape = '\x1b';
constexpr std::string_view kGrey = "\x1b[38;5;245m";
constexpr std::string_view kReset = "\x1b[0m";
constexpr int kTabWidth = 8;
constexpr char32_t kZeroWidthJoiner = 0x200d;

constexpr char Control(char letter) { return static_cast<char>(letter & 0x1f); }

std::u32string ToRunes(std::string_view text) {
  std::u32string runes;
  while (!text.empty()) {
    const Rune rune = DecodeRune(text);
    if (rune.is_valid) runes += rune.value;
    text.remove_prefix(rune.size);
  }
  return runes;
}

std::string ToUtf8(const std::u32string& runes) {
  std::string text;
  for (const char32_t rune : runes) AppendRune(text, rune);
  return text;
}

// Belongs to the character before it: a combining mark, a variation selector, a joiner.
bool IsMark(char32_t rune) { return rune != '\n' && rune != '\t' && RuneWidth(rune) == 0; }

bool IsBlank(char32_t rune) { return rune == ' ' || rune == '\n' || rune == '\t'; }

}  // namespace

std::string LineEditor::Start(const std::vector<std::string>& history, int columns,
                              bool use_alt_prompt, std::string_view prefill) {
  history_ = &history;
  history_index_ = history.size();
  columns_ = columns;
  use_alt_prompt_ = use_alt_prompt;
  text_ = ToRunes(prefill);
  cursor_ = text_.size();
  draft_.clear();
  is_final_ = false;
  drawn_cursor_row_ = 0;
  return Draw();
}

LineEditor::Event LineEditor::Feed(std::string_view keys, std::string* screen) {
  pending_ += keys;
  Event event = Event::kNone;
  bool has_changed = false;
  while (event == Event::kNone && !pending_.empty() && TakeKey(&event, screen)) has_changed = true;
  if (event == Event::kNone) {
    if (has_changed) *screen += Draw();
  } else {
    *screen += DrawFinal();
  }
  return event;
}

std::string LineEditor::Redraw() {
  drawn_cursor_row_ = 0;
  is_final_ = false;
  return Draw();
}

std::string LineEditor::entry() const { return ToUtf8(text_); }

// ---- keys ----

bool LineEditor::TakeKey(Event* event, std::string* screen) {
  if (pending_[0] == kEscape) return TakeEscape();
  if (IncompleteUtf8Suffix(pending_) == pending_.size()) return false;
  const Rune rune = DecodeRune(pending_);
  pending_.erase(0, rune.size);
  if (!rune.is_valid) return true;
  if (is_pasting_) {
    OnPasted(rune.value);
  } else if (rune.value < 0x20 || rune.value == 0x7f) {
    *event = OnControl(static_cast<char>(rune.value), screen);
  } else {
    Insert(rune.value);
  }
  return true;
}

bool LineEditor::TakeEscape() {
  if (pending_.size() < 2) return false;
  if (pending_[1] != '[' && pending_[1] != 'O') {
    if (IncompleteUtf8Suffix(pending_) == pending_.size() - 1) return false;
    const Rune letter = DecodeRune(std::string_view(pending_).substr(1));
    pending_.erase(0, 1 + letter.size);
    if (!is_pasting_) OnEscapedLetter(letter.value);
    return true;
  }
  // ESC [ parameters final (ECMA-48), or ESC O final.
  std::size_t end = 2;
  while (end < pending_.size() && pending_[end] >= 0x20 && pending_[end] < 0x40) ++end;
  if (end == pending_.size()) return false;
  const std::string sequence = pending_.substr(2, end - 1);
  pending_.erase(0, end + 1);
  Key key = Key::kUnknown;
  if (sequence == "200~") key = Key::kPasteStart;
  if (sequence == "201~") key = Key::kPasteEnd;
  if (sequence == "A") key = Key::kUp;
  if (sequence == "B") key = Key::kDown;
  if (sequence == "C") key = Key::kRight;
  if (sequence == "D") key = Key::kLeft;
  if (sequence == "H" || sequence == "1~" || sequence == "7~") key = Key::kHome;
  if (sequence == "F" || sequence == "4~" || sequence == "8~") key = Key::kEnd;
  if (sequence == "3~") key = Key::kDelete;
  if (!is_pasting_ || key == Key::kPasteEnd) OnKey(key);
  if (sequence == "1;3D" || sequence == "1;5D") OnEscapedLetter('b');
  if (sequence == "1;3C" || sequence == "1;5C") OnEscapedLetter('f');
  return true;
}

void LineEditor::OnEscapedLetter(char32_t letter) {
  if (letter == 'b') cursor_ = PreviousWord();
  if (letter == 'f') cursor_ = NextWord();
  if (letter == 0x7f || letter == 0x08) Erase(PreviousWord(), cursor_);
}

void LineEditor::OnKey(Key key) {
  switch (key) {
    case Key::kUp:
      if (history_index_ > 0) ShowHistory(history_index_ - 1);
      break;
    case Key::kDown:
      if (history_index_ < history_->size()) ShowHistory(history_index_ + 1);
      break;
    case Key::kLeft:
      cursor_ = PreviousCharacter(cursor_);
      break;
    case Key::kRight:
      cursor_ = NextCharacter(cursor_);
      break;
    case Key::kHome:
      cursor_ = LineStart();
      break;
    case Key::kEnd:
      cursor_ = LineEnd();
      break;
    case Key::kDelete:
      Erase(cursor_, NextCharacter(cursor_));
      break;
    case Key::kPasteStart:
      is_pasting_ = true;
      break;
    case Key::kPasteEnd:
      is_pasting_ = false;
      was_carriage_return_ = false;
      break;
    case Key::kUnknown:
      break;
  }
}

LineEditor::Event LineEditor::OnControl(char control, std::string* screen) {
  switch (control) {
    case '\r':
      return Event::kEntry;
    case '\n':
      Insert('\n');
      break;  // Ctrl+J
    case '\t':
      for (int i = 0; i < kTabWidth; ++i) Insert(' ');
      break;
    case Control('A'):
      OnKey(Key::kHome);
      break;
    case Control('B'):
      OnKey(Key::kLeft);
      break;
    case Control('C'):
      return Event::kInterrupt;
    case Control('D'):
      if (text_.empty()) return Event::kEndOfInput;
      OnKey(Key::kDelete);
      break;
    case Control('E'):
      OnKey(Key::kEnd);
      break;
    case Control('F'):
      OnKey(Key::kRight);
      break;
    case Control('G'):
      return Event::kOpenEditor;
    case Control('H'):
    case 0x7f:
      Erase(PreviousCharacter(cursor_), cursor_);
      break;
    case Control('K'):
      Erase(cursor_, LineEnd());
      break;
    case Control('L'):
      *screen += "\x1b[2J\x1b[H";
      drawn_cursor_row_ = 0;
      break;
    case Control('N'):
      OnKey(Key::kDown);
      break;
    case Control('P'):
      OnKey(Key::kUp);
      break;
    case Control('U'):
      Erase(LineStart(), cursor_);
      break;
    case Control('W'):
      Erase(PreviousWord(), cursor_);
      break;
    case Control('Z'):
      return Event::kSuspend;
    default:
      break;
  }
  return Event::kNone;
}

void LineEditor::OnPasted(char32_t rune) {
  const bool follows_return = std::exchange(was_carriage_return_, rune == '\r');
  if (rune == '\r' || (rune == '\n' && !follows_return)) {
    Insert('\n');
  } else if (rune == '\t' || (rune >= 0x20 && rune != 0x7f)) {
    Insert(rune);
  }
}

// ---- the text ----

void LineEditor::Insert(char32_t rune) {
  text_.insert(text_.begin() + static_cast<std::ptrdiff_t>(cursor_), rune);
  ++cursor_;
}

void LineEditor::Erase(std::size_t from, std::size_t to) {
  text_.erase(from, to - from);
  cursor_ = from;
}

void LineEditor::ShowHistory(std::size_t index) {
  if (history_index_ == history_->size()) draft_ = text_;
  history_index_ = index;
  text_ = index == history_->size() ? draft_ : ToRunes((*history_)[index]);
  cursor_ = text_.size();
}

std::size_t LineEditor::LineStart() const {
  const std::size_t before = cursor_ == 0 ? Text::npos : text_.rfind(U'\n', cursor_ - 1);
  return before == Text::npos ? 0 : before + 1;
}

std::size_t LineEditor::LineEnd() const {
  return std::min(text_.find(U'\n', cursor_), text_.size());
}

std::size_t LineEditor::PreviousCharacter(std::size_t at) const {
  while (at > 0) {
    --at;
    const bool joins = at > 0 && text_[at - 1] == kZeroWidthJoiner;
    if (!IsMark(text_[at]) && !joins) break;
  }
  return at;
}

std::size_t LineEditor::NextCharacter(std::size_t at) const {
  if (at < text_.size()) ++at;
  while (at < text_.size() && (IsMark(text_[at]) || text_[at - 1] == kZeroWidthJoiner)) ++at;
  return at;
}

std::size_t LineEditor::PreviousWord() const {
  std::size_t at = cursor_;
  while (at > 0 && IsBlank(text_[at - 1])) --at;
  while (at > 0 && !IsBlank(text_[at - 1])) --at;
  return at;
}

std::size_t LineEditor::NextWord() const {
  std::size_t at = cursor_;
  while (at < text_.size() && IsBlank(text_[at])) ++at;
  while (at < text_.size() && !IsBlank(text_[at])) ++at;
  return at;
}

// ---- the screen ----

LineEditor::Layout LineEditor::MakeLayout() const {
  Layout layout;
  int column = 0;
  const auto start_row = [&](const std::string& prompt) {
    layout.rows.push_back(prompt);
    layout.widths.push_back(TextWidth(prompt));
    column = layout.widths.back();
  };
  const auto mark_cursor = [&] {
    layout.cursor_row = static_cast<int>(layout.rows.size()) - 1;
    layout.cursor_column = column;
  };
  start_row(use_alt_prompt_ ? prompts_.alt_prompt : prompts_.prompt);
  for (std::size_t i = 0; i < text_.size(); ++i) {
    const char32_t rune = text_[i];
    const int width = rune == '\t' ? kTabWidth : RuneWidth(rune);
    if (rune != '\n' && width > 0 && column + width > columns_) start_row("");
    if (i == cursor_) mark_cursor();
    if (rune == '\n') {
      start_row(prompts_.alt_prompt);
      continue;
    }
    if (rune == '\t') {
      layout.rows.back().append(kTabWidth, ' ');
    } else {
      AppendRune(layout.rows.back(), rune);
    }
    column += width;
    layout.widths.back() = column;
  }
  // A full last row: the cursor waits at the beginning of the next one.
  if (column >= columns_) start_row("");
  if (cursor_ == text_.size()) mark_cursor();
  if (text_.empty() && !is_final_) {
    std::string hint = use_alt_prompt_ ? prompts_.alt_placeholder : prompts_.placeholder;
    const int room = columns_ - column - 1;
    if (TextWidth(hint) > room) hint.resize(static_cast<std::size_t>(std::max(room, 0)));
    layout.rows[0] += std::string(kGrey) + hint + std::string(kReset);
    layout.widths[0] += static_cast<int>(hint.size());
  }
  return layout;
}

std::string LineEditor::Draw() {
  const Layout layout = MakeLayout();
  std::string out;
  if (drawn_cursor_row_ > 0) out += "\x1b[" + std::to_string(drawn_cursor_row_) + "A";
  out += "\r";
  for (std::size_t row = 0; row < layout.rows.size(); ++row) {
    if (row > 0) out += "\r\n";
    out += layout.rows[row];
    // Behind the last cell the cursor still stands on it: erasing would take that cell away.
    if (layout.widths[row] < columns_) out += "\x1b[K";
  }
  out += "\x1b[J";
  const int up = static_cast<int>(layout.rows.size()) - 1 - layout.cursor_row;
  if (up > 0) out += "\x1b[" + std::to_string(up) + "A";
  out += "\r";
  if (layout.cursor_column > 0) out += "\x1b[" + std::to_string(layout.cursor_column) + "C";
  drawn_cursor_row_ = layout.cursor_row;
  return out;
}

std::string LineEditor::DrawFinal() {
  is_final_ = true;
  const std::size_t cursor = std::exchange(cursor_, text_.size());
  std::string out = Draw();
  cursor_ = cursor;
  return out;
}

}  // namespace corral::cli
