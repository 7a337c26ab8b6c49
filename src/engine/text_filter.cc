#include "engine/text_filter.h"

#include <algorithm>
#include <utility>

#include "core/text.h"

namespace corral::engine {
namespace {

// `text` as UTF-8 to be shown: half a code point at its end becomes one U+FFFD, as every invalid
// byte does.
std::string AsUtf8(std::string_view text) {
  const std::size_t half = IncompleteUtf8Suffix(text);
  text.remove_suffix(half);
  std::string shown = ReplaceInvalidUtf8(text);
  if (half > 0) shown += "\xEF\xBF\xBD";
  return shown;
}

}  // namespace

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
    std::string shown = AsUtf8(std::string_view(held_).substr(0, earliest));
    held_.clear();
    n_shown_ += earliest;
    return shown;
  }

  // A stop's possible start may itself follow half a code point: never cut inside one.
  std::string_view ready = std::string_view(held_).substr(0, held_.size() - hold);
  ready.remove_suffix(IncompleteUtf8Suffix(ready));
  std::string shown = ReplaceInvalidUtf8(ready);
  n_shown_ += ready.size();
  held_.erase(0, ready.size());
  return shown;
}

std::string TextFilter::Flush() {
  std::string shown = AsUtf8(held_);
  n_shown_ += held_.size();
  held_.clear();
  return has_stopped_ ? std::string() : shown;
}

}  // namespace corral::engine
