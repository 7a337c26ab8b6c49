// llama_decode and the encoders of images and sounds, one at a time, on as many threads as are good
// now.
//
// The contexts of one model (generator, embedder) take turns on the same cores, in the order of
// asking. Thread-safe.
#pragma once

#include <llama.h>

#include <chrono>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include "engine/llama/thread_limit.h"
#include "engine/llama/turn_lock.h"
#include "engine/thread_tuner.h"

namespace corral::engine {

class Cores {
 public:
  struct Step {
    int code = 0;  // llama_decode's
    std::chrono::duration<double> took{0};
  };

  // `is_fixed`: the user has said how many threads.
  Cores(int n_threads, bool is_fixed)
      : tokens_(n_threads, is_fixed), prompts_(n_threads, is_fixed) {}

  // Waits for its turn. Throws what llama_decode throws. `is_typical`: it says how fast this
  // machine computes; not one that prepares the context for other adapters first, on one thread.
  Step Decode(llama_context* context, const llama_batch& batch, bool is_typical = true);
  // Runs `work`, which has ggml compute on threads of its own number, in its turn, on no more than
  // are good now (see CanLimitThreads). Throws what it throws.
  template <class Work>
  auto Compute(Work&& work) {
    const std::lock_guard turn(turn_);
    std::optional<std::invoke_result_t<Work>> result;
    WithThreadLimit(threads(), [&] { result.emplace(work()); });
    return *std::move(result);
  }
  // Runs `work` while nothing else is computed, in its turn: for what every llama_decode reads.
  template <class Work>
  auto WhilePaused(Work&& work) {
    const std::lock_guard turn(turn_);
    return work();
  }
  // See ThreadTuner.
  void SetSharers(int n_sharers);
  // For long computations: of prompts, and what takes its turn by WhilePaused.
  int threads() const;

 private:
  TurnLock turn_;
  mutable std::mutex mutex_;
  // A step of few tokens is all barriers, one of a prompt all arithmetic: what is good for one
  // beside a busy neighbour costs the other half its speed.
  ThreadTuner tokens_, prompts_;                // guarded by mutex_
  std::chrono::steady_clock::time_point last_;  // end of the decode before; of who has the turn
};

}  // namespace corral::engine
