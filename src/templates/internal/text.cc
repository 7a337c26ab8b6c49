#include "templates/internal/text.h"

#include <array>
#include <cstdint>

namespace corral::templates::internal {
namespace {

constexpr char32_t kMaxRune = 0x10FFFF;

struct RuneRange {
  char32_t first, last;
};

template <std::size_t N>
bool IsIn(const std::array<RuneRange, N>& ranges, char32_t rune) {
  for (const RuneRange& range : ranges) {
    if (rune >= range.first && rune <= range.last) return true;
  }
  return false;
}

// Spaces, punctuation and symbols beyond ASCII that people paste into a template by mistake, and
// all that never prints.
constexpr std::array<RuneRange, 14> kNotAlphaNumeric = {{{0x80, 0xA9},
                                                         {0xAB, 0xB4},
                                                         {0xB6, 0xB9},
                                                         {0xBB, 0xBF},
                                                         {0xD7, 0xD7},
                                                         {0xF7, 0xF7},
                                                         {0x2000, 0x206F},
                                                         {0x20A0, 0x20CF},
                                                         {0x2190, 0x2BFF},
                                                         {0x3000, 0x3020},
                                                         {0xD800, 0xF8FF},
                                                         {0xFE00, 0xFF0F},
                                                         {0xFFE0, 0xFFFF},
                                                         {0x1F000, 0x1FAFF}}};

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void AppendHex(std::string& out, std::uint32_t value, int digits) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4) out += kDigits[(value >> shift) & 15U];
}

// Reads one escape behind a backslash from the front of `text`. Octal and \x give bytes, the others
// code points.
bool TakeEscape(std::string_view& text, char quote, std::string& out, char32_t& value) {
  if (text.empty()) return false;
  const char c = text.front();
  text.remove_prefix(1);
  const auto byte = [&](std::uint32_t code) {
    value = code;
    out += static_cast<char>(code);
    return true;
  };
  switch (c) {
    case 'a':
      return byte('\a');
    case 'b':
      return byte('\b');
    case 'f':
      return byte('\f');
    case 'n':
      return byte('\n');
    case 'r':
      return byte('\r');
    case 't':
      return byte('\t');
    case 'v':
      return byte('\v');
    case '\\':
      return byte('\\');
    case '\'':
    case '"':
      return c == quote && byte(static_cast<unsigned char>(c));
    case 'x':
    case 'u':
    case 'U': {
      const std::size_t n_digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      if (text.size() < n_digits) return false;
      std::uint32_t code = 0;
      for (std::size_t i = 0; i < n_digits; ++i) {
        const int digit = HexValue(text[i]);
        if (digit < 0 || code > 0x0FFFFFFF) return false;
        code = code * 16 + static_cast<std::uint32_t>(digit);
      }
      text.remove_prefix(n_digits);
      if (c == 'x') return byte(code);
      if (code > kMaxRune || (code >= 0xD800 && code < 0xE000)) return false;
      value = code;
      AppendRune(out, value);
      return true;
    }
    default:
      break;
  }
  if (c < '0' || c > '7' || text.size() < 2) return false;
  auto code = static_cast<std::uint32_t>(c - '0');
  for (int i = 0; i < 2; ++i) {
    if (text.front() < '0' || text.front() > '7') return false;
    code = code * 8 + static_cast<std::uint32_t>(text.front() - '0');
    text.remove_prefix(1);
  }
  return code <= 255 && byte(code);
}

}  // namespace

bool IsAlphaNumeric(char32_t rune) {
  if (rune < 0x80) {
    return rune == '_' || (rune >= '0' && rune <= '9') || (rune >= 'a' && rune <= 'z') ||
           (rune >= 'A' && rune <= 'Z');
  }
  return rune <= kMaxRune && !IsIn(kNotAlphaNumeric, rune);
}

bool IsSpace(char32_t rune) { return rune == ' ' || rune == '\t' || rune == '\r' || rune == '\n'; }

std::string QuoteRune(char32_t rune) {
  if (rune == '\'') return "'\\''";
  if (rune == '"') return "'\"'";
  std::string text;
  AppendRune(text, rune);
  const std::string quoted = GoQuote(text);
  return "'" + quoted.substr(1, quoted.size() - 2) + "'";
}

std::string DescribeRune(char32_t rune) {
  std::string hex;
  AppendHex(hex, static_cast<std::uint32_t>(rune), 8);
  std::size_t first = hex.find_first_not_of('0');
  if (first == std::string::npos || first > 4) first = 4;
  std::string out = "U+" + hex.substr(first);
  for (char& c : out) {
    if (c >= 'a' && c <= 'f') c = static_cast<char>(c - 'a' + 'A');
  }
  if (IsPrintable(rune)) {
    out += " '";
    AppendRune(out, rune);
    out += '\'';
  }
  return out;
}

std::optional<std::string> Unquote(std::string_view literal) {
  if (literal.size() < 2 || literal.front() != literal.back()) return std::nullopt;
  const char quote = literal.front();
  std::string_view rest = literal.substr(1, literal.size() - 2);
  std::string out;
  if (quote == '`') {
    for (const char c : rest) {
      if (c != '\r') out += c;
    }
    return out;
  }
  while (!rest.empty()) {
    const char c = rest.front();
    rest.remove_prefix(1);
    char32_t unused = 0;
    if (c == '"' || c == '\n') return std::nullopt;
    if (c != '\\') {
      out += c;
    } else if (!TakeEscape(rest, quote, out, unused)) {
      return std::nullopt;
    }
  }
  return out;
}

std::optional<char32_t> UnquoteChar(std::string_view literal) {
  if (literal.size() < 3 || literal.front() != '\'' || literal.back() != '\'') return std::nullopt;
  std::string_view rest = literal.substr(1, literal.size() - 2);
  std::string unused;
  char32_t value = 0;
  if (rest.front() == '\\') {
    rest.remove_prefix(1);
    if (!TakeEscape(rest, '\'', unused, value)) return std::nullopt;
  } else {
    const Rune rune = DecodeRune(rest);
    value = rune.value;
    rest.remove_prefix(rune.size);
  }
  if (!rest.empty()) return std::nullopt;
  return value;
}

}  // namespace corral::templates::internal
