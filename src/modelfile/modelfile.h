// The Modelfile grammar, read and printed. Sources: docs/formats/modelfile.md. Pure: no I/O. Thread-safe (values).
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/result.h"

namespace corral::modelfile {

// One instruction. FROM is named "model"; PARAMETER has the parameter's name; MESSAGE is "message" with "role: text".
struct Command {
  std::string name;
  std::string args;
  bool operator==(const Command&) const = default;
};

struct Modelfile {
  std::vector<Command> commands;
  // As `show --modelfile` prints it: one instruction a line, quoted only where needed.
  std::string ToString() const;
};

// Errors: kInvalidArgument with Ollama's text: "no FROM line", "(line 2): command must be one of ...", "unexpected EOF".
Result<Modelfile> Parse(std::string_view text);

// One PARAMETER as its type; stop gathers in a list. Errors: kInvalidArgument: "unknown parameter 'x'",
// "invalid int value [1.5]", "invalid float value [x]", "invalid bool value [x]".
using ParameterValue = std::variant<std::int64_t, double, bool, std::vector<std::string>>;
struct Parameter {
  std::string name;
  ParameterValue value;
};
// `warnings` gets "warning: parameter mirostat is deprecated" for dropped ones.
Result<std::vector<Parameter>> FormatParameters(
    const std::vector<std::pair<std::string, std::vector<std::string>>>& values, std::vector<std::string>* warnings);

// The value as `show` quotes it in a Modelfile line.
std::string Quote(std::string_view value);

}  // namespace corral::modelfile
