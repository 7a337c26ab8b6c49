#include "engine/step_budget.h"

#include <algorithm>

namespace corral::engine {
namespace {

using Seconds = StepBudget::Seconds;

constexpr int kFirstChunk = 64;  // before the speed is known
constexpr int kSmallestChunk = 16;
constexpr int kRows = 64;  // that attention on CPU takes at once: ggml_fa_tile_config of ggml-cpu
constexpr Seconds kChunkBesideStreams{0.18};
constexpr double kLongerChunk = 2.5;  // at most, where many prompts wait
constexpr Seconds kChunkAlone{0.5};
constexpr double kShareOfOne = 1.25;
constexpr double kShareOfShort = 4;
constexpr double kMostCost = 1.5;  // of short prompts: of the time that the streams still take
constexpr double kMostShare = 8;
constexpr Seconds kMostTaken{10};  // that is held against short prompts
constexpr double kNew = 0.3;       // weight of the newest measurement

// Rows beyond a multiple of kRows cost as much as a whole one: 112 tokens a step were read at 205
// a second where 64 were at 217 and 256 at 250.
int WholeRows(int n_tokens) {
  if (n_tokens < kRows * 3 / 4) return n_tokens;
  return (n_tokens + kRows / 2) / kRows * kRows;
}

Seconds ChunkBesideStreams(int n_prompts) {
  return kChunkBesideStreams * std::clamp(n_prompts / 2.0, 1.0, kLongerChunk);
}

}  // namespace

// Time that prompts get for each second of the streams'. The more of them wait, the more: their
// streams will share steps with those that run, where these alone would take more time for each
// token.
double StepBudget::Share(int n_prompts) const {
  const double least = prompts_end_first_ ? kShareOfShort : kShareOfOne;
  return std::clamp(kShareOfOne * n_prompts, least, kMostShare);
}

void StepBudget::Expect(int n_stream_tokens, int n_prompt_tokens) {
  if (prompt_tokens_per_s_ <= 0) return;
  const Seconds of_prompts = taken_ + Seconds(n_prompt_tokens / prompt_tokens_per_s_);
  prompts_end_first_ = of_prompts <= kMostCost * n_stream_tokens * stream_step_;
}

int StepBudget::PromptTokens(int n_streams, int n_prompts, int n_wanted, int n_most) const {
  const int most = std::min(n_wanted, n_most);
  if (most <= 0) return 0;
  if (prompt_tokens_per_s_ <= 0) return std::min(most, kFirstChunk);
  const auto tokens_in = [&](Seconds time) {
    const auto n = static_cast<int>(prompt_tokens_per_s_ * time.count());
    return is_on_cpu_ ? WholeRows(std::max(n, kSmallestChunk)) : std::max(n, kSmallestChunk);
  };
  if (n_streams == 0) return std::min(most, tokens_in(kChunkAlone));
  const Seconds time = ChunkBesideStreams(n_prompts);
  const int chunk = std::min(most, tokens_in(time));
  return credit_.count() * prompt_tokens_per_s_ >= chunk || credit_ >= time ? chunk : 0;
}

bool StepBudget::SharesBatch(int n_streams, int n_prompt_tokens) const {
  return !is_on_cpu_ || n_streams + n_prompt_tokens < kRows;
}

void StepBudget::Note(int n_stream_tokens, int n_prompt_tokens, int n_prompts_waiting, Seconds took,
                      int n_streams_waiting) {
  if (took.count() <= 0) return;
  if (n_prompt_tokens == 0) {
    stream_step_ = stream_step_.count() <= 0 ? took : (1 - kNew) * stream_step_ + kNew * took;
    taken_ = std::max(taken_ - kMostCost * took, Seconds(0));
    credit_ =
        std::min(credit_ + Share(n_prompts_waiting) * took, ChunkBesideStreams(n_prompts_waiting));
    return;
  }
  // What the streams' tokens of this step took is theirs.
  const Seconds of_streams = n_stream_tokens > 0 ? std::min(stream_step_, took / 2) : Seconds(0);
  const Seconds of_prompts = took - of_streams;
  if (n_prompt_tokens >= kSmallestChunk) {
    const double speed = n_prompt_tokens / of_prompts.count();
    prompt_tokens_per_s_ =
        prompt_tokens_per_s_ <= 0 ? speed : (1 - kNew) * prompt_tokens_per_s_ + kNew * speed;
  }
  if (n_stream_tokens + n_streams_waiting == 0) {
    taken_ = Seconds(0);
    return;
  }
  taken_ = std::min(taken_ + of_prompts, kMostTaken);
  credit_ = std::max(credit_ - of_prompts, -ChunkBesideStreams(n_prompts_waiting));
}

}  // namespace corral::engine
