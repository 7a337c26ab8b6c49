// The Modelfile grammar, read and printed. Source: docs/formats/modelfile.md. Pure: no I/O.
// Thread-safe (values).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/result.h"

namespace corral::modelfile {

// One instruction. FROM is named "model"; PARAMETER has the parameter's name; MESSAGE is "message"
// with "role: text". Every other one has its own name in lower case.
struct Command {
  std::string name;
  std::string args;
  bool operator==(const Command&) const = default;

  // The instruction's line, without a newline at its end: `FROM llama3.2`, `PARAMETER stop
  // <|end|>`.
  std::string ToString() const;
};

struct Modelfile {
  std::vector<Command> commands;
  // As `show --modelfile` prints it: one instruction a line, quoted only where needed.
  std::string ToString() const;
};

// UTF-8, or UTF-16 with a byte order mark. Takes time proportional to the text.
// Errors: kInvalidArgument with Ollama's text: "no FROM line", "(line 2): command must be one of
// ...", "unexpected EOF".
Result<Modelfile> Parse(std::string_view text);

// The value as `show` quotes it in a Modelfile line: bare, "..." or """...""".
std::string Quote(std::string_view value);

// The value of REQUIRES without its "v". Errors: kInvalidArgument "requires must be a valid semver
// (e.g. 0.14.0)".
Result<std::string> ParseRequires(std::string_view value);

// One PARAMETER as its type; stop gathers in a list. A double is always finite.
using ParameterValue =
    std::variant<std::int64_t, double, bool, std::string, std::vector<std::string>>;
struct Parameter {
  std::string name;
  ParameterValue value;
};

// Names and values as they were given, to their types, in order of first appearance. A list gathers
// all values of all its entries; of the others the last entry's first value counts (each is
// checked). Errors: kInvalidArgument: "unknown parameter 'x'", "invalid int value [1.5]", "invalid
// float value [x]", "invalid bool value [x]", ParseKvCacheType's (core/kv_cache_types.h).
// `warnings` (may be null) gets "warning: parameter mirostat is deprecated" for parameters that are
// dropped.
Result<std::vector<Parameter>> FormatParameters(
    const std::vector<std::pair<std::string, std::vector<std::string>>>& values,
    std::vector<std::string>* warnings);

// What kind of value a parameter takes; kUnknown if there is no such parameter. Names are
// case-sensitive.
enum class ParameterKind { kUnknown, kDeprecated, kInt, kFloat, kBool, kKvCacheType, kList };
ParameterKind KindOfParameter(std::string_view name);

}  // namespace corral::modelfile
