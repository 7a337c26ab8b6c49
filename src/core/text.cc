#include "core/text.h"

#include <array>
#include <charconv>
#include <cstdio>

namespace corral {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";
constexpr std::string_view kBase64Digits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint8_t kNotBase64 = 0xFF;

constexpr std::array<std::uint8_t, 256> MakeBase64Values() {
  std::array<std::uint8_t, 256> values{};
  values.fill(kNotBase64);
  for (std::size_t i = 0; i < kBase64Digits.size(); ++i) {
    values[static_cast<unsigned char>(kBase64Digits[i])] = static_cast<std::uint8_t>(i);
  }
  return values;
}
constexpr std::array<std::uint8_t, 256> kBase64Values = MakeBase64Values();

constexpr unsigned Byte(std::string_view text, std::size_t index) {
  return static_cast<unsigned char>(text[index]);
}

constexpr int HexValue(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

// Bytes of the code point that `lead` begins; 0 if it begins none.
constexpr std::size_t LengthFromLead(unsigned lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

// The second byte has a narrower range after some leads: no overlong forms, no surrogates, nothing
// above U+10FFFF.
constexpr bool IsSecondByte(unsigned lead, unsigned second) {
  unsigned low = 0x80;
  unsigned high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  return second >= low && second <= high;
}

template <class Integer>
std::optional<Integer> ParseDigits(std::string_view digits) {
  Integer value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (digits.empty() || error != std::errc() || stop != end) return std::nullopt;
  return value;
}

Error IllegalBase64(std::size_t at) {
  return {Code::kInvalidArgument, "illegal base64 data at input byte " + std::to_string(at)};
}

}  // namespace

Rune DecodeRune(std::string_view text) {
  if (text.empty()) return {};
  const Rune invalid{kReplacementRune, 1, false};
  const unsigned lead = Byte(text, 0);
  const std::size_t length = LengthFromLead(lead);
  if (length == 1) return {lead, 1, true};
  if (length == 0 || text.size() < length || !IsSecondByte(lead, Byte(text, 1))) return invalid;
  char32_t value = lead & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((Byte(text, i) & 0xC0U) != 0x80U) return invalid;
    value = (value << 6U) | (Byte(text, i) & 0x3FU);
  }
  return {value, length, true};
}

void AppendRune(std::string& text, char32_t rune) {
  if (rune > 0x10FFFF || (rune >= 0xD800 && rune <= 0xDFFF)) rune = kReplacementRune;
  const auto append = [&text](char32_t byte) { text += static_cast<char>(byte); };
  if (rune < 0x80) {
    append(rune);
  } else if (rune < 0x800) {
    append(0xC0U | (rune >> 6U));
    append(0x80U | (rune & 0x3FU));
  } else if (rune < 0x10000) {
    append(0xE0U | (rune >> 12U));
    append(0x80U | ((rune >> 6U) & 0x3FU));
    append(0x80U | (rune & 0x3FU));
  } else {
    append(0xF0U | (rune >> 18U));
    append(0x80U | ((rune >> 12U) & 0x3FU));
    append(0x80U | ((rune >> 6U) & 0x3FU));
    append(0x80U | (rune & 0x3FU));
  }
}

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    const Rune rune = DecodeRune(text);
    if (!rune.is_valid) return false;
    text.remove_prefix(rune.size);
  }
  return true;
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const Rune rune = DecodeRune(text);
    if (rune.is_valid) {
      result.append(text.substr(0, rune.size));
    } else {
      AppendRune(result, kReplacementRune);
    }
    text.remove_prefix(rune.size);
  }
  return result;
}

