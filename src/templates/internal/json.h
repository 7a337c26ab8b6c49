// JSON text into values. The only file of this room that knows a JSON library.
#pragma once

#include <string_view>

#include "templates/internal/value.h"

namespace corral::templates::internal {

inline constexpr int kMaxJsonDepth = 100;

// `tools` of a request as a list of tools, and the `arguments` of a tool call as a map. Missing or
// wrong members read as empty, as unset fields of Ollama's structs; unknown ones are dropped.
// Numbers become floats, as in Go. Throws Failure (kInvalidArgument) if the text is no JSON, no
// array or object, or nests deeper than kMaxJsonDepth.
List ReadTools(std::string_view json, Arena& arena);
const Map* ReadArguments(std::string_view json, Arena& arena);

}  // namespace corral::templates::internal
