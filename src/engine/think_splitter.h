// Splits generated text at the marks that a Go template puts around a model's thinking.
//
// Ollama's rules (its thinking/parser.go): only white space may stand before the opening mark, else
// all is answer; white space after either mark is dropped; what may still become a mark is held
// back. One thread, one job.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace corral::engine {

class ThinkSplitter {
 public:
  struct Parts {
    std::string thinking, text;
  };

  // Neither mark is empty. `is_inside`: the prompt ends with the opening mark.
  ThinkSplitter(std::string open, std::string close, bool is_inside);

  Parts Add(std::string_view text);
  // The end: what was held back, as what it turned out to be.
  Parts Finish();

 private:
  enum class State : std::uint8_t { kBefore, kAfterOpen, kInside, kAfterClose, kAnswer };
  // One step; false: more text is needed.
  bool Step(Parts* parts);

  const std::string open_, close_;
  State state_;
  std::string held_;
};

// Length of the longest suffix of `text` that is a proper prefix of `mark`.
std::size_t BegunMark(std::string_view text, std::string_view mark);

}  // namespace corral::engine
