// The versions we show. One place.
#pragma once

#include <string_view>

namespace corral::api {

// What /api/version answers: the Ollama release whose wire behaviour we follow. Clients compare it
// with the least version that they need, so it is an Ollama version and not ours.
inline constexpr std::string_view kOllamaVersion = "0.32.1";

}  // namespace corral::api
