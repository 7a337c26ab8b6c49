// The engine thread of a generating model: it alone owns the llama_context, its sequences and the
// batch.
//
// One step: take what came in, admit waiting jobs to slots, compose one batch (a token of every
// running stream that has credit, then chunks of prompts), llama_decode, sample, hand out. A
// prompt's chunk is bounded by measured time, so that streams never stall long behind it and a
// cancel waits for one step at most. A job whose prompt begins like one that is being evaluated
// right now waits for that part instead of evaluating it again.
// Threads: Submit, Cancelled, AddCredit and Counters from any thread; the sink is called on the
// engine thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <variant>
#include <vector>

#include "core/job.h"
#include "core/stop.h"
#include "engine/engine.h"
#include "engine/llama/generation.h"
#include "engine/llama/loaded_model.h"
#include "engine/llama/prepared_job.h"
#include "engine/llama/sequence_cache.h"
#include "engine/llama/turn_lock.h"

namespace corral::engine {

class Generator {
 public:
  // `compute` is held during every llama_decode of the process: streams and embeddings take turns
  // on the same cores. Errors: kNoMemory (cells), kInvalidArgument.
  static Result<std::unique_ptr<Generator>> Create(const LoadedModel& model,
                                                   const EngineConfig& config, TurnLock& compute);
  ~Generator();

  // Ends all jobs with kCancelled and joins the thread; nothing may be submitted afterwards.
  // Idempotent.
  void Stop();

  void Submit(std::unique_ptr<PreparedJob> job);
  // A StopToken of a job has stopped: look at once.
  void Wake();
  void AddCredit(JobId id, int pieces);

  int n_slots() const { return n_slots_; }
  int n_ctx_seq() const { return n_ctx_seq_; }
  llama_context* context() const { return context_.get(); }
  EngineCounters Counters() const;

 private:
  struct Running {
    Running(const LoadedModel& model, std::unique_ptr<PreparedJob> job, Sequence begun, int pieces)
        : generation(model, std::move(job)), sequence(std::move(begun)), credit(pieces) {}
    Generation generation;
    Sequence sequence;
    int credit;
    std::int64_t n_reused = 0;
    Token next = -1;             // sampled, not evaluated yet; -1 while the prompt is evaluated
    int row = -1;                // of its logits in the batch that was just decoded
    std::size_t n_in_batch = 0;  // tokens of it in the batch

    JobId id() const { return generation.prepared().id; }
    const StopToken& stop() const { return generation.prepared().stop; }
  };
  struct CreditMessage {
    JobId id;
    int pieces;
  };
  using Message = std::variant<std::unique_ptr<PreparedJob>, CreditMessage>;

  Generator(const LoadedModel& model, const EngineConfig& config, TurnLock& compute,
            ContextPtr context, int n_slots, int n_ctx_seq);

  void Run();
  bool TakeMessages();  // waits when there is nothing to do; false: stop
  void DropStopped();
  void Admit();
  bool StartJob(std::unique_ptr<PreparedJob> job);
  void ComposeBatch();
  int PrefillBudget(bool has_streams) const;
  bool Decode();  // false: nothing was evaluated
  void AfterDecode();
  // Samples the job's next token from `row` and hands it out. The job may have ended then.
  void HandOut(Running& running);
  bool MakeRoom(Running& running);
  void FinishJob(Running& running, DoneReason reason);
  void End(Running& running, JobEvent last);
  void Emit(Running& running, Piece piece);
  void PublishGauges();
  std::vector<const Sequence*> RunningSequences() const;

  // Constant after construction.
  const LoadedModel& model_;
  const EngineConfig& config_;
  TurnLock& compute_;
  const ContextPtr context_;
  const int n_slots_;
  const int n_ctx_seq_;

  // The engine thread's own.
  SequenceCache cache_;
  llama_batch batch_;
  std::deque<std::unique_ptr<PreparedJob>> waiting_;
  std::vector<std::unique_ptr<Running>> running_;
  std::size_t first_prefill_ = 0;  // whose prompt is served first: turns each step
  double prefill_tokens_per_s_ = 0;
  int n_prefill_in_batch_ = 0;
  bool has_changed_ =
      false;  // the last step did something: take the next without waiting for a message

  std::mutex mutex_;
  std::condition_variable event_;
  std::vector<Message> inbox_;  // guarded by mutex_
  bool is_woken_ = false;       // guarded by mutex_
  bool is_stopping_ = false;    // guarded by mutex_

  std::atomic<std::int64_t> n_evaluated_{0}, n_reused_{0}, n_generated_{0}, n_decodes_{0},
      n_running_{0}, n_waiting_{0}, n_parked_bytes_{0};

  std::jthread thread_;  // last: joined before the state it uses is gone
};

}  // namespace corral::engine
