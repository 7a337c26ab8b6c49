#include "engine/llama/cores.h"

#include <ctime>

namespace corral::engine {
namespace {

constexpr int kFewTokens = 16;

std::chrono::duration<double> ProcessorTime() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

Cores::Step Cores::Decode(llama_context* context, const llama_batch& batch, bool is_typical) {
  const std::lock_guard turn(turn_);
  ThreadTuner& tuner = batch.n_tokens <= kFewTokens ? tokens_ : prompts_;
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
  const std::lock_guard lock(mutex_);
  if (step.code == 0 && is_typical)
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
