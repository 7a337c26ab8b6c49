#include "engine/text_filter.h"

#include <algorithm>
#include <utility>

namespace corral::engine {
namespace {

// Length that a code point beginning with `lead` has; 0 if no code point begins so.
std::size_t Utf8Length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead < 0xE0) return 2;
  if (lead >= 0xE0 && lead < 0xF0) return 3;
  if (lead >= 0xF0 && lead < 0xF5) return 4;
  return 0;
}

bool IsContinuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// Whether the second byte may follow the lead: no overlong forms, no surrogates, nothing above U+10FFFF.
bool IsSecondByte(unsigned char lead, unsigned char second) {
  if (!IsContinuation(second)) return false;
  if (lead == 0xE0) return second >= 0xA0;
  if (lead == 0xED) return second < 0xA0;
  if (lead == 0xF0) return second >= 0x90;
  if (lead == 0xF4) return second < 0x90;
  return true;
}

// Longest suffix of `text` that is a proper prefix of `stop`.
std::size_t PossibleStart(std::string_view text, std::string_view stop) {
  for (std::size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.ends_with(stop.substr(0, n))) return n;
  }
  return 0;
}

}  // namespace

std::size_t IncompleteUtf8Suffix(std::string_view text) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    const auto lead = static_cast<unsigned char>(text[text.size() - back]);
    if (IsContinuation(lead)) continue;
    if (Utf8Length(lead) <= back) return 0;
    if (back >= 2 && !IsSecondByte(lead, static_cast<unsigned char>(text[text.size() - back + 1]))) return 0;
    return back;
  }
  return 0;
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = Utf8Length(lead);
    std::size_t good = length == 0 ? 0 : 1;
    while (good > 0 && good < length && i + good < text.size()) {
      const auto byte = static_cast<unsigned char>(text[i + good]);
      if (good == 1 ? !IsSecondByte(lead, byte) : !IsContinuation(byte)) break;
      ++good;
    }
    if (length != 0 && good == length) {
      out.append(text, i, length);
      i += length;
    } else {
      out.append("\xEF\xBF\xBD");
      i += std::max<std::size_t>(good, 1);
    }
  }
  return out;
}

TextFilter::TextFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

std::string TextFilter::Add(std::string_view bytes) {
  if (has_stopped_) return {};
  held_.append(bytes);

  std::size_t earliest = std::string::npos;
  for (const std::string& stop : stops_) earliest = std::min(earliest, held_.find(stop));
  if (earliest != std::string::npos) {
    has_stopped_ = true;
    std::string shown = ReplaceInvalidUtf8(std::string_view(held_).substr(0, earliest));
    held_.clear();
    return shown;
  }

  std::size_t hold = IncompleteUtf8Suffix(held_);
  for (const std::string& stop : stops_) hold = std::max(hold, PossibleStart(held_, stop));
  // A stop's possible start may itself follow half a code point: never cut inside one.
  const std::string_view shown_part = std::string_view(held_).substr(0, held_.size() - hold);
  std::string shown = ReplaceInvalidUtf8(shown_part.substr(0, shown_part.size() - IncompleteUtf8Suffix(shown_part)));
  held_.erase(0, shown_part.size() - IncompleteUtf8Suffix(shown_part));
  return shown;
}

std::string TextFilter::Flush() {
  std::string shown = ReplaceInvalidUtf8(held_);
  held_.clear();
  return has_stopped_ ? std::string() : shown;
}

}  // namespace corral::engine
