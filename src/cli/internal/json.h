// JSON as this room uses it: for .cc files only (the header is heavy).
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace corral::cli::internal {

using Json = nlohmann::ordered_json;

// nullopt: not JSON, or nested deeper than 512 (nlohmann would overflow the stack when such a value
// is copied).
std::optional<Json> ParseJson(std::string_view text);
// Text that is not UTF-8 gets U+FFFD instead of an exception.
std::string DumpJson(const Json& json);

// The field of an object, or a default where it is absent or of another type.
std::string TextField(const Json& json, const char* name);
std::int64_t IntField(const Json& json, const char* name);
bool BoolField(const Json& json, const char* name);
// Null if there is none, or `json` is no object.
const Json* Field(const Json& json, const char* name);

// A float64 as Go's %v prints it: 0.7, 4096, 1e+06.
std::string GoNumber(double number);

}  // namespace corral::cli::internal
