// How many of its tokens stay when a prompt is cut, and what two of them have in common. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "core/job.h"

namespace corral::engine {

// num_ctx - max((num_ctx - keep) / 2, 1), as Ollama's runner cuts a prompt that is too long
// (docs/formats/api.md).
constexpr int CutPromptLength(int n_ctx, int n_keep) {
  if (n_ctx <= 1) return std::max(n_ctx, 0);
  const int keep = std::clamp(n_keep, 0, n_ctx - 1);
  return n_ctx - std::max((n_ctx - keep) / 2, 1);
}

// Tokens that both begin with.
inline std::size_t CommonPrefix(std::span<const Token> a, std::span<const Token> b) {
  const std::size_t n = std::min(a.size(), b.size());
  std::size_t i = 0;
  while (i < n && a[i] == b[i]) ++i;
  return i;
}

}  // namespace corral::engine
