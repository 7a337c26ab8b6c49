// What the template language needs of Go's unicode and strconv beyond core/text.h. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/text.h"

namespace corral::templates::internal {

// Go's unicode.IsLetter or IsDigit or '_': exact for ASCII; beyond it every code point but spaces,
// punctuation and symbols.
bool IsAlphaNumeric(char32_t rune);
bool IsSpace(char32_t rune);  // blank, tab, carriage return, newline

// strconv.QuoteRune.
std::string QuoteRune(char32_t rune);
// fmt's %#U: U+201C '“'.
std::string DescribeRune(char32_t rune);

// strconv.Unquote of "…" or `…`; nothing if the literal is wrong.
std::optional<std::string> Unquote(std::string_view literal);
// The value of a character constant '…'; nothing if the literal is wrong.
std::optional<char32_t> UnquoteChar(std::string_view literal);

}  // namespace corral::templates::internal
