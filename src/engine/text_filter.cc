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

// Whether the second byte may follow the lead: no overlong forms, no surrogates, nothing above
// U+10FFFF.
bool IsSecondByte(unsigned char lead, unsigned char second) {
  if (!IsContinuation(second)) return false;
  if (lead == 0xE0) return second >= 0xA0;
  if (lead == 0xED) return second < 0xA0;
  if (lead == 0xF0) return second >= 0x90;
  if (lead == 0xF4) return second < 0x90;
  return true;
}

}  // namespace

std::size_t IncompleteUtf8Suffix(std::string_view text) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, text.size()); ++back) {
    const auto lead = static_cast<unsigned char>(text[text.size() - back]);
    if (IsContinuation(lead)) continue;
    if (Utf8Length(lead) <= back) return 0;
    if (back >= 2 && !IsSecondByte(lead, static_cast<unsigned char>(text[text.size() - back + 1])))
      return 0;
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

TextFilter::Stop::Stop(std::string stop) : text(std::move(stop)), borders(text.size() + 1, 0) {
  for (std::size_t n = 1; n < text.size(); ++n) {
    std::size_t border = borders[n];
    while (border > 0 && text[n] != text[border]) border = borders[border];
    borders[n + 1] = border + (text[n] == text[border] ? 1 : 0);
  }
}

void TextFilter::Stop::Advance(char byte) {
  while (n_matched > 0 && (n_matched == text.size() || byte != text[n_matched]))
    n_matched = borders[n_matched];
  if (byte == text[n_matched]) ++n_matched;
}

TextFilter::TextFilter(std::vector<std::string> stops) {
  for (std::string& stop : stops) {
    if (!stop.empty()) stops_.emplace_back(std::move(stop));
  }
}

std::string TextFilter::Add(std::string_view bytes) {
  if (has_stopped_) return {};
  const std::size_t n_before = held_.size();
  held_.append(bytes);

  std::size_t earliest = std::string::npos;
  std::size_t hold = IncompleteUtf8Suffix(held_);
  for (Stop& stop : stops_) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      stop.Advance(bytes[i]);
      if (stop.n_matched == stop.text.size()) {
        earliest = std::min(earliest, n_before + i + 1 - stop.text.size());
        break;
      }
    }
    hold = std::max(hold, stop.n_matched);
  }
  if (earliest != std::string::npos) {
    has_stopped_ = true;
    std::string shown = ReplaceInvalidUtf8(std::string_view(held_).substr(0, earliest));
    held_.clear();
    return shown;
  }

  // A stop's possible start may itself follow half a code point: never cut inside one.
  std::string_view ready = std::string_view(held_).substr(0, held_.size() - hold);
  ready.remove_suffix(IncompleteUtf8Suffix(ready));
  std::string shown = ReplaceInvalidUtf8(ready);
  held_.erase(0, ready.size());
  return shown;
}

std::string TextFilter::Flush() {
  std::string shown = ReplaceInvalidUtf8(held_);
  held_.clear();
  return has_stopped_ ? std::string() : shown;
}

}  // namespace corral::engine
