#include "engine/llama/cores.h"

#include <ctime>
#include <utility>

namespace corral::engine {
namespace {

constexpr int kFewTokens = 16;
// ggml's threads sleep after a while without work, and waking them takes a good part of a short
// step: one after a pause says nothing of the steps that follow.
constexpr std::chrono::milliseconds kPause{2};

std::chrono::duration<double> ProcessorTime() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

Cores::Step Cores::Decode(llama_context* context, const llama_batch& batch, bool is_typical) {
  const std::lock_guard turn(turn_);
  const bool is_short = batch.n_tokens <= kFewTokens;
  ThreadTuner& tuner = is_short ? tokens_ : prompts_;
  int n_threads = 0;
  {
    const std::lock_guard lock(mutex_);
    n_threads = tuner.threads();
  }
  if (llama_n_threads(context) != n_threads || llama_n_threads_batch(context) != n_threads)
    llama_set_n_threads(context, n_threads, n_threads);
  const auto begin = std::chrono::steady_clock::now();
  const auto cpu = ProcessorTime();
  Step step;
  step.code = llama_decode(context, batch);
  const auto end = std::chrono::steady_clock::now();
  step.took = end - begin;
  const auto pause = begin - std::exchange(last_, end);
  const bool is_after_pause = pause > kPause && pause > step.took;  // sampling is no pause
  const std::lock_guard lock(mutex_);
  // A trial ends all the same: where each step waits for a slow reader it would last for ever.
  const bool tells = !is_short || !is_after_pause || tuner.IsOverdue(end);
  if (step.code == 0 && is_typical && tells)
    tuner.Note(end, batch.n_tokens, step.took, ProcessorTime() - cpu);
  return step;
}

void Cores::SetSharers(int n_sharers) {
  const std::lock_guard lock(mutex_);
  tokens_.SetSharers(n_sharers);
  prompts_.SetSharers(n_sharers);
}

int Cores::threads() const {
  const std::lock_guard lock(mutex_);
  return prompts_.threads();
}

}  // namespace corral::engine
