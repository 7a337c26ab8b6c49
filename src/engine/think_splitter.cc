#include "engine/think_splitter.h"

#include <algorithm>
#include <utility>

namespace corral::engine {
namespace {

constexpr std::string_view kBlanks = " \t\r\n\v\f";

void DropLeadingBlanks(std::string& text) {
  text.erase(0, std::min(text.find_first_not_of(kBlanks), text.size()));
}

}  // namespace

std::size_t BegunMark(std::string_view text, std::string_view mark) {
  for (std::size_t n = std::min(text.size(), mark.size() - 1); n > 0; --n) {
    if (text.ends_with(mark.substr(0, n))) return n;
  }
  return 0;
}

ThinkSplitter::ThinkSplitter(std::string open, std::string close, bool is_inside)
    : open_(std::move(open)),
      close_(std::move(close)),
      state_(is_inside ? State::kAfterOpen : State::kBefore) {}

bool ThinkSplitter::Step(Parts* parts) {
  switch (state_) {
    case State::kBefore: {
      const std::size_t begin = std::min(held_.find_first_not_of(kBlanks), held_.size());
      const std::string_view seen = std::string_view(held_).substr(begin);
      if (seen.starts_with(open_)) {
        held_.erase(0, begin + open_.size());
        state_ = State::kAfterOpen;
        return true;
      }
      if (std::string_view(open_).starts_with(seen)) return false;
      state_ = State::kAnswer;
      return true;
    }
    case State::kAfterOpen:
    case State::kAfterClose:
      DropLeadingBlanks(held_);
      if (held_.empty()) return false;
      state_ = state_ == State::kAfterOpen ? State::kInside : State::kAnswer;
      return true;
    case State::kInside: {
      const std::size_t end = held_.find(close_);
      if (end != std::string::npos) {
        parts->thinking += held_.substr(0, end);
        held_.erase(0, end + close_.size());
        state_ = State::kAfterClose;
        return true;
      }
      // White space in front of a mark that has begun waits with it.
      std::size_t n_shown = held_.size() - BegunMark(held_, close_);
      while (n_shown > 0 && kBlanks.find(held_[n_shown - 1]) != std::string_view::npos) --n_shown;
      parts->thinking += held_.substr(0, n_shown);
      held_.erase(0, n_shown);
      return false;
    }
    case State::kAnswer:
      parts->text += std::exchange(held_, {});
      return false;
  }
  return false;
}

ThinkSplitter::Parts ThinkSplitter::Add(std::string_view text) {
  held_ += text;
  Parts parts;
  while (Step(&parts)) {
  }
  return parts;
}

ThinkSplitter::Parts ThinkSplitter::Finish() {
  Parts parts;
  if (state_ == State::kInside) {
    parts.thinking = std::exchange(held_, {});
  } else {
    parts.text = std::exchange(held_, {});
  }
  return parts;
}

}  // namespace corral::engine
