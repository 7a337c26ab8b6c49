#include "core/json_text.h"

#include <algorithm>

namespace corral {

std::size_t SkipJsonString(std::string_view text, std::size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return std::min(at + 1, text.size());
}

bool IsJsonDeeperThan(std::string_view text, int most) {
  int depth = 0;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"') {
      i = SkipJsonString(text, i);
      continue;
    }
    if ((c == '{' || c == '[') && ++depth > most) return true;
    if (c == '}' || c == ']') --depth;
    ++i;
  }
  return false;
}

}  // namespace corral
