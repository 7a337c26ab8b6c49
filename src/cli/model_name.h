// Whether a text is a model's name: [scheme://][host/][namespace/]model[:tag], by Ollama's rules
// (types/model/name.go). Pure.
#pragma once

#include <string_view>

namespace corral::cli {

bool IsValidModelName(std::string_view name);

}  // namespace corral::cli
