// The engine thread of a generating model: it alone owns the llama_context, its sequences and the
// batch.
//
// One step: take what came in, admit waiting jobs to slots, compose one batch (a token of every
// running stream that has credit, then chunks of prompts), llama_decode, sample, hand out. How much
// of the prompts a step takes is tuned by measured time (engine/step_budget.h), so that streams
// never stall long behind one and a cancel waits for one step at most; engine/prompt_order.h says
// whose. A job whose prompt begins like one that is being evaluated right now waits for that part
// instead of evaluating it again.
//
// Jobs of different sets of adapters are never in one batch: the sets take turns
// (engine/adapter_turns.h). A picture or a sound in a prompt is evaluated as one, between two
// steps, and streams beside it have as much time for themselves before the next one
// (generator_media.cc).
//
// Cells: a job is admitted when those that it is expected to need are free, in the order of
// arrival; it waits else. Where the expectation was too small, the job that came last gives its
// cells back, waits, and goes on later where it was: the pool is never exhausted for those before
// it.
//
// Threads: Submit, Wake, AddCredit and Counters from any thread; the sink is called on the engine
// thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "core/job.h"
#include "core/stop.h"
#include "engine/adapter_turns.h"
#include "engine/engine.h"
#include "engine/llama/adapters.h"
#include "engine/llama/batch.h"
#include "engine/llama/cores.h"
#include "engine/llama/generation.h"
#include "engine/llama/loaded_model.h"
#include "engine/llama/prepared_job.h"
#include "engine/llama/projector.h"
#include "engine/llama/sequence_cache.h"
#include "engine/prompt_lookup.h"
#include "engine/step_budget.h"

namespace corral::engine {

class Generator {
 public:
  // `cores` runs every llama_decode of the process; `projector` encodes media, null without. All
  // must outlive this. Errors: kNoMemory (cells), kInvalidArgument.
  static Result<std::unique_ptr<Generator>> Create(const LoadedModel& model, Projector* projector,
                                                   const EngineConfig& config, Cores& cores);
  ~Generator() { Stop(); }

  // Ends all jobs with kCancelled and joins the thread; nothing may be submitted afterwards.
  // Idempotent.
  void Stop();

  void Submit(std::unique_ptr<PreparedJob> job);
  // A StopToken of a job has stopped: look at once.
  void Wake();
  void AddCredit(JobId id, int pieces);
  // So many models, this one included, divide the budget for parked prefixes.
  void SetParkSharers(int n_sharers);

  int n_slots() const { return n_slots_; }
  int n_ctx_seq() const { return n_ctx_seq_; }
  llama_context* context() const { return context_.get(); }
  EngineCounters Counters() const;

 private:
  // Guessed tokens of a batch: each takes a row of scores.
  static constexpr int kGuessRows = 16;

  // A job from its admission on. It evaluates `target()`, then a token at a time.
  struct Running {
    Running(const LoadedModel& model, std::unique_ptr<PreparedJob> job, int pieces)
        : generation(model, std::move(job)),
          credit(pieces),
          lookup(generation.job().sampling.prompt_lookup, generation.prompt()) {}
    Generation generation;
    Sequence sequence;  // without an id while the job waits for cells
    // What it has evaluated, where that is not what its prompt begins with any more: when it gave
    // its cells back, or its context slid. Else empty.
    std::vector<Token> resumed;
    bool has_begun = false;  // it had cells before
    int credit;
    PromptLookup lookup;
    std::int64_t n_reused = 0;   // tokens of the prompt
    std::size_t n_borrowed = 0;  // cells that another sequence had when this one began
    std::size_t n_expected = 0;  // cells that it may need
    Token next = -1;             // sampled, not evaluated yet; -1 before the first
    std::vector<Token> guesses;  // in the batch behind `next`
    int row = -1;                // of the first scores in the batch that was just decoded
    std::size_t n_in_batch = 0;  // tokens of it in the batch
    std::size_t stop_at = 0;     // where its prompt's evaluation stops next

    JobId id() const { return generation.prepared().id; }
    const StopToken& stop() const { return generation.prepared().stop; }
    const std::vector<Token>& target() const {
      return resumed.empty() ? generation.prompt() : resumed;
    }
    const AdapterSetPtr& adapters() const { return generation.prepared().adapters; }
    std::string_view set_name() const {
      return adapters() ? std::string_view(adapters()->key) : std::string_view();
    }
    // Its context slides before the next token.
    bool Slides() const {
      const GenerateJob& job = generation.job();
      return job.shift && IsStream() &&
             sequence.tokens.size() >= static_cast<std::size_t>(job.num_ctx);
    }
    bool IsStream() const { return !IsReading() && credit > 0; }
    PrefixKey key() const { return {generation.prepared().space, target()}; }
    bool IsReading() const { return sequence.tokens.size() < target().size(); }
    // What comes next in its prompt is a picture or a sound; null: text.
    const MediaChunk* NextMedia() const;
    bool ReadsText() const { return IsReading() && NextMedia() == nullptr; }
    // Where the text that is to be read next ends: at the next picture or sound, or the prompt's.
    std::size_t TextEnd() const;
    std::size_t OwnCells() const {
      return std::max(n_expected, sequence.tokens.size()) + n_media_cells() - n_borrowed;
    }
    // Beyond one for each position.
    std::size_t n_media_cells() const {
      const std::size_t n = generation.prompt().size();
      return generation.prepared().prompt.CellsOf(n) - n;
    }
  };
  using RunningPtr = std::unique_ptr<Running>;
  struct CreditMessage {
    JobId id;
    int pieces;
  };
  using Message = std::variant<std::unique_ptr<PreparedJob>, CreditMessage>;

