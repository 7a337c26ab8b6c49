// Chooses the next token of one job from the scores of its last position.
//
// The grammar of an answer is applied here, and led over the end of the prompt as text; llama.cpp's
// own way does that by tokens, which fails for vocabularies that put blanks in front of words.
// llama.cpp's common sampler does the work (penalties, DRY, top_n_sigma, top_k, typical_p, top_p,
// min_p, XTC, temperature, or mirostat; grammar; in its own order); plain greedy decoding takes the
// best score directly. Numbers beyond what its arithmetic bears are clamped. One thread: the
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

struct llama_grammar;

namespace corral::engine {

class Sampler {
 public:
  // Errors: kInvalidArgument (a grammar that does not compile, an option out of range).
  static Result<std::unique_ptr<Sampler>> Create(const LoadedModel& model,
                                                 const SamplingOptions& options,
                                                 const PreparedPrompt& prompt, int n_ctx);

  // Scores of row `row` of the last llama_decode. Remembers the token. Throws what llama.cpp
  // throws, and std::runtime_error when the grammar leaves no token.
  Token Sample(llama_context* context, int row);

  // Log-probabilities of the unmodified scores of `row`: of `token`, and of the `n_top` best.
  // shape of logits [n_vocab]; unit natural logarithm
  TokenLogprob Logprobs(llama_context* context, int row, Token token, int n_top) const;

 private:
  struct GrammarDeleter {
    void operator()(llama_grammar* grammar) const;
  };

  explicit Sampler(const LoadedModel& model) : model_(model) {}
  // The grammar of the whole answer. Errors: kInternal.
  Status SetGrammar(const PreparedPrompt& prompt);
  Token Pick(llama_context* context, int row);
  Token PickAllowed(llama_context* context, int row);
  // Takes a step of grammar_. Throws where too many ways would lie open.
  void Accept(Token token);
  bool Allows(Token token) const;

  const LoadedModel& model_;
  common_sampler_ptr chain_;  // null: greedy without penalties and lazy grammar
  std::unique_ptr<llama_grammar, GrammarDeleter> grammar_;  // null: none, or a lazy one in chain_
  bool is_ambiguous_ = false;  // grammar_, before this step: see AreAmbiguous
};

}  // namespace corral::engine
