// The functions of the template language: Go's builtins and Ollama's json, currentDate,
// yesterdayDate, toTypeScriptType.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "templates/internal/value.h"

namespace corral::templates::internal {

struct Function {
  // Throws CallError with Go's text. Never called for `and` and `or`, which the evaluator
  // shortcuts.
  using Call = Value (*)(const std::vector<Value>& args, Arena& arena);

  std::string_view name;
  std::size_t n_fixed;  // arguments it needs
  bool is_variadic;     // and takes more
  bool wants_format;    // the first argument must be a string
  Call call;
};

// Null if there is none.
const Function* FindFunction(std::string_view name);

// What an argument costs to look at, in steps: long text is not free to compare or to copy.
std::size_t Cost(const Value& value);

// The methods of Ollama's types that a template can name as a field: String and ToTypeScriptType.
bool FindMethod(const Value& receiver, std::string_view name, Arena& arena, Value& result);

}  // namespace corral::templates::internal
