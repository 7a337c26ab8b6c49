#include "templates/internal/number.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "templates/internal/text.h"

namespace corral::templates::internal {
namespace {

struct Integer {
  bool is_negative = false;
  std::uint64_t magnitude = 0;
};

// strconv.ParseInt(text, 0, 64) without the final range check: base by prefix, underscores between
// digits.
std::optional<Integer> ParseInteger(std::string_view text) {
  Integer result;
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) {
    result.is_negative = text[0] == '-';
    text.remove_prefix(1);
  }
  int base = 10;
  if (text.size() > 1 && text[0] == '0') {
    const char kind = static_cast<char>(text[1] | 0x20);
    base = kind == 'x' ? 16 : kind == 'b' ? 2 : 8;
    text.remove_prefix(kind == 'x' || kind == 'b' || kind == 'o' ? 2 : 1);
    if (!text.empty() && text[0] == '_') text.remove_prefix(1);
  }
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      digits += text[i];
    } else if (i == 0 || i + 1 == text.size() || text[i + 1] == '_') {
      return std::nullopt;
    }
  }
  if (digits.empty()) return std::nullopt;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, result.magnitude, base);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return result;
}

std::optional<double> ParseFloat(std::string_view text) {
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  auto format = std::chars_format::general;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    if (text.find_first_of("pP") == std::string_view::npos) return std::nullopt;
    text.remove_prefix(2);
    format = std::chars_format::hex;
  }
  if (text.empty() || (text[0] != '.' && !IsAlphaNumeric(static_cast<unsigned char>(text[0])))) {
    return std::nullopt;
  }
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, format);
  if (error != std::errc{} || stop != end || !std::isfinite(value)) return std::nullopt;
  return is_negative ? -value : value;
}

// The shortest decimal that reads back as the same double: 0.d1d2d3… * 10^point.
struct Decimal {
  std::string digits;
  int point = 0;
};

Decimal Shortest(double magnitude) {
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), magnitude,
                                 std::chars_format::scientific)
                       .ptr;
  const std::string_view text(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  const std::size_t e = text.find('e');
  Decimal decimal;
  for (const char c : text.substr(0, e)) {
    if (c != '.') decimal.digits += c;
  }
  const char* exponent = text.data() + e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(exponent, text.data() + text.size(), decimal.point);
  ++decimal.point;
  return decimal;
}

std::string Special(double value) {
  if (std::isnan(value)) return "NaN";
  return value > 0 ? "+Inf" : "-Inf";
}

std::string Layout(double value, bool with_exponent, int min_exponent_digits) {
  const Decimal decimal = Shortest(std::fabs(value));
  std::string out = std::signbit(value) ? "-" : "";
  const auto n_digits = static_cast<int>(decimal.digits.size());
  if (with_exponent) {
    out += decimal.digits[0];
    if (n_digits > 1) out += "." + decimal.digits.substr(1);
    const int exponent = decimal.point - 1;
    std::string text = std::to_string(std::abs(exponent));
    while (static_cast<int>(text.size()) < min_exponent_digits) text.insert(0, "0");
    return out + (exponent < 0 ? "e-" : "e+") + text;
  }
  if (decimal.point <= 0) {
    return out + "0." + std::string(static_cast<std::size_t>(-decimal.point), '0') + decimal.digits;
  }
  if (decimal.point >= n_digits) {
    return out + decimal.digits +
           std::string(static_cast<std::size_t>(decimal.point - n_digits), '0');
  }
  const auto point = static_cast<std::size_t>(decimal.point);
  return out + decimal.digits.substr(0, point) + "." + decimal.digits.substr(point);
}

}  // namespace

tl::expected<std::unique_ptr<NumberNode>, std::string> ParseNumber(std::size_t pos,
                                                                   std::string_view text) {
  auto node = std::make_unique<NumberNode>(pos, text);
  if (text.starts_with('\'')) {
    const auto rune = UnquoteChar(text);
    if (!rune) return tl::unexpected("malformed character constant: " + std::string(text));
    node->is_int = true;
    node->int_value = static_cast<std::int64_t>(*rune);
    return node;
  }
  if (const auto integer = ParseInteger(text)) {
    constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (integer->magnitude <= kMax + (integer->is_negative ? 1U : 0U)) {
      node->is_int = true;
      node->int_value = static_cast<std::int64_t>(integer->is_negative ? ~integer->magnitude + 1
                                                                       : integer->magnitude);
      return node;
    }
    if (!integer->is_negative) return node;  // a uint64: "overflows int" when it is used
    return tl::unexpected("integer overflow: " + GoQuote(text));
  }
  const auto value = ParseFloat(text);
  if (!value) {
    const bool is_digits = text.find_first_not_of("+-0123456789") == std::string_view::npos &&
                           text.find_first_of("0123456789") != std::string_view::npos;
    return tl::unexpected((is_digits ? "integer overflow: " : "illegal number syntax: ") +
                          GoQuote(text));
  }
  if (text.find_first_of(".eEpP") == std::string_view::npos) {
    return tl::unexpected("integer overflow: " + GoQuote(text));
  }
  node->is_float = true;
  node->float_value = *value;
  return node;
}

std::string FormatFloat(double value) {
  if (!std::isfinite(value)) return Special(value);
  const int exponent = value == 0 ? 0 : Shortest(std::fabs(value)).point - 1;
  return Layout(value, exponent < -4 || exponent >= 6, 2);
}

std::string FormatJsonFloat(double value) {
  const double magnitude = std::fabs(value);
  if (!std::isfinite(value)) return "null";
  return Layout(value, magnitude != 0 && (magnitude < 1e-6 || magnitude >= 1e21), 1);
}

}  // namespace corral::templates::internal