std::size_t IncompleteUtf8Suffix(std::string_view text) {
  for (std::size_t length = 1; length <= 3 && length <= text.size(); ++length) {
    const std::string_view tail = text.substr(text.size() - length);
    const unsigned lead = Byte(tail, 0);
    if ((lead & 0xC0U) == 0x80U) continue;  // a continuation byte: the lead is further left
    const std::size_t wanted = LengthFromLead(lead);
    if (wanted <= length) return 0;
    return length == 1 || IsSecondByte(lead, Byte(tail, 1)) ? length : 0;
  }
  return 0;
}

bool IsUnicodeSpace(char32_t rune) {
  return (rune >= 0x09 && rune <= 0x0D) || rune == 0x20 || rune == 0x85 || rune == 0xA0 ||
         rune == 0x1680 || (rune >= 0x2000 && rune <= 0x200A) || rune == 0x2028 || rune == 0x2029 ||
         rune == 0x202F || rune == 0x205F || rune == 0x3000;
}

std::string_view TrimSpace(std::string_view text) {
  while (!text.empty()) {
    const Rune rune = DecodeRune(text);
    if (!rune.is_valid || !IsUnicodeSpace(rune.value)) break;
    text.remove_prefix(rune.size);
  }
  while (!text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (Byte(text, start) & 0xC0U) == 0x80U) --start;
    const Rune rune = DecodeRune(text.substr(start));
    if (!rune.is_valid || start + rune.size != text.size() || !IsUnicodeSpace(rune.value)) break;
    text.remove_suffix(rune.size);
  }
  return text;
}

std::string ToLowerAscii(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::optional<std::uint64_t> ParseUint(std::string_view text) {
  return ParseDigits<std::uint64_t>(text);
}

std::optional<std::int64_t> ParseInt(std::string_view text) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return std::nullopt;
  }
  return ParseDigits<std::int64_t>(text);
}

std::string HexEncode(std::string_view bytes) {
  std::string result;
  result.reserve(bytes.size() * 2);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    result += kHexDigits[Byte(bytes, i) >> 4U];
    result += kHexDigits[Byte(bytes, i) & 0xFU];
  }
  return result;
}

Result<std::string> HexDecode(std::string_view text) {
  if (text.size() % 2 != 0) return Fail(Code::kInvalidArgument, "hex text of odd length");
  std::string result;
  result.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = HexValue(text[i]);
    const int low = HexValue(text[i + 1]);
    if (high < 0 || low < 0) {
      return Fail(Code::kInvalidArgument,
                  "invalid hex digit at input byte " + std::to_string(high < 0 ? i : i + 1));
    }
    result += static_cast<char>(high * 16 + low);
  }
  return result;
}

std::string Base64Encode(std::string_view bytes) {
  std::string result;
  result.reserve((bytes.size() + 2) / 3 * 4);
  std::size_t i = 0;
  const auto digit = [&result](unsigned value) { result += kBase64Digits[value & 0x3FU]; };
  for (; i + 3 <= bytes.size(); i += 3) {
    const unsigned group =
        (Byte(bytes, i) << 16U) | (Byte(bytes, i + 1) << 8U) | Byte(bytes, i + 2);
    digit(group >> 18U);
    digit(group >> 12U);
    digit(group >> 6U);
    digit(group);
  }
  if (bytes.size() - i == 1) {
    const unsigned group = Byte(bytes, i) << 16U;
    digit(group >> 18U);
    digit(group >> 12U);
    result += "==";
  } else if (bytes.size() - i == 2) {
    const unsigned group = (Byte(bytes, i) << 16U) | (Byte(bytes, i + 1) << 8U);
    digit(group >> 18U);
    digit(group >> 12U);
    digit(group >> 6U);
    result += '=';
  }
  return result;
}

