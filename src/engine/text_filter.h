// What of the generated text may be shown: whole code points only, and nothing from a stop string
// on.
//
// Rules: docs/formats/api.md (stop and UTF-8): the earliest stop string wins, also across tokens;
// text that may still become one is held back; bytes that cannot complete a code point any more
// become U+FFFD. One thread, one job.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace corral::engine {

class TextFilter {
 public:
  explicit TextFilter(std::vector<std::string> stops);

  // Takes the bytes of one token; returns what may be shown now (may be empty).
  std::string Add(std::string_view bytes);
  // The end without a stop string: what was held back, with broken UTF-8 replaced.
  std::string Flush();
  // A stop string was found; Add returns nothing more.
  bool HasStopped() const { return has_stopped_; }
  // Bytes, of all that Add took, whose text has been shown.
  std::size_t n_shown() const { return n_shown_; }

 private:
  // A stop string and how much of it the text ends with (Knuth, Morris, Pratt): a step costs a
  // byte, however long the stop string is and however often it begins.
  struct Stop {
    explicit Stop(std::string stop);
    void Advance(char byte);
    std::string text;
    std::vector<std::size_t>
        borders;  // [n]: longest proper prefix that is also a suffix of the first n bytes
    std::size_t n_matched = 0;
  };
  std::vector<Stop> stops_;
  std::string held_;  // not shown yet
  std::size_t n_shown_ = 0;
  bool has_stopped_ = false;
};

}  // namespace corral::engine
