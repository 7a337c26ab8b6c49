// Go's durations, both ways: time.ParseDuration and time.Duration.String (Go's time/format.go and
// time/time.go).
#include <cstdint>
#include <limits>

#include "core/settings.h"

namespace corral {
namespace {

constexpr std::uint64_t kLimit = std::uint64_t{1} << 63U;  // one more than the largest int64

constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Go's own quoting of time texts: every byte outside of printable ASCII as \xNN.
std::string Quote(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80 || byte < 0x20) {
      result += "\\x";
      result += kHex[byte >> 4U];
      result += kHex[byte & 0xFU];
      continue;
    }
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + '"';
}

// Nanoseconds; 0 for what is no unit.
std::uint64_t UnitNanoseconds(std::string_view unit) {
  if (unit == "ns") return 1;
  if (unit == "us" || unit == "\u00B5s" || unit == "\u03BCs")
    return 1'000;  // both code points that look like micro
  if (unit == "ms") return 1'000'000;
  if (unit == "s") return 1'000'000'000;
  if (unit == "m") return 60'000'000'000;
  if (unit == "h") return 3'600'000'000'000;
  return 0;
}

// Digits from the front of `text`. False: more than 2^63.
bool TakeInteger(std::string_view& text, std::uint64_t& value) {
  value = 0;
  while (!text.empty() && IsDigit(text[0])) {
    if (value > kLimit / 10) return false;
    value = value * 10 + static_cast<std::uint64_t>(text[0] - '0');
    if (value > kLimit) return false;
    text.remove_prefix(1);
  }
  return true;
}

// Digits after the point: the fraction is value / scale. Digits that don't fit any more are
// dropped.
void TakeFraction(std::string_view& text, std::uint64_t& value, double& scale) {
  value = 0;
  scale = 1;
  bool is_full = false;
  for (; !text.empty() && IsDigit(text[0]); text.remove_prefix(1)) {
    if (is_full) continue;
    if (value > (kLimit - 1) / 10) {
      is_full = true;
      continue;
    }
    const std::uint64_t longer = value * 10 + static_cast<std::uint64_t>(text[0] - '0');
    if (longer > kLimit) {
      is_full = true;
      continue;
    }
    value = longer;
    scale *= 10;
  }
}

// "1.5" of 1500 thousandths: `value` / 10^n_digits without trailing zeros.
std::string Decimal(std::uint64_t value, int n_digits) {
  std::string fraction;
  bool is_significant = false;
  for (int i = 0; i < n_digits; ++i) {
    const auto digit = static_cast<char>('0' + value % 10);
    value /= 10;
    is_significant = is_significant || digit != '0';
    if (is_significant) fraction.insert(fraction.begin(), digit);
  }
  return std::to_string(value) + (fraction.empty() ? "" : "." + fraction);
}

}  // namespace

Result<std::chrono::nanoseconds> ParseGoDuration(std::string_view text) {
  const auto invalid = [text] {
    return Fail(Code::kInvalidArgument, "time: invalid duration " + Quote(text));
  };
  std::string_view rest = text;
  const bool is_negative = rest.starts_with('-');
  if (is_negative || rest.starts_with('+')) rest.remove_prefix(1);
  if (rest == "0") return std::chrono::nanoseconds(0);
  if (rest.empty()) return invalid();

  std::uint64_t total = 0;
  while (!rest.empty()) {
    if (rest[0] != '.' && !IsDigit(rest[0])) return invalid();
    const std::size_t before = rest.size();
    std::uint64_t value = 0;
    if (!TakeInteger(rest, value)) return invalid();
    bool has_digits = rest.size() != before;
    std::uint64_t fraction = 0;
    double scale = 1;
    if (rest.starts_with('.')) {
      rest.remove_prefix(1);
      const std::size_t before_fraction = rest.size();
      TakeFraction(rest, fraction, scale);
      has_digits = has_digits || rest.size() != before_fraction;
    }
    if (!has_digits) return invalid();

    std::size_t unit_size = 0;
    while (unit_size < rest.size() && rest[unit_size] != '.' && !IsDigit(rest[unit_size]))
      ++unit_size;
    if (unit_size == 0) {
      return Fail(Code::kInvalidArgument, "time: missing unit in duration " + Quote(text));
    }
    const std::string_view unit_name = rest.substr(0, unit_size);
    rest.remove_prefix(unit_size);
    const std::uint64_t unit = UnitNanoseconds(unit_name);
    if (unit == 0) {
      return Fail(Code::kInvalidArgument,
                  "time: unknown unit " + Quote(unit_name) + " in duration " + Quote(text));
    }
    if (value > kLimit / unit) return invalid();
    value *= unit;
    if (fraction > 0) {
      // A double is exact to the nanosecond even for fractions of an hour.
      value += static_cast<std::uint64_t>(static_cast<double>(fraction) *
                                          (static_cast<double>(unit) / scale));
      if (value > kLimit) return invalid();
    }
    total += value;
    if (total > kLimit) return invalid();
  }
  if (is_negative) {
    if (total == kLimit) return std::chrono::nanoseconds(std::numeric_limits<std::int64_t>::min());
    return std::chrono::nanoseconds(-static_cast<std::int64_t>(total));
  }
  if (total > kLimit - 1) return invalid();
  return std::chrono::nanoseconds(static_cast<std::int64_t>(total));
}

std::string FormatGoDuration(std::chrono::nanoseconds duration) {
  const std::int64_t count = duration.count();
  if (count == 0) return "0s";
  const std::string sign = count < 0 ? "-" : "";
  // Two's complement: also right for the least int64.
  const std::uint64_t value =
      count < 0 ? ~static_cast<std::uint64_t>(count) + 1 : static_cast<std::uint64_t>(count);
  if (value < 1'000) return sign + std::to_string(value) + "ns";
  if (value < 1'000'000) return sign + Decimal(value, 3) + "\u00B5s";
  if (value < 1'000'000'000) return sign + Decimal(value, 6) + "ms";
  const std::uint64_t seconds = value / 1'000'000'000;
  std::string text = Decimal(seconds % 60 * 1'000'000'000 + value % 1'000'000'000, 9) + "s";
  const std::uint64_t minutes = seconds / 60;
  if (minutes > 0) text = std::to_string(minutes % 60) + "m" + text;
  if (minutes >= 60) text = std::to_string(minutes / 60) + "h" + text;
  return sign + text;
}

}  // namespace corral