// The positions in the error texts are those of Go's base64.Encoding.decodeQuantum.
Result<std::string> Base64Decode(std::string_view text) {
  std::string result;
  result.reserve(text.size() / 4 * 3 + 2);
  std::size_t i = 0;
  const auto skip_line_ends = [&] {
    while (i < text.size() && (text[i] == '\n' || text[i] == '\r')) ++i;
  };
  for (;;) {
    unsigned group = 0;
    std::size_t n_digits = 0;
    while (n_digits < 4) {
      if (i == text.size()) {
        if (n_digits == 0) return result;
        return Fail(IllegalBase64(i - n_digits));
      }
      const char c = text[i++];
      const std::uint8_t value = kBase64Values[static_cast<unsigned char>(c)];
      if (value != kNotBase64) {
        group = (group << 6U) | value;
        ++n_digits;
        continue;
      }
      if (c == '\n' || c == '\r') continue;
      if (c != '=' || n_digits < 2) return Fail(IllegalBase64(i - 1));
      if (n_digits == 2) {  // "==" is needed
        skip_line_ends();
        if (i == text.size()) return Fail(IllegalBase64(text.size()));
        if (text[i] != '=') return Fail(IllegalBase64(i - 1));
        ++i;
      }
      skip_line_ends();
      if (i < text.size()) return Fail(IllegalBase64(i));  // something after the padding
      group <<= 6U * (4 - static_cast<unsigned>(n_digits));
      result += static_cast<char>(group >> 16U);
      if (n_digits == 3) result += static_cast<char>((group >> 8U) & 0xFFU);
      return result;
    }
    result += static_cast<char>(group >> 16U);
    result += static_cast<char>((group >> 8U) & 0xFFU);
    result += static_cast<char>(group & 0xFFU);
  }
}

bool IsPrintable(char32_t rune) {
  if (rune < 0x20 || (rune >= 0x7F && rune < 0xA0)) return false;
  if (rune == 0x20) return true;
  if (IsUnicodeSpace(rune)) return false;  // the only printable blank is U+0020
  if (rune == 0xAD || (rune >= 0x200B && rune <= 0x200F)) return false;
  if ((rune >= 0x202A && rune <= 0x202E) || (rune >= 0x2060 && rune <= 0x206F)) return false;
  if (rune == 0xFEFF || (rune >= 0xFFF9 && rune <= 0xFFFB)) return false;
  if (rune >= 0xD800 && rune <= 0xF8FF) return false;  // surrogates, private use
  if ((rune & 0xFFFEU) == 0xFFFEU) return false;       // no characters
  return rune < 0xE0000;                               // tags, more private use
}

std::string GoQuote(std::string_view text) {
  std::string result = "\"";
  const auto append_hex = [&result](std::string_view prefix, char32_t value, int n_digits) {
    result += prefix;
    for (int shift = (n_digits - 1) * 4; shift >= 0; shift -= 4) {
      result += kHexDigits[(value >> static_cast<unsigned>(shift)) & 0xFU];
    }
  };
  while (!text.empty()) {
    const Rune rune = DecodeRune(text);
    const std::string_view bytes = text.substr(0, rune.size);
    text.remove_prefix(rune.size);
    if (!rune.is_valid) {
      append_hex("\\x", static_cast<unsigned char>(bytes[0]), 2);
      continue;
    }
    switch (rune.value) {
      case '"':
        result += "\\\"";
        continue;
      case '\\':
        result += "\\\\";
        continue;
      case '\a':
        result += "\\a";
        continue;
      case '\b':
        result += "\\b";
        continue;
      case '\f':
        result += "\\f";
        continue;
      case '\n':
        result += "\\n";
        continue;
      case '\r':
        result += "\\r";
        continue;
      case '\t':
        result += "\\t";
        continue;
      case '\v':
        result += "\\v";
        continue;
      default:
        break;
    }
    if (IsPrintable(rune.value)) {
      result += bytes;
    } else if (rune.value < 0x80) {
      append_hex("\\x", rune.value, 2);
    } else if (rune.value < 0x10000) {
      append_hex("\\u", rune.value, 4);
    } else {
      append_hex("\\U", rune.value, 8);
    }
  }
  result += '"';
  return result;
}

}  // namespace corral
