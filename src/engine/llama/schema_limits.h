// Keeps JSON Schemas out that llama.cpp's grammar compiler takes seconds for, or whose grammar
// slows every token down.
//
// Measured on llama.cpp v0.5.0: nesting 5,000 deep compiles for 7 s, 2,000 optional properties for
// 13 s, 20,000 enum values for 3 s. What stays within these limits compiles in well under a second.
// And bounds of integers that it makes no grammar of.
// Pure.
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"

namespace corral::engine {

struct SchemaLimits {
  std::size_t bytes = 64 * 1024;
  int depth = 64;             // of objects and arrays in each other
  int values = 4096;          // of all kinds, keys not counted
  int properties = 128;       // of one object; the compiler is quadratic in the optional ones
  int choices = 1000;         // enum values and members of anyOf, oneOf, allOf, together
  double repetitions = 4000;  // minLength, maxLength, minItems and maxItems, together
  std::size_t pattern_bytes = 2048;  // of all patterns
  int tools = 8;                     // in which `values` and `repetitions` may be used up together
};

// kInvalidArgument names the limit, or the bound of an integer. Text that is no JSON is an error,
// too.
Status CheckSchema(std::string_view schema, const SchemaLimits& limits = {});

// The same for a request's tools, an array: each tool by itself, whose parameters may have as much
// as a schema, and a few schemas' worth together: they are compiled as one. Their bytes have no
// limit of their own: descriptions may be long.
Status CheckTools(std::string_view tools_json, const SchemaLimits& limits = {});

}  // namespace corral::engine
