// The help screens of the prompt (stderr).
#pragma once

#include <string>
#include <string_view>

namespace corral::cli {

std::string PromptHelp(bool is_multimodal);
extern const std::string_view kSetHelp;
extern const std::string_view kShowHelp;
extern const std::string_view kShortcutHelp;
extern const std::string_view kParameterHelp;

}  // namespace corral::cli
