// How many cells of a terminal text takes. Pure, thread-safe.
#pragma once

#include <string_view>

namespace corral::cli {

// 0 for control characters and marks that join the character before, 2 for wide ones (East Asian,
// emoji), else 1.
int RuneWidth(char32_t rune);
// The sum over a UTF-8 text.
int TextWidth(std::string_view text);

}  // namespace corral::cli
