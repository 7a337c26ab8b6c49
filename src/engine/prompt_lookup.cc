#include "engine/prompt_lookup.h"

#include <algorithm>

#include "engine/media_marks.h"

namespace corral::engine {
namespace {

constexpr std::size_t kGram = 3;  // tokens that must be the same
constexpr int kPlainFirst = 3;    // steps without guesses that say what a token costs
constexpr int kTries = 4;         // steps with guesses before a verdict
constexpr int kLongestPause = 1024;
constexpr double kNew = 0.25;

}  // namespace

PromptLookup::PromptLookup(int n_most, std::span<const Token> prompt) : n_most_(n_most) {
  if (n_most_ <= 0) return;
  tokens_.reserve(prompt.size());
  for (const Token token : prompt) Add(token);
}

std::uint64_t PromptLookup::Key(std::span<const Token> tokens) {
  std::uint64_t key = 14695981039346656037ULL;  // FNV-1a
  for (const Token token : tokens) key = (key ^ static_cast<std::uint32_t>(token)) * 1099511628211U;
  return key;
}

void PromptLookup::Add(Token token) {
  if (n_most_ <= 0) return;
  // What stood at the end is followed by this token now.
  if (tokens_.size() >= kGram) after_[Key(std::span(tokens_).last(kGram))] = tokens_.size();
  tokens_.push_back(token);
}

std::vector<Token> PromptLookup::Guess(int n_most) const {
  const int most = std::min(n_most, n_most_);
  if (most <= 0 || pause_ > 0 || n_plain_ < kPlainFirst || tokens_.size() < kGram) return {};
  const auto last = std::span(tokens_).last(kGram);
  const auto found = after_.find(Key(last));
  if (found == after_.end()) return {};
  const std::size_t at = found->second;
  // Two groups of tokens may have the same key.
  if (!std::equal(last.begin(), last.end(),
                  tokens_.begin() + static_cast<std::ptrdiff_t>(at - kGram)))
    return {};
  const std::size_t n = std::min(static_cast<std::size_t>(most), tokens_.size() - at);
  const auto begin = tokens_.begin() + static_cast<std::ptrdiff_t>(at);
  // An image of the prompt is no guess.
  return {begin, std::find_if(begin, begin + static_cast<std::ptrdiff_t>(n), IsMark)};
}

void PromptLookup::Note(int n_guessed, int n_tokens, Seconds took) {
  if (n_most_ <= 0 || n_tokens <= 0 || took.count() <= 0) return;
  const double a_token = took.count() / n_tokens;
  const auto blend = [a_token](double& average) {
    average = average <= 0 ? a_token : (1 - kNew) * average + kNew * a_token;
  };
  if (n_guessed == 0) {
    blend(plain_s_);
    ++n_plain_;
    pause_ = std::max(pause_ - 1, 0);
    return;
  }
  blend(guessed_s_);
  n_right_ += n_tokens - 1;
  if (++n_guesses_ < kTries) return;
  if (n_right_ == 0 || guessed_s_ > plain_s_) {
    pause_ = next_pause_;
    next_pause_ = std::min(2 * next_pause_, kLongestPause);
    guessed_s_ = 0;
    n_guesses_ = 0;
    n_right_ = 0;
  }
}

}  // namespace corral::engine
