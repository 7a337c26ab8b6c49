// The answer of one running job, from scores to pieces: samples, counts, holds text back for stop
// strings and whole code points, and splits it.
//
// Knows nothing of batches, cells and other jobs: the generator says when a row of scores is ready
// and takes what is to be handed out. One thread: the engine's.
#pragma once

#include <llama.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/job.h"
#include "core/stop.h"
#include "engine/llama/loaded_model.h"
#include "engine/llama/output_parser.h"
#include "engine/llama/prepared_job.h"
#include "engine/text_filter.h"

namespace corral::engine {

class Generation {
 public:
  // What a step gave. The piece may be empty; `done`: the job has come to its end.
  struct Output {
    Piece piece;
    std::optional<DoneReason> done;
  };

  // `model` must outlive this.
  Generation(const LoadedModel& model, std::unique_ptr<PreparedJob> prepared);

  const PreparedJob& prepared() const { return *prepared_; }
  const GenerateJob& job() const { return prepared_->job; }
  const std::vector<Token>& prompt() const { return prepared_->prompt.tokens; }

  // The clock of the final record begins: the job has been admitted.
  void Begin() { started_ = first_token_ = Clock::now(); }

  // Samples the next token from row `row` of the last llama_decode. Throws what llama.cpp's
  // samplers throw (a grammar at a dead end): the end of this job and of no other.
  Output Next(llama_context* context, int row);
  // The token that Next chose last; -1 before the first one.
  Token last() const { return last_; }
  std::int64_t n_generated() const { return n_generated_; }

  // What was held back, when the answer has ended.
  Piece Rest();
  // The final record. `n_reused`: tokens of the prompt that were not evaluated.
  Finish Record(DoneReason reason, std::int64_t n_reused) const;

 private:
  const LoadedModel& model_;
  const std::unique_ptr<PreparedJob> prepared_;
  TextFilter filter_;
  OutputParser parser_;
  const int n_predict_;  // most tokens to generate
  std::int64_t n_generated_ = 0;
  Token last_ = -1;
  // Moves those of tokens whose text the filter has passed on.
  void TakeLogprobs(Piece* piece);

  struct HeldLogprob {
    std::size_t begin;  // of the token's text, in bytes of the answer
    TokenLogprob logprob;
  };
  std::vector<HeldLogprob> held_logprobs_;  // of tokens whose text is still held back
  std::size_t n_bytes_ = 0;                 // of the answer, generated
  std::vector<Token> answer_;               // only if want_context
  Clock::time_point started_ = Clock::now();
  Clock::time_point first_token_ = started_;
};

}  // namespace corral::engine
