// Chooses the next token of one job from the scores of its last position.
//
// llama.cpp's common sampler does the work (penalties, top_k, typical_p, top_p, min_p, temperature,
// grammar, in its own order); plain greedy decoding takes the best score directly. One thread: the
// engine's.
#pragma once

#include <llama.h>
#include <sampling.h>

#include <memory>
#include <vector>

#include "core/job.h"
#include "core/result.h"
#include "engine/llama/loaded_model.h"
#include "engine/llama/prompt_builder.h"

namespace corral::engine {

class Sampler {
 public:
  // Errors: kInvalidArgument (a grammar that does not compile, an option out of range).
  static Result<std::unique_ptr<Sampler>> Create(const LoadedModel& model,
                                                 const SamplingOptions& options,
                                                 const PreparedPrompt& prompt, int n_ctx);

  // Scores of row `row` of the last llama_decode. Remembers the token.
  Token Sample(llama_context* context, int row);

  // Log-probabilities of the unmodified scores of `row`: of `token`, and of the `n_top` best.
  // shape of logits [n_vocab]; unit natural logarithm
  TokenLogprob Logprobs(llama_context* context, int row, Token token, int n_top) const;

 private:
  explicit Sampler(const LoadedModel& model) : model_(model) {}
  const LoadedModel& model_;
  common_sampler_ptr chain_;  // null: greedy without penalties and grammar
};

}  // namespace corral::engine
