// Splits a template into items: text, delimiters and what stands between them. Go's
// text/template/parse/lex.go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "templates/internal/text.h"

namespace corral::templates::internal {

enum class ItemType : std::uint8_t {
  kError,  // text is the message
  kBool,
  kChar,  // a printable ASCII character such as ','
  kCharConstant,
  kAssign,
  kDeclare,
  kEof,
  kField,
  kIdentifier,
  kLeftDelim,
  kLeftParen,
  kNumber,
  kPipe,
  kRawString,
  kRightDelim,
  kRightParen,
  kSpace,
  kString,
  kText,
  kVariable,
  kKeyword,  // only a mark: all behind it are keywords
  kBlock,
  kBreak,
  kContinue,
  kDot,
  kDefine,
  kElse,
  kEnd,
  kIf,
  kNil,
  kRange,
  kTemplate,
  kWith,
};

struct Item {
  ItemType type = ItemType::kEof;
  std::size_t pos = 0;  // byte offset in the template
  std::string_view text;
  int line = 1;

  // As an error message shows it: "EOF", <range>, "text".
  std::string Describe() const;
};

// `input` must outlive the lexer and its items. After an error or the end it gives kEof for ever.
class Lexer {
 public:
  explicit Lexer(std::string_view input) : input_(input) {}
  Item Next();

 private:
  static constexpr char32_t kEofRune = 0xFFFFFFFF;

  char32_t Take();
  char32_t Peek() const;
  void Untake();
  bool Accept(std::string_view valid);
  void AcceptRun(std::string_view valid);
  std::string_view Rest() const { return input_.substr(pos_); }
  Item Make(ItemType type);
  Item Fail(std::string message);
  void Ignore();

  // Each returns true when item_ is filled, false to go on with text.
  bool LexText();
  bool LexLeftDelim();
  bool LexComment();
  Item LexRightDelim();
  Item LexInsideAction();
  Item LexSpace();
  Item LexIdentifier();
  Item LexFieldOrVariable(ItemType type);
  Item LexQuoted(char quote, ItemType type, const char* error);
  Item LexRawQuote();
  Item LexNumber();
  bool ScanNumber();
  bool AtTerminator() const;
  bool AtRightDelim(bool& is_trimmed) const;

  std::string_view input_;
  std::size_t pos_ = 0;
  std::size_t start_ = 0;
  std::size_t last_size_ = 0;  // bytes of the code point that Take() took
  int line_ = 1;
  int start_line_ = 1;
  int paren_depth_ = 0;
  bool is_inside_action_ = false;
  bool is_done_ = false;
  Item item_;
  std::string error_;
};

}  // namespace corral::templates::internal
