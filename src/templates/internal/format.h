// Values as text: what {{ . }}, print and printf show (Go's fmt), and what `json` shows (Go's
// encoding/json).
//
// Pure functions. A text that grows past kMaxTextBytes throws Failure (kTooLarge). Widths and
// precisions are at most 1,000,000, as in Go.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "templates/internal/value.h"

namespace corral::templates::internal {

inline constexpr std::size_t kMaxTextBytes = std::size_t{128} << 20U;

// %v. A nil is "<nil>"; what an action prints for nil ("<no value>") is the evaluator's.
void AppendText(std::string& out, const Value& value);
// The same for an error text: at most some 200 bytes of it.
std::string ShortText(const Value& value);
// fmt.Sprint and fmt.Sprintln.
std::string Print(const std::vector<Value>& values);
std::string PrintLine(const std::vector<Value>& values);
// fmt.Sprintf, with its marks for mistakes: %!d(string=hi), %!s(MISSING), %!(EXTRA int=3).
std::string PrintFormat(std::string_view format, const std::vector<Value>& values);

// json.Marshal: no blanks, map keys sorted, < > & escaped.
void AppendJson(std::string& out, const Value& value);

// Throws Failure (kTooLarge) if `out` has outgrown kMaxTextBytes.
void CheckSize(const std::string& out);

}  // namespace corral::templates::internal
