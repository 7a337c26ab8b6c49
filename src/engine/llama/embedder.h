// Texts to vectors, and pairs of query and document to scores, on a thread and a context of its
// own: they need another pooling than generation.
//
// The context is made on first use, or by Prepare. Several texts share a batch. An encoder (BERT)
// and a reranker pool inside llama.cpp, where no text lies across two micro-batches. Any other
// causal model is read in chunks and pooled here, so a text may be as long as the context: by the
// GGUF's own pooling, or by the mean for a model that was made for generating. Threads: Submit and
// Wake from any thread; the sink is called on the embedder's thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "core/job.h"
#include "core/stop.h"
#include "engine/engine.h"
#include "engine/llama/adapters.h"
#include "engine/llama/cores.h"
#include "engine/llama/loaded_model.h"

namespace corral::engine {

class Embedder {
 public:
  Embedder(const LoadedModel& model, const EngineConfig& config, Cores& cores, Adapters& adapters);
  ~Embedder() { Stop(); }

  // Makes the context for texts of usual length, for a model that does nothing else: what it takes
  // is known from then on, and a lack of memory. Before the first Submit.
  Status Prepare() { return MakeContext(1); }
  const llama_context* context() const { return context_.get(); }  // before the first Submit

  // Ends what waits with kCancelled and joins the thread; nothing may be submitted afterwards.
  // Idempotent.
  void Stop();

  void Submit(JobId id, EmbedJob job, AdapterFiles adapters, StopToken stop);
  // A StopToken of a job has stopped: look at once, or after the batch that is being computed.
  void Wake();
  // Texts of prompt tokens evaluated so far.
  std::int64_t n_evaluated() const { return n_evaluated_; }
  std::int64_t n_decodes() const { return n_decodes_; }  // calls of llama_decode
  std::int64_t n_waiting() const;

 private:
  struct Item {
    JobId id;
    EmbedJob job;
    AdapterFiles files;
    StopToken stop;
  };
  void Run();
  void AnswerStopped();  // jobs that are waiting and were cancelled
  // Errors: kInvalidArgument, kNoMemory, kInternal, kCancelled.
  Result<Embeddings> Embed(const EmbedJob& job, const AdapterFiles& files, const StopToken& stop);
  // Pooling happens in llama.cpp, over whole texts.
  bool PoolsInside() const {
    return model_.is_encoder_only() || model_.pooling() == PoolingType::kRank;
  }
  // Most tokens of a text of this job.
  std::size_t MostTokens(const EmbedJob& job) const;
  // A context for texts of up to `n_tokens`.
  Status MakeContext(std::size_t n_tokens);
  Result<std::vector<std::vector<Token>>> TokenizeAll(const EmbedJob& job, const StopToken& stop);
  // Each document with the query before it, as the model's own "rerank" template or its special
  // tokens say; the document's end is cut where it must be.
  Result<std::vector<std::vector<Token>>> TokenizePairs(const EmbedJob& job, const StopToken& stop);
  Result<std::vector<Token>> TokenizePair(const std::string& query, std::string_view document,
                                          std::size_t limit, bool truncate) const;
  // Texts of a batch: recurrent state is paid for each.
  int MostSequences() const;
  // Of texts that the context holds at once; append a vector for each.
  Status PoolInside(std::span<const std::vector<Token>> texts,
                    std::vector<std::vector<float>>* vectors);
  Status PoolHere(std::span<const std::vector<Token>> texts, const StopToken& stop,
                  std::vector<std::vector<float>>* vectors);
  Status Decode(const llama_batch& batch);

  const LoadedModel& model_;
  const EngineConfig& config_;
  Cores& cores_;
  Adapters& adapters_;
  ContextPtr context_;  // the thread's own, as the next two
  AppliedAdapters applied_;
  AdapterSetPtr set_;  // of the job
  int n_cells_ = 0;    // of context_
  const int n_ctx_;    // most tokens of a text, as loaded

  mutable std::mutex mutex_;
  std::condition_variable event_;
  std::deque<Item> items_;    // guarded by mutex_
  bool is_woken_ = false;     // guarded by mutex_
  bool is_stopping_ = false;  // guarded by mutex_
  std::atomic<std::int64_t> n_evaluated_{0}, n_decodes_{0};

  std::jthread thread_;
};

}  // namespace corral::engine