  Generator(const LoadedModel& model, Projector* projector, const EngineConfig& config,
            Cores& cores, ContextPtr context, int n_slots, int n_ctx_seq);

  void Run();
  bool TakeMessages();  // waits when there is nothing to do; false: stop
  void DropStopped();
  void Admit();
  // Whether its beginning is being evaluated by another job: it is nearer to it by waiting.
  bool IsWorthWaiting(const PrefixKey& prompt, std::size_t n_reusable) const;
  bool FitsNow(Running& job, std::size_t n_shared) const;
  bool StartJob(Running& job);
  // Of the job that came last. False: only one runs.
  bool TakeCellsBack();
  // The same, when a batch has found no cells: until a job ends, no other is admitted. Else one
  // that was counted as fitting would come back, and fail the next batch just the same.
  bool TakeCellsBackUntilOneEnds();

  void ComposeBatch();
  // Whose adapters the next step has, and what the others have to do.
  void ChooseAdapters();
  bool TakesPart(const Running& running) const {
    return running.set_name() == (set_ ? std::string_view(set_->key) : std::string_view());
  }
  void TellWhatIsToCome();
  // Prompt tokens that this step may take beside so many streams; of those with the step's
  // adapters, or of all.
  int PromptBudget(int n_streams, bool only_set) const;
  void AddStreams();
  void AddPrompts(int budget);
  void Decode();
  void AfterDecode(std::chrono::duration<double> took);

  // At most one picture or sound of one prompt.
  void ReadMedia();
  void Evaluate(Running& running, const MediaChunk& media);
  // llama_decode's code; `why`: what an exception said.
  int DecodeMedia(Running& running, const MediaChunk& media, std::span<const float> embeddings,
                  std::string* why);
  void TakeBackMedia(Running& running);

  bool MakeRoom(Running& running);
  // Samples the job's next tokens from its rows and hands them out. The job may have ended then.
  void HandOut(Running& running, std::chrono::duration<double> took);

  static Error RunError(const std::string& why);
  void FinishJob(Running& running, DoneReason reason);
  void Break(Running& running, Error error);
  void FailAll();
  void End(Running& running, JobEvent last);
  void Emit(Running& running, Piece piece);
  void PublishGauges();
  std::vector<const Sequence*> RunningSequences() const;
  std::vector<std::size_t> Branches(const Running& running) const;

  // Constant after construction.
  const LoadedModel& model_;
  Projector* const projector_;
  const EngineConfig& config_;
  Cores& cores_;
  const ContextPtr context_;
  const int n_slots_;
  const int n_ctx_seq_;
  const std::size_t n_cells_;
  const std::int64_t park_budget_;  // of all models together

  // The engine thread's own.
  SequenceCache cache_;
  Batch batch_;
  StepBudget budget_;
  AdapterTurns turns_;
  AppliedAdapters applied_;
  AdapterSetPtr set_;                // of the step
  std::deque<RunningPtr> waiting_;   // not admitted yet, or without cells again
  std::vector<RunningPtr> running_;  // in the order of admission
  std::int64_t n_prompt_steps_ = 0;
  int n_stream_tokens_ = 0, n_prompt_tokens_ = 0;  // in the batch
  int n_reading_ = 0;                              // prompts whose text is being evaluated
  int n_other_streams_ = 0;                        // not in this step
  int n_cells_to_guess_ = 0;                       // left by what the step takes at least
  std::chrono::duration<double> owed_{0};          // time that streams get before the next picture
  bool is_full_ = false;                           // TakeCellsBackUntilOneEnds
  bool has_changed_ =
      false;  // the last step did something: take the next without waiting for a message

  std::mutex mutex_;
  std::condition_variable event_;
  std::vector<Message> inbox_;  // guarded by mutex_
  bool is_woken_ = false;       // guarded by mutex_
  int n_park_sharers_ = 1;      // guarded by mutex_
  bool is_stopping_ = false;    // guarded by mutex_

  std::atomic<std::int64_t> n_evaluated_{0}, n_reused_{0}, n_generated_{0}, n_decodes_{0},
      n_guessed_{0}, n_right_{0}, n_running_{0}, n_waiting_{0}, n_parked_bytes_{0};

  std::jthread thread_;  // last: joined before the state it uses is gone
};

}  // namespace corral::engine
