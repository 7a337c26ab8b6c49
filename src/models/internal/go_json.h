// JSON as Go's encoding/json writes it, byte for byte, and a parser that bounds depth and never
// throws. Pure. Thread-safe.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/result.h"

namespace corral::models::internal {

// With '<', '>', '&', U+2028 and U+2029 escaped, and invalid UTF-8 as \ufffd.
std::string QuoteJson(std::string_view text);
// Shortest digits; exponent only below 1e-6 or from 1e21 up. Not for inf and NaN.
std::string FormatNumber(double value);
// As fmt's %v prints a number, but whole numbers never with an exponent below 1e21: 0.7, 1048576,
// 1e-05.
std::string FormatNumberForPeople(double value);

inline constexpr int kMaxJsonDepth = 64;
// Errors: kCorrupt (not JSON, deeper than kMaxJsonDepth).
Result<nlohmann::json> ParseJson(std::string_view text);

// The text under `key`, or empty if it is absent or no text.
std::string TextOf(const nlohmann::json& object, const char* key);

}  // namespace corral::models::internal
