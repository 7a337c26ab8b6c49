// Small text things that several rooms need: UTF-8, blanks, hex, base64, Go's quoting, sizes and
// times for people.
//
// Pure functions, thread-safe. Byte strings in, byte strings out; nothing here looks at the locale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/timestamp.h"

namespace corral {

// ---- UTF-8 (RFC 3629: shortest form, no surrogates, at most U+10FFFF) ----

inline constexpr char32_t kReplacementRune = 0xFFFD;

struct Rune {
  char32_t value = kReplacementRune;
  std::size_t size = 0;  // bytes; 1 for an invalid byte, 0 at the end of the text
  bool is_valid = false;
};
// The first code point of `text`, as Go's utf8.DecodeRuneInString.
Rune DecodeRune(std::string_view text);
// Appends `rune`; what is no code point becomes U+FFFD.
void AppendRune(std::string& text, char32_t rune);
bool IsValidUtf8(std::string_view text);
// Every invalid byte becomes one U+FFFD, as in Go's encoding/json.
std::string ReplaceInvalidUtf8(std::string_view text);
// Bytes at the end of `text` (0 to 3) that begin a code point which is not complete yet. For
// streams.
std::size_t IncompleteUtf8Suffix(std::string_view text);

// ---- blanks, case, lists ----

// Without white space at both ends: Unicode's White_Space, as Go's strings.TrimSpace.
std::string_view TrimSpace(std::string_view text);
bool IsUnicodeSpace(char32_t rune);
std::string ToLowerAscii(std::string_view text);
// The parts between `separator`; one empty part for an empty text.
std::vector<std::string_view> Split(std::string_view text, char separator);

// ---- numbers ----

// The whole text as a decimal number without sign. nullopt: other characters, empty, too large.
// (Go's strconv.ParseUint.)
std::optional<std::uint64_t> ParseUint(std::string_view text);
// One optional sign, then digits. nullopt as above. (Go's strconv.ParseInt.)
std::optional<std::int64_t> ParseInt(std::string_view text);

// ---- hex and base64 ----

std::string HexEncode(std::string_view bytes);  // lower case
// Errors: kInvalidArgument (odd length, a character that is no hex digit).
Result<std::string> HexDecode(std::string_view text);

std::string Base64Encode(std::string_view bytes);  // RFC 4648 section 4, padded
// As Go's base64.StdEncoding: padding required, line ends skipped.
// Errors: kInvalidArgument with Go's text, `illegal base64 data at input byte 4`.
Result<std::string> Base64Decode(std::string_view text);

// ---- Go's quoting ----

// strconv.Quote, the %q of Go's error texts: "a\n\"b\"\u00a0".
std::string GoQuote(std::string_view text);
// unicode.IsPrint, with the unassigned code points taken as printable.
bool IsPrintable(char32_t rune);

// ---- for people (Ollama's format package) ----

// Powers of 1000: "0 B", "1.5 KB", "397 MB", "2.0 TB".
std::string HumanBytes(std::int64_t bytes);
// Powers of 1024: "512 B", "1.5 KiB", "2.0 GiB".
std::string HumanBinaryBytes(std::uint64_t bytes);
// "999", "2K", "134.52M", "3.2B".
std::string HumanNumber(std::uint64_t number);
// "2 hours ago", "4 minutes from now", "Forever" (more than 20 years ahead); `zero_text` for Go's
// zero time.
std::string HumanTime(Timestamp time, Timestamp now, std::string_view zero_text);

}  // namespace corral
