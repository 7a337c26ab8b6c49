// UTF-8 and quoting as Go's unicode/utf8 and strconv do them. Pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace corral::templates::internal {

struct Rune {
  char32_t value = 0xFFFD;  // U+FFFD where the bytes are no UTF-8
  std::size_t size = 1;     // bytes it takes; 0 only at the end of the text
  bool is_valid = false;
};

// The first code point of `text`.
Rune DecodeRune(std::string_view text);
void AppendRune(std::string& out, char32_t rune);

// Go's unicode.IsLetter or IsDigit or '_': exact for ASCII; beyond it every code point but spaces,
// punctuation and symbols.
bool IsAlphaNumeric(char32_t rune);
// Go's unicode.IsPrint: exact for ASCII; beyond it all but controls, spaces, private use and
// formatting marks.
bool IsPrint(char32_t rune);

bool IsSpace(char32_t rune);  // blank, tab, carriage return, newline
std::string_view TrimSpace(std::string_view text);
std::string ToLower(std::string_view ascii);

// strconv.Quote and strconv.QuoteRune.
std::string Quote(std::string_view text);
std::string QuoteRune(char32_t rune);
// fmt's %#U: U+201C '“'.
std::string DescribeRune(char32_t rune);

// strconv.Unquote of "…" or `…`; nothing if the literal is wrong.
std::optional<std::string> Unquote(std::string_view literal);
// The value of a character constant '…'; nothing if the literal is wrong.
std::optional<char32_t> UnquoteChar(std::string_view literal);

}  // namespace corral::templates::internal
