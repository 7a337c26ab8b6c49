// Guesses the next tokens of an answer from what stands already in prompt and answer: after the
// same few tokens, often the same ones follow (code, quotations, summaries). The guesses are
// evaluated beside the next token and kept as far as the sampler chooses the same: the text is the
// one that it would be without.
//
// A guess costs time whether it is right or not, so this watches what it is worth: when none is
// right, or tokens come no faster with guesses than without, it pauses, longer each time. Pure; not
// thread-safe. Source of the idea: A. Saxena, "Prompt Lookup Decoding", 2023.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/job.h"

namespace corral::engine {

class PromptLookup {
 public:
  using Seconds = std::chrono::duration<double>;

  // `n_most`: guesses of a step at most; 0: never guesses.
  PromptLookup(int n_most, std::span<const Token> prompt);

  // The next token of the answer.
  void Add(Token token);
  // What may follow; empty while it is not worth it, or nothing is known.
  std::vector<Token> Guess(int n_most) const;
  // A step with `n_guessed` guesses gave `n_tokens` tokens and took that long.
  void Note(int n_guessed, int n_tokens, Seconds took);

 private:
  static std::uint64_t Key(std::span<const Token> tokens);

  const int n_most_;
  std::vector<Token> tokens_;
  // The place after the latest but one occurrence of the last kGram tokens is what is looked for:
  // the newest occurrence is entered one token late.
  std::unordered_map<std::uint64_t, std::size_t> after_;
  double plain_s_ = 0, guessed_s_ = 0;  // a token, lately; 0: not known
  int n_plain_ = 0, n_guesses_ = 0;     // steps measured
  int n_right_ = 0;                     // guesses among these that were right
  int pause_ = 0;                       // steps still to go without
  int next_pause_ = 32;
};

}  // namespace corral::engine
