// JSON as far as it can be told without reading it: where strings end, how deep it goes. For code
// in front of parsers that recurse, and for text that may hold JSON.
//
// Pure. Thread-safe. The text may be anything; time is proportional to its length.
#pragma once

#include <cstddef>
#include <string_view>

namespace corral {

// One past the string whose opening quote stands at `at`; the end of the text if it is not closed.
std::size_t SkipJsonString(std::string_view text, std::size_t at);

// Whether objects and arrays lie deeper in each other than `most`.
bool IsJsonDeeperThan(std::string_view text, int most);

}  // namespace corral
