#include "cli/internal/json.h"

#include <array>
#include <charconv>
#include <cmath>

#include "core/json_text.h"

namespace corral::cli::internal {
namespace {

constexpr int kMostDepth = 512;

}  // namespace

std::optional<Json> ParseJson(std::string_view text) {
  if (IsJsonDeeperThan(text, kMostDepth)) return std::nullopt;
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return std::nullopt;
  return json;
}

std::string DumpJson(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const Json* Field(const Json& json, const char* name) {
  if (!json.is_object()) return nullptr;
  const auto found = json.find(name);
  return found == json.end() ? nullptr : &*found;
}

std::string TextField(const Json& json, const char* name) {
  const Json* field = Field(json, name);
  return field != nullptr && field->is_string() ? field->get<std::string>() : "";
}

std::int64_t IntField(const Json& json, const char* name) {
  const Json* field = Field(json, name);
  if (field == nullptr || !field->is_number()) return 0;
  if (field->is_number_integer()) return field->get<std::int64_t>();
  const double number = field->get<double>();
  constexpr double kMost = 9.2e18;
  return std::abs(number) < kMost ? static_cast<std::int64_t>(number) : 0;
}

bool BoolField(const Json& json, const char* name) {
  const Json* field = Field(json, name);
  return field != nullptr && field->is_boolean() && field->get<bool>();
}

std::string GoNumber(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "+Inf" : "-Inf";
  // Go's shortest %g has the exponent form below 1e-4 and from 1e+06 up (strconv/ftoa.go).
  std::array<char, 64> buffer{};
  const auto scientific = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number,
                                        std::chars_format::scientific);
  const std::string text(buffer.data(), scientific.ptr);
  const std::size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  constexpr int kLeast = -4;
  constexpr int kMost = 6;
  if (exponent < kLeast || exponent >= kMost) return text;
  const auto fixed =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, std::chars_format::fixed);
  return std::string(buffer.data(), fixed.ptr);
}

}  // namespace corral::cli::internal
