#include "models/internal/go_json.h"

#include <charconv>
#include <cmath>

#include "core/json_text.h"
#include "core/text.h"

namespace corral::models::internal {
namespace {

// "d.ddde±x" of the shortest digits that read back as `value`.
struct Scientific {
  std::string digits;  // without a point
  int exponent = 0;    // of the first digit
};
Scientific Shortest(double magnitude) {
  char buffer[64];
  const auto [end, error] =
      std::to_chars(std::begin(buffer), std::end(buffer), magnitude, std::chars_format::scientific);
  (void)error;  // 64 bytes hold any double
  const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  Scientific result;
  const std::size_t e = text.find('e');
  for (const char c : text.substr(0, e)) {
    if (c != '.') result.digits.push_back(c);
  }
  const std::size_t sign = text[e + 1] == '+' ? e + 2 : e + 1;
  std::from_chars(text.data() + sign, text.data() + text.size(), result.exponent);
  return result;
}

std::string WithExponent(const Scientific& number, int min_exponent_digits) {
  std::string text = number.digits.substr(0, 1);
  if (number.digits.size() > 1) text.append(".").append(number.digits.substr(1));
  std::string exponent = std::to_string(std::abs(number.exponent));
  while (exponent.size() < static_cast<std::size_t>(min_exponent_digits))
    exponent.insert(exponent.begin(), '0');
  return text.append(number.exponent < 0 ? "e-" : "e+").append(exponent);
}

std::string Plain(double magnitude) {
  char buffer[512];
  const auto [end, error] =
      std::to_chars(std::begin(buffer), std::end(buffer), magnitude, std::chars_format::fixed);
  (void)error;  // below 1e21 and above 1e-6 or so: far fewer characters
  return {buffer, end};
}

std::string Format(double value, double smallest_plain, int min_exponent_digits) {
  const double magnitude = std::fabs(value);
  const bool is_plain = magnitude == 0 || (magnitude >= smallest_plain && magnitude < 1e21);
  std::string text =
      is_plain ? Plain(magnitude) : WithExponent(Shortest(magnitude), min_exponent_digits);
  if (std::signbit(value)) text.insert(text.begin(), '-');
  return text;
}

}  // namespace

std::string QuoteJson(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string quoted = "\"";
  while (!text.empty()) {
    const Rune rune = DecodeRune(text);
    const std::string_view bytes = text.substr(0, rune.size);
    text.remove_prefix(rune.size);
    if (!rune.is_valid) {
      quoted.append("\\ufffd");
      continue;
    }
    switch (rune.value) {
      case '"':
        quoted.append("\\\"");
        continue;
      case '\\':
        quoted.append("\\\\");
        continue;
      case '\b':
        quoted.append("\\b");
        continue;
      case '\f':
        quoted.append("\\f");
        continue;
      case '\n':
        quoted.append("\\n");
        continue;
      case '\r':
        quoted.append("\\r");
        continue;
      case '\t':
        quoted.append("\\t");
        continue;
      default:
        break;
    }
    const bool is_escaped = rune.value < 0x20 || rune.value == '<' || rune.value == '>' ||
                            rune.value == '&' || rune.value == 0x2028 || rune.value == 0x2029;
    if (is_escaped) {
      quoted.append("\\u");
      for (int shift = 12; shift >= 0; shift -= 4)
        quoted.push_back(kHex[(rune.value >> shift) & 0xF]);
    } else {
      quoted.append(bytes);
    }
  }
  return quoted.append("\"");
}

std::string FormatNumber(double value) { return Format(value, 1e-6, 1); }
std::string FormatNumberForPeople(double value) { return Format(value, 1e-4, 2); }

Result<nlohmann::json> ParseJson(std::string_view text) {
  using nlohmann::json;
  // Looked at before parsing: the parser's own callback costs the square of an array's length.
  if (IsJsonDeeperThan(text, kMaxJsonDepth)) return Fail(Code::kCorrupt, "JSON is nested too deep");
  json value = json::parse(ReplaceInvalidUtf8(text), nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return Fail(Code::kCorrupt, "not valid JSON");
  return value;
}

std::string TextOf(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace corral::models::internal
