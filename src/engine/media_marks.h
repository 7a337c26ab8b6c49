// The numbers that stand for an image or a sound in a sequence of tokens: one a position, all
// negative, made from an id that stands for the content. Two ids are two contents, so equal numbers
// mean an equal state, and the prefix cache compares them like tokens. The first number differs
// from the others, so that two equal images in a row are seen as two.
//
// An image is evaluated as one and reused as one: a sequence is only ever cut beside it. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/job.h"

namespace corral::engine {

// Ids are 0 .. kMediaIds - 1; the numbers of the last one still fit.
inline constexpr std::int32_t kMediaIds = (1 << 30) - 2;

// -1 is no mark: it means "no token" in many places.
constexpr Token FirstMark(std::int32_t id) { return -2 - 2 * id; }
constexpr Token NextMark(std::int32_t id) { return -3 - 2 * id; }

constexpr bool IsMark(Token token) { return token < -1; }
constexpr bool IsFirstMark(Token token) { return IsMark(token) && token % 2 == 0; }

// Where the image or sound begins that position `at`, a mark, belongs to.
inline std::size_t MediaBegin(std::span<const Token> tokens, std::size_t at) {
  while (at > 0 && !IsFirstMark(tokens[at])) --at;
  return at;
}

// The largest length up to `n` at which `tokens` can be cut.
inline std::size_t CutBesideMedia(std::span<const Token> tokens, std::size_t n) {
  if (n >= tokens.size() || !IsMark(tokens[n]) || IsFirstMark(tokens[n])) return n;
  return MediaBegin(tokens, n);
}

// What of a prompt may be reused at most: all but what must be evaluated to predict from.
inline std::span<const Token> ReusablePart(std::span<const Token> prompt) {
  return prompt.empty() ? prompt : prompt.first(CutBesideMedia(prompt, prompt.size() - 1));
}

}  // namespace corral::engine
