// How many tokens of prompts a step takes, so that running streams never stall long and a new
// prompt still comes along.
//
// Measured, not guessed: the speed of prompt tokens, by the time of the steps so far. With streams
// running, prompts get a share of the time: a chunk of a bounded length, then steps of the streams
// alone until these have had theirs. So a stream's longest gap is one chunk, and beside one prompt
// it takes little more than twice its time. A prompt that ends before the streams do costs them the
// same whenever it is read, and gets a larger share; one after the other they do not. Where a queue
// of prompts waits, what all get together counts more: longer chunks, and a larger share. Without
// streams a step is only bounded so that a cancel, or a new job, waits for one step. Pure
// arithmetic: no clock, no llama.cpp. Not thread-safe.
#pragma once

#include <chrono>

namespace corral::engine {

class StepBudget {
 public:
  using Seconds = std::chrono::duration<double>;

  // `is_on_cpu`: attention goes over rows by tiles, see SharesBatch.
  explicit StepBudget(bool is_on_cpu) : is_on_cpu_(is_on_cpu) {}

  // What is to come, as far as it can be known: tokens of the stream that has the fewest left, and
  // of all prompts together.
  void Expect(int n_stream_tokens, int n_prompt_tokens);

  // Prompt tokens of the next step, up to `n_most` of the `n_wanted` that wait; `n_streams` streams
  // take a token each beside them, `n_prompts` prompts wait. 0: the streams have this step for
  // themselves.
  int PromptTokens(int n_streams, int n_prompts, int n_wanted, int n_most) const;

  // Whether streams and a chunk of prompts are evaluated in one batch. On CPU a chunk that fills
  // tiles of attention is better alone: a tile is computed over every cell that any of its rows
  // sees, so that a few rows of streams make a chunk read all their cells, too (64 rows beside 4
  // streams of 350 tokens: 310 ms, and 240 + 25 ms apart).
  bool SharesBatch(int n_streams, int n_prompt_tokens) const;

  // A step of so many tokens of streams and of prompts took that long. `n_streams_waiting`: streams
  // that did not take part.
  void Note(int n_stream_tokens, int n_prompt_tokens, int n_prompts_waiting, Seconds took,
            int n_streams_waiting = 0);

 private:
  double Share(int n_prompts) const;

  const bool is_on_cpu_;
  double prompt_tokens_per_s_ = 0;  // 0: not known yet
  Seconds stream_step_{0};          // of a step with streams only, lately
  Seconds credit_{0};               // time that prompts may take now beside streams
  bool prompts_end_first_ = false;
  Seconds taken_{0};  // by prompts beside the streams, beyond what these can bear
};

}  // namespace corral::engine
