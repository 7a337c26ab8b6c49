#include "cli/model_name.h"

#include <cctype>

namespace corral::cli {
namespace {

constexpr std::size_t kMostHostBytes = 350;
constexpr std::size_t kMostPartBytes = 80;

bool IsWord(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

bool IsPart(std::string_view part, std::string_view more_characters, std::size_t most_bytes) {
  if (part.empty() || part.size() > most_bytes || !IsWord(part[0])) return false;
  for (const char c : part.substr(1))
    if (!IsWord(c) && more_characters.find(c) == std::string_view::npos) return false;
  return true;
}

// Cuts what follows the last `separator` off `text`. False if there is no separator.
bool CutLast(std::string_view& text, char separator, std::string_view* last) {
  const std::size_t at = text.rfind(separator);
  if (at == std::string_view::npos) return false;
  *last = text.substr(at + 1);
  text = text.substr(0, at);
  return true;
}

}  // namespace

bool IsValidModelName(std::string_view name) {
  std::string_view part;
  const std::size_t colon = name.rfind(':');
  const std::size_t slash = name.rfind('/');
  if (colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash)) {
    CutLast(name, ':', &part);
    if (!IsPart(part, "-.", kMostPartBytes)) return false;
  }
  if (!CutLast(name, '/', &part)) return IsPart(name, "-.", kMostPartBytes);
  if (!IsPart(part, "-.", kMostPartBytes)) return false;
  if (!CutLast(name, '/', &part)) return IsPart(name, "-", kMostPartBytes);
  if (!IsPart(part, "-", kMostPartBytes)) return false;
  if (const std::size_t scheme = name.find("://"); scheme != std::string_view::npos)
    name.remove_prefix(scheme + 3);
  return IsPart(name, "-.:", kMostHostBytes);
}

}  // namespace corral::cli
