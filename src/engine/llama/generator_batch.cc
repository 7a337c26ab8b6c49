// What a step evaluates: tokens of streams, and chunks of prompts.
#include <algorithm>

#include "engine/llama/generator.h"
#include "engine/prompt_order.h"

namespace corral::engine {

void Generator::ComposeBatch() {
  batch_.Clear();
  // Expectations may have been too small: what this step takes at most must be free. Who slides
  // gets cells of its own for all that it shares.
  const auto used_after = [this] {
    std::size_t n_used = 0, n_step = 0, n_most_shared = 0, n_sliding = 0;
    for (const auto& running : running_) {
      n_used += running->sequence.tokens.size() + running->n_media_cells() - running->n_borrowed;
      n_step +=
          running->IsReading() ? running->target().size() - running->sequence.tokens.size() : 1;
      n_most_shared = std::max(n_most_shared, running->n_borrowed);
      n_sliding += running->Slides() ? 1 : 0;
    }
    return n_used + n_sliding * n_most_shared +
           std::min(n_step, static_cast<std::size_t>(batch_.room()));
  };
  while (used_after() > n_cells_ && TakeCellsBack()) {
  }
  // Guesses are worth nobody's cells.
  n_cells_to_guess_ = static_cast<int>(n_cells_ - std::min(used_after(), n_cells_));
  for (const auto& running : running_) {
    running->row = -1;
    running->n_in_batch = 0;
    running->guesses.clear();
  }
  TellWhatIsToCome();
  ChooseAdapters();
  int n_streams = 0;
  for (const auto& running : running_)
    n_streams += running->IsStream() && TakesPart(*running) ? 1 : 0;
  const int n_prompt_tokens = PromptBudget(n_streams + n_other_streams_, true);
  n_stream_tokens_ = n_prompt_tokens_ = 0;
  if (n_prompt_tokens == 0 || budget_.SharesBatch(n_streams, n_prompt_tokens)) {
    AddStreams();
  } else {
    n_other_streams_ += n_streams;
  }
  AddPrompts(n_prompt_tokens);
}

void Generator::TellWhatIsToCome() {
  std::size_t n_stream_tokens = n_cells_;
  std::size_t n_prompt_tokens = 0;
  for (const auto& running : running_) {
    const std::size_t n = running->sequence.tokens.size();
    if (running->IsStream())
      n_stream_tokens =
          std::min(n_stream_tokens, running->n_expected - std::min(running->n_expected, n));
    if (running->ReadsText()) n_prompt_tokens += running->TextEnd() - n;
  }
  budget_.Expect(static_cast<int>(n_stream_tokens),
                 static_cast<int>(std::min(n_prompt_tokens, n_cells_)));
}

int Generator::PromptBudget(int n_streams, bool only_set) const {
  std::size_t n_wanted = 0;
  for (const auto& running : running_) {
    if (running->ReadsText() && (!only_set || TakesPart(*running)))
      n_wanted += running->TextEnd() - running->sequence.tokens.size();
  }
  return budget_.PromptTokens(n_streams, n_reading_, static_cast<int>(std::min(n_wanted, n_cells_)),
                              batch_.room());
}

void Generator::ChooseAdapters() {
  int n_streams = 0;
  n_reading_ = 0;
  for (const auto& running : running_) {
    n_streams += running->IsStream() ? 1 : 0;
    n_reading_ += running->ReadsText() ? 1 : 0;
  }
  // Prompts alone have nothing to do while it is the streams' time.
  const bool may_read = PromptBudget(n_streams, false) > 0;
  std::vector<std::string_view> with_work;
  for (const auto& running : running_) {
    if (running->IsStream() || (running->ReadsText() && may_read))
      with_work.push_back(running->set_name());
  }
  n_other_streams_ = 0;
  if (with_work.empty()) return;
  const std::string& chosen = turns_.Choose(with_work);
  for (const auto& running : running_) {
    if (running->set_name() == chosen) {
      set_ = running->adapters();
    } else {
      n_other_streams_ += running->IsStream() ? 1 : 0;
    }
  }
}

void Generator::AddStreams() {
  int n_guesses = std::min(kGuessRows, n_cells_to_guess_);
  // MakeRoom may end a job: walk backwards.
  for (std::size_t i = running_.size(); i-- > 0;) {
    Running& running = *running_[i];
    if (!running.IsStream() || !TakesPart(running) || batch_.room() == 0) continue;
    if (!MakeRoom(running)) continue;
    const std::size_t n = running.sequence.tokens.size();
    running.row = batch_.Add(running.next, n, running.sequence.id, true);
    if (cache_.can_truncate()) {
      const auto n_left = static_cast<int>(
          std::min<std::size_t>(static_cast<std::size_t>(running.generation.job().num_ctx) - n - 1,
                                static_cast<std::size_t>(kGuessRows)));
      running.guesses =
          running.lookup.Guess(std::min({n_guesses, n_left, running.credit - 1, batch_.room()}));
    }
    for (std::size_t k = 0; k < running.guesses.size(); ++k)
      batch_.Add(running.guesses[k], n + 1 + k, running.sequence.id, true);
    n_guesses -= static_cast<int>(running.guesses.size());
    running.n_in_batch = 1 + running.guesses.size();
    ++n_stream_tokens_;
  }
}

void Generator::AddPrompts(int budget) {
  budget = std::min(budget, batch_.room());
  if (budget <= 0) return;
  std::vector<std::size_t> left;
  for (const auto& running : running_) {
    left.push_back(running->ReadsText() && TakesPart(*running)
                       ? running->TextEnd() - running->sequence.tokens.size()
                       : 0);
  }
  for (const std::size_t index : PromptOrder(left, ++n_prompt_steps_)) {
    if (budget <= 0) break;
    Running& running = *running_[index];
    const std::vector<Token>& target = running.target();
    const std::size_t done = running.sequence.tokens.size();
    running.stop_at =
        std::min(cache_.NextStop(done, target.size(), Branches(running)), running.TextEnd());
    const std::size_t n = std::min(running.stop_at - done, static_cast<std::size_t>(budget));
    for (std::size_t i = done; i < done + n; ++i) {
      const bool wants_scores = i + 1 == target.size() && running.next < 0;
      const int row = batch_.Add(target[i], i, running.sequence.id, wants_scores);
      if (wants_scores) running.row = row;
    }
    running.n_in_batch = n;
    budget -= static_cast<int>(n);
    n_prompt_tokens_ += static_cast<int>(n);
  }
}

// How much waiting prompts have in common with one that is being evaluated.
std::vector<std::size_t> Generator::Branches(const Running& running) const {
  std::vector<std::size_t> branches;
  for (const auto& waiting : waiting_) {
    if (waiting->key().space == running.key().space)
      branches.push_back(CommonPrefix(waiting->target(), running.target()));
  }
  return branches;
}

}  // namespace corral::engine
