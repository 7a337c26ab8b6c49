// Which prompt a step reads first. Pure.
//
// Prompts that take turns within each step all get their first token as late as the last of them,
// and their cells lie mixed: attention skips masked cells by tiles of 64 and finds none to skip (8
// prompts of 330 tokens at once: the first token after 9 s on the average, and 14 s by turns). So
// the one with the least left is read first, and now and then the oldest, so that no stream of
// short prompts keeps a long one waiting for ever.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace corral::engine {

inline constexpr std::int64_t kOldestTurn = 4;  // of so many steps one reads the oldest first

// `left`: tokens that each has still to read, the oldest first. Indices of those with any, in the
// order in which the step `n_step` reads them.
std::vector<std::size_t> PromptOrder(std::span<const std::size_t> left, std::int64_t n_step);

}  // namespace corral::engine
