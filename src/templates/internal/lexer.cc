#include "templates/internal/lexer.h"

#include <algorithm>
#include <array>
#include <utility>

namespace corral::templates::internal {
namespace {

constexpr std::string_view kLeftDelim = "{{";
constexpr std::string_view kRightDelim = "}}";
constexpr std::string_view kLeftComment = "/*";
constexpr std::string_view kRightComment = "*/";
constexpr std::string_view kSpaces = " \t\r\n";
constexpr std::size_t kTrimMarkerSize = 2;  // the minus and the blank beside it

constexpr std::array<std::pair<std::string_view, ItemType>, 11> kKeywords = {
    {{"block", ItemType::kBlock},
     {"break", ItemType::kBreak},
     {"continue", ItemType::kContinue},
     {"define", ItemType::kDefine},
     {"else", ItemType::kElse},
     {"end", ItemType::kEnd},
     {"if", ItemType::kIf},
     {"nil", ItemType::kNil},
     {"range", ItemType::kRange},
     {"template", ItemType::kTemplate},
     {"with", ItemType::kWith}}};

bool HasLeftTrimMarker(std::string_view text) {
  return text.size() >= 2 && text[0] == '-' && IsSpace(static_cast<unsigned char>(text[1]));
}

bool HasRightTrimMarker(std::string_view text) {
  return text.size() >= 2 && IsSpace(static_cast<unsigned char>(text[0])) && text[1] == '-';
}

int CountLines(std::string_view text) {
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

std::size_t LeadingSpaces(std::string_view text) {
  return std::min(text.find_first_not_of(kSpaces), text.size());
}

std::size_t TrailingSpaces(std::string_view text) {
  const std::size_t last = text.find_last_not_of(kSpaces);
  return last == std::string_view::npos ? text.size() : text.size() - last - 1;
}

}  // namespace

std::string Item::Describe() const {
  if (type == ItemType::kEof) return "EOF";
  if (type == ItemType::kError) return std::string(text);
  if (type > ItemType::kKeyword) return "<" + std::string(text) + ">";
  if (text.size() <= 10) return GoQuote(text);
  std::size_t end = 0;
  for (int i = 0; i < 10 && end < text.size(); ++i) end += DecodeRune(text.substr(end)).size;
  return GoQuote(text.substr(0, end)) + "...";
}

char32_t Lexer::Take() {
  const Rune rune = DecodeRune(Rest());
  last_size_ = rune.size;
  if (rune.size == 0) return kEofRune;
  pos_ += rune.size;
  if (rune.value == '\n') ++line_;
  return rune.value;
}

char32_t Lexer::Peek() const {
  const Rune rune = DecodeRune(Rest());
  return rune.size == 0 ? kEofRune : rune.value;
}

void Lexer::Untake() {
  pos_ -= last_size_;
  if (last_size_ == 1 && input_[pos_] == '\n') --line_;
  last_size_ = 0;
}

bool Lexer::Accept(std::string_view valid) {
  const char32_t rune = Peek();
  if (rune > 0x7F || valid.find(static_cast<char>(rune)) == std::string_view::npos) return false;
  Take();
  return true;
}

void Lexer::AcceptRun(std::string_view valid) {
  while (Accept(valid)) {
  }
}

Item Lexer::Make(ItemType type) {
  const Item item{type, start_, input_.substr(start_, pos_ - start_), start_line_};
  start_ = pos_;
  start_line_ = line_;
  return item;
}

Item Lexer::Fail(std::string message) {
  error_ = std::move(message);
  is_done_ = true;
  return Item{ItemType::kError, start_, error_, start_line_};
}

void Lexer::Ignore() {
  line_ += CountLines(input_.substr(start_, pos_ - start_));
  start_ = pos_;
  start_line_ = line_;
}

Item Lexer::Next() {
  if (is_done_) return Item{ItemType::kEof, pos_, "EOF", start_line_};
  if (is_inside_action_) return LexInsideAction();
  while (!LexText()) {
  }
  return item_;
}

bool Lexer::LexText() {
  const std::size_t found = input_.find(kLeftDelim, pos_);
  if (found == std::string_view::npos) {
    pos_ = input_.size();
    if (pos_ > start_) {
      line_ += CountLines(input_.substr(start_));
      item_ = Make(ItemType::kText);
    } else {
      item_ = Make(ItemType::kEof);
      is_done_ = true;
    }
    return true;
  }
  if (found > pos_) {
    pos_ = found;
    std::size_t trimmed = 0;
    if (HasLeftTrimMarker(input_.substr(found + kLeftDelim.size()))) {
      trimmed = TrailingSpaces(input_.substr(start_, pos_ - start_));
    }
    pos_ -= trimmed;
    line_ += CountLines(input_.substr(start_, pos_ - start_));
    item_ = Make(ItemType::kText);
    pos_ += trimmed;
    Ignore();
    if (!item_.text.empty()) return true;
  }
  return LexLeftDelim();
}

bool Lexer::LexLeftDelim() {
  pos_ += kLeftDelim.size();
  const std::size_t marker = HasLeftTrimMarker(Rest()) ? kTrimMarkerSize : 0;
  if (Rest().substr(marker).starts_with(kLeftComment)) {
    pos_ += marker;
    Ignore();
    return LexComment();
  }
  item_ = Make(ItemType::kLeftDelim);
  is_inside_action_ = true;
  pos_ += marker;
  Ignore();
  paren_depth_ = 0;
  return true;
}

bool Lexer::LexComment() {
  pos_ += kLeftComment.size();
  const std::size_t end = input_.find(kRightComment, pos_);
  if (end == std::string_view::npos) {
    item_ = Fail("unclosed comment");
    return true;
  }
  pos_ = end + kRightComment.size();
  bool is_trimmed = false;
  if (!AtRightDelim(is_trimmed)) {
    item_ = Fail("comment ends before closing delimiter");
    return true;
  }
  if (is_trimmed) pos_ += kTrimMarkerSize;
  pos_ += kRightDelim.size();
  if (is_trimmed) pos_ += LeadingSpaces(Rest());
  Ignore();
  return false;
}

bool Lexer::AtRightDelim(bool& is_trimmed) const {
  is_trimmed =
      HasRightTrimMarker(Rest()) && Rest().substr(kTrimMarkerSize).starts_with(kRightDelim);
  return is_trimmed || Rest().starts_with(kRightDelim);
}

Item Lexer::LexRightDelim() {
  bool is_trimmed = false;
  AtRightDelim(is_trimmed);
  if (is_trimmed) {
    pos_ += kTrimMarkerSize;
    Ignore();
  }
  pos_ += kRightDelim.size();
  const Item item = Make(ItemType::kRightDelim);
  if (is_trimmed) {
    pos_ += LeadingSpaces(Rest());
    Ignore();
  }
  is_inside_action_ = false;
  return item;
}

Item Lexer::LexInsideAction() {
  bool is_trimmed = false;
  if (AtRightDelim(is_trimmed)) {
    return paren_depth_ == 0 ? LexRightDelim() : Fail("unclosed left paren");
  }
  const char32_t rune = Take();
  if (rune == kEofRune) return Fail("unclosed action");
  if (IsSpace(rune)) {
    Untake();
    return LexSpace();
  }
  switch (rune) {
    case '=':
      return Make(ItemType::kAssign);
    case ':':
      if (Take() != '=') return Fail("expected :=");
      return Make(ItemType::kDeclare);
    case '|':
      return Make(ItemType::kPipe);
    case '"':
      return LexQuoted('"', ItemType::kString, "unterminated quoted string");
    case '\'':
      return LexQuoted('\'', ItemType::kCharConstant, "unterminated character constant");
    case '`':
      return LexRawQuote();
    case '$':
      if (AtTerminator()) return Make(ItemType::kVariable);
      return LexFieldOrVariable(ItemType::kVariable);
    case '(':
      ++paren_depth_;
      return Make(ItemType::kLeftParen);
    case ')':
      if (--paren_depth_ < 0) return Fail("unexpected right paren");
      return Make(ItemType::kRightParen);
    default:
      break;
  }
  if (rune == '.') {
    const char32_t next = Peek();
    if (next != kEofRune && (next < '0' || next > '9')) return LexFieldOrVariable(ItemType::kField);
  }
  if (rune == '.' || rune == '+' || rune == '-' || (rune >= '0' && rune <= '9')) {
    Untake();
    return LexNumber();
  }
  if (IsAlphaNumeric(rune)) {
    Untake();
    return LexIdentifier();
  }
  if (rune < 0x80 && IsPrintable(rune)) return Make(ItemType::kChar);
  return Fail("unrecognized character in action: " + DescribeRune(rune));
}

Item Lexer::LexSpace() {
  std::size_t n_spaces = 0;
  while (IsSpace(Peek())) {
    Take();
    ++n_spaces;
  }
  // " -}}": the last blank belongs to the trim marker.
  if (HasRightTrimMarker(input_.substr(pos_ - 1)) &&
      input_.substr(pos_ - 1 + kTrimMarkerSize).starts_with(kRightDelim)) {
    Untake();
    if (n_spaces == 1) return LexRightDelim();
  }
  return Make(ItemType::kSpace);
}

Item Lexer::LexIdentifier() {
  while (IsAlphaNumeric(Peek())) Take();
  const std::string_view word = input_.substr(start_, pos_ - start_);
  if (!AtTerminator()) return Fail("bad character " + DescribeRune(Peek()));
  for (const auto& [name, type] : kKeywords) {
    if (word == name) return Make(type);
  }
  if (word == "true" || word == "false") return Make(ItemType::kBool);
  return Make(ItemType::kIdentifier);
}

Item Lexer::LexFieldOrVariable(ItemType type) {
  if (AtTerminator()) return Make(type == ItemType::kVariable ? type : ItemType::kDot);
  while (IsAlphaNumeric(Peek())) Take();
  if (!AtTerminator()) return Fail("bad character " + DescribeRune(Peek()));
  return Make(type);
}

bool Lexer::AtTerminator() const {
  const char32_t rune = Peek();
  if (rune == kEofRune || IsSpace(rune)) return true;
  if (rune < 0x80 &&
      std::string_view(".,|:)(").find(static_cast<char>(rune)) != std::string_view::npos) {
    return true;
  }
  return Rest().starts_with(kRightDelim);
}

Item Lexer::LexQuoted(char quote, ItemType type, const char* error) {
  for (;;) {
    char32_t rune = Take();
    if (rune == '\\') {
      rune = Take();
      if (rune != kEofRune && rune != '\n') continue;
    }
    if (rune == kEofRune || rune == '\n') return Fail(error);
    if (rune == static_cast<char32_t>(quote)) return Make(type);
  }
}

Item Lexer::LexRawQuote() {
  for (;;) {
    const char32_t rune = Take();
    if (rune == kEofRune) return Fail("unterminated raw quoted string");
    if (rune == '`') return Make(ItemType::kRawString);
  }
}

Item Lexer::LexNumber() {
  // Go also knows complex numbers (1+2i); no template has a use for them, so they are bad syntax
  // here.
  bool is_number = ScanNumber() && input_[pos_ - 1] != 'i';
  const char32_t next = Peek();
  if (is_number && (next == '+' || next == '-')) {
    ScanNumber();
    is_number = false;
  }
  if (!is_number)
    return Fail("bad number syntax: " + GoQuote(input_.substr(start_, pos_ - start_)));
  return Make(ItemType::kNumber);
}

bool Lexer::ScanNumber() {
  constexpr std::string_view kDecimal = "0123456789_";
  std::string_view digits = kDecimal;
  Accept("+-");
  if (Accept("0")) {
    if (Accept("xX")) {
      digits = "0123456789abcdefABCDEF_";
    } else if (Accept("oO")) {
      digits = "01234567_";
    } else if (Accept("bB")) {
      digits = "01_";
    }
  }
  AcceptRun(digits);
  if (Accept(".")) AcceptRun(digits);
  const bool is_decimal = digits.size() == kDecimal.size();
  const bool is_hex = digits.size() > kDecimal.size();
  if ((is_decimal && Accept("eE")) || (is_hex && Accept("pP"))) {
    Accept("+-");
    AcceptRun(kDecimal);
  }
  Accept("i");
  if (IsAlphaNumeric(Peek())) {
    Take();
    return false;
  }
  return true;
}

}  // namespace corral::templates::internal
