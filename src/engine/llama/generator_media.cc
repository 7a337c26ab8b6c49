// Pictures and sounds in the prompts of running jobs: encoded and evaluated between two steps.
#include <algorithm>
#include <exception>
#include <utility>

#include "core/log.h"
#include "engine/llama/embedding_batch.h"
#include "engine/llama/generator.h"
#include "engine/media_marks.h"
#include "engine/prompt_order.h"

namespace corral::engine {
namespace {

constexpr int kWorks = 0, kNoCells = 1, kFailed = -1;  // llama_decode's codes

// Attention that sees what comes later, too, for as long as this lives.
class SeesAll {
 public:
  SeesAll(llama_context* context, bool is_wanted) : context_(is_wanted ? context : nullptr) {
    if (context_ != nullptr) llama_set_causal_attn(context_, false);
  }
  ~SeesAll() {
    if (context_ != nullptr) llama_set_causal_attn(context_, true);
  }
  SeesAll(const SeesAll&) = delete;
  SeesAll& operator=(const SeesAll&) = delete;

 private:
  llama_context* const context_;
};

}  // namespace

const MediaChunk* Generator::Running::NextMedia() const {
  const std::vector<MediaChunk>& media = generation.prepared().prompt.media;
  const std::size_t done = sequence.tokens.size();
  const auto found = std::lower_bound(
      media.begin(), media.end(), done,
      [](const MediaChunk& chunk, std::size_t position) { return chunk.begin < position; });
  return found != media.end() && found->begin == done && IsReading() ? &*found : nullptr;
}

std::size_t Generator::Running::TextEnd() const {
  const std::vector<MediaChunk>& media = generation.prepared().prompt.media;
  const auto found = std::upper_bound(
      media.begin(), media.end(), sequence.tokens.size(),
      [](std::size_t position, const MediaChunk& chunk) { return position < chunk.begin; });
  return found != media.end() ? std::min(found->begin, target().size()) : target().size();
}

void Generator::ReadMedia() {
  if (projector_ == nullptr) return;
  std::vector<std::size_t> left;
  for (const auto& running : running_) {
    left.push_back(running->NextMedia() == nullptr
                       ? 0
                       : running->target().size() - running->sequence.tokens.size());
  }
  const std::vector<std::size_t> order = PromptOrder(left, n_prompt_steps_ + 1);
  if (order.empty()) return;
  has_changed_ = true;
  const bool has_streams = n_stream_tokens_ + n_other_streams_ > 0;
  if (has_streams && owed_.count() > 0) return;
  ++n_prompt_steps_;
  const auto begin = std::chrono::steady_clock::now();
  Running& running = *running_[order.front()];
  Evaluate(running, *running.NextMedia());
  owed_ = has_streams ? std::chrono::steady_clock::now() - begin : std::chrono::duration<double>(0);
}

void Generator::Evaluate(Running& running, const MediaChunk& media) {
  Result<std::span<const float>> embeddings;
  try {
    embeddings = cores_.Compute([&] { return projector_->Encode(media, running.stop()); });
  } catch (const std::exception& error) {
    embeddings = Fail(Code::kInternal, error.what());
  }
  if (!embeddings) return End(running, std::move(embeddings).error());
  if (running.stop().StopRequested()) return;  // the next step ends it

  std::string why;
  int code = kWorks;
  applied_.Apply(context_.get(), running.adapters());
  do {
    code = DecodeMedia(running, media, *embeddings, &why);
  } while (code == kNoCells && cache_.EvictOne());
  if (code == kNoCells && TakeCellsBackUntilOneEnds()) return;
  if (code != kWorks) {
    if (const std::string line = TakeLastLlamaError(); !line.empty()) why = line;
    if (why.empty()) why = "llama_decode returned " + std::to_string(code);
    Log(LogLevel::kError, "an image or sound could not be evaluated", {{"error", why}});
    return Break(running, RunError(why));
  }
  std::vector<Token>& tokens = running.sequence.tokens;
  tokens.push_back(FirstMark(media.id));
  tokens.resize(media.begin + media.n_positions, NextMark(media.id));
  n_evaluated_ += static_cast<std::int64_t>(media.n_cells);
  cache_.SaveProgress(running.sequence, false);
  // No time that says what a token costs.
  if (running.row >= 0) HandOut(running, std::chrono::duration<double>(0));
}

// The scores of its last cell are wanted if the prompt ends with it. If it fails none of its cells
// is left.
int Generator::DecodeMedia(Running& running, const MediaChunk& media,
                           std::span<const float> embeddings, std::string* why) {
  const bool is_whole = projector_->IsSeenAsAWhole(media);
  const auto n_most = static_cast<std::size_t>(llama_n_ubatch(context_.get()));
  if (is_whole && media.n_cells > n_most) {
    *why = "an image takes " + std::to_string(media.n_cells) + " tokens, and a batch holds " +
           std::to_string(n_most) + "; try a larger num_batch";
    return kFailed;
  }
  EmbeddingBatch batch(embeddings, static_cast<std::size_t>(llama_model_n_embd_inp(model_.model())),
                       projector_->Positions(media), running.sequence.id);
  const bool is_last = media.begin + media.n_positions == running.target().size();
  if (is_last && running.next < 0) batch.WantLastScores();
  const SeesAll sees_all(context_.get(), is_whole);
  running.row = -1;
  for (std::size_t done = 0; done < batch.n_cells();) {
    const std::size_t n = std::min(batch.n_cells() - done, n_most);
    int code = kFailed;
    try {
      code = cores_.Decode(context_.get(), batch.Part(done, n), false).code;
    } catch (const std::exception& error) {
      *why = error.what();
    }
    ++n_decodes_;
    if (code != kWorks) {
      TakeBackMedia(running);
      // A state that has moved on cannot go back.
      return done > 0 && !cache_.can_truncate() ? kFailed : code;
    }
    done += n;
    if (done == batch.n_cells() && is_last && running.next < 0)
      running.row = static_cast<int>(n) - 1;
  }
  return kWorks;
}

void Generator::TakeBackMedia(Running& running) {
  llama_memory_seq_rm(llama_get_memory(context_.get()), running.sequence.id,
                      static_cast<llama_pos>(running.sequence.tokens.size()), -1);
}

}  // namespace corral::engine
