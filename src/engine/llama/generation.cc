#include "engine/llama/generation.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "engine/media_marks.h"

namespace corral::engine {
namespace {

int MostTokens(const GenerateJob& job) {
  const std::int64_t most =
      std::min<std::int64_t>(10LL * job.num_ctx, std::numeric_limits<int>::max());
  const int asked = job.sampling.num_predict;
  return static_cast<int>(asked < 0 ? most : std::min<std::int64_t>(asked, most));
}

}  // namespace

Generation::Generation(const LoadedModel& model, std::unique_ptr<PreparedJob> prepared)
    : model_(model),
      prepared_(std::move(prepared)),
      filter_(prepared_->prompt.stops),
      parser_(prepared_->prompt.syntax),
      n_predict_(MostTokens(prepared_->job)) {}

Generation::Output Generation::Next(llama_context* context, int row) {
  Output output;
  if (last_ < 0) first_token_ = Clock::now();
  if (n_predict_ == 0) {
    output.done = DoneReason::kLength;
    return output;
  }
  const Token token = prepared_->sampler->Sample(context, row);
  ++n_generated_;
  last_ = token;
  if (model_.IsEndOfGeneration(token)) {
    output.done = DoneReason::kStop;
    return output;
  }
  if (job().want_context) answer_.push_back(token);
  if (job().logprobs) {
    held_logprobs_.push_back(
        {n_bytes_, prepared_->sampler->Logprobs(context, row, token, job().top_logprobs)});
  }

  const std::vector<Token>& shown = prepared_->prompt.shown_control;
  const bool is_shown = std::find(shown.begin(), shown.end(), token) != shown.end();
  const std::string text = model_.TokenText(token, is_shown);
  n_bytes_ += text.size();
  parser_.Add(filter_.Add(text), &output.piece);
  if (!output.piece.text.empty() || !output.piece.thinking.empty() ||
      !output.piece.tool_calls.empty()) {
    TakeLogprobs(&output.piece);
  }
  if (filter_.HasStopped()) {
    output.done = DoneReason::kStop;
  } else if (n_generated_ >= n_predict_) {
    output.done = DoneReason::kLength;
  }
  return output;
}

void Generation::TakeLogprobs(Piece* piece) {
  const std::size_t n_shown = filter_.n_shown();
  const auto end = std::find_if(held_logprobs_.begin(), held_logprobs_.end(),
                                [&](const HeldLogprob& held) { return held.begin >= n_shown; });
  for (auto held = held_logprobs_.begin(); held != end; ++held)
    piece->logprobs.push_back(std::move(held->logprob));
  held_logprobs_.erase(held_logprobs_.begin(), end);
}

Piece Generation::Rest() {
  Piece rest;
  if (!filter_.HasStopped()) {
    parser_.Add(filter_.Flush(), &rest);
    for (HeldLogprob& held : std::exchange(held_logprobs_, {}))
      rest.logprobs.push_back(std::move(held.logprob));
  }
  parser_.Finish(&rest);
  // What a stop string has cut off stays untold; what the parser still held before it does not.
  TakeLogprobs(&rest);
  return rest;
}

Finish Generation::Record(DoneReason reason, std::int64_t n_reused) const {
  Finish record;
  record.reason = reason;
  record.prompt_tokens = static_cast<std::int64_t>(prepared_->prompt.CellsOf(prompt().size()));
  record.reused_tokens = n_reused;
  record.eval_tokens = n_generated_;
  record.prompt_eval_time = first_token_ - started_;
  record.eval_time = Clock::now() - first_token_;
  if (job().want_context) {
    // Pictures are left behind: a later request has no bytes of them.
    std::copy_if(prompt().begin(), prompt().end(), std::back_inserter(record.context),
                 [](Token token) { return !IsMark(token); });
    record.context.insert(record.context.end(), answer_.begin(), answer_.end());
  }
  return record;
}

}  // namespace corral::engine
