#include "engine/llama/generator.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "core/host.h"
#include "core/log.h"

namespace corral::engine {
namespace {

constexpr int kMostSlots = 64;                  // ids and the output buffer grow with them
constexpr std::int64_t kMostCells = 1LL << 30;  // llama_pos and the cell indices are 32 bits wide
constexpr int kAutoSlots = 8;                   // when the number is left to us
constexpr int kMostStateSlots = 4;              // recurrent state is paid for each
constexpr std::int64_t kAutoCellBytes = 1LL << 30;  // cells of that automatic number: at most this,
constexpr int kAutoCellShare = 8;                   // and at most this part of the free memory
constexpr int kParkShare = 8;                       // of the free memory, for parked prefixes,
constexpr std::int64_t kMostParkedBytes = 2LL << 30;  // at most
constexpr int kSpareSequences = 3;  // ids beyond the slots: a held one, one on its way, copies
constexpr std::size_t kWorthWaiting = 32;  // tokens of a prefix that is being evaluated
constexpr std::size_t kLeastGain = 4;      // fewer tokens than this are evaluated twice instead
// Tokens that an answer is expected to have, when the request does not say fewer.
constexpr std::size_t kExpectedAnswer = 512;

struct Pool {
  int n_slots = 1;
  std::int64_t n_cells = 0;
};

// OLLAMA_NUM_PARALLEL's number with a whole context each. Left to us: a fixed number of slots, and
// cells within a share of the memory, at least a whole context: most answers need far less.
Pool ChoosePool(const LoadedModel& model, const LoadOptions& options, int n_ctx_seq) {
  const int n_slots = options.n_slots;
  Pool pool;
  pool.n_slots = std::min(n_slots > 0 ? n_slots : kAutoSlots, kMostSlots);
  if (!model.has_positional_cache()) pool.n_slots = std::min(pool.n_slots, kMostStateSlots);
  pool.n_cells = std::int64_t{n_ctx_seq} * pool.n_slots;
  if (options.n_cells > 0) pool.n_cells = std::max(options.n_cells, n_ctx_seq);
  if (n_slots > 0 || options.n_cells > 0) return pool;
  const std::int64_t available = ReadHostFacts().memory_available_bytes;
  const std::int64_t share =
      available > 0 ? std::min(kAutoCellBytes, available / kAutoCellShare) : kAutoCellBytes;
  const std::int64_t a_token = std::max<std::int64_t>(1, model.KvBytesPerToken());
  pool.n_cells = std::clamp<std::int64_t>(share / a_token, n_ctx_seq, pool.n_cells);
  return pool;
}

std::int64_t ParkBudget(std::int64_t asked) {
  if (asked >= 0) return asked;
  return std::min(kMostParkedBytes, ReadHostFacts().memory_available_bytes / kParkShare);
}

}  // namespace

Error Generator::RunError(const std::string& why) {
  return {Code::kInternal, "an error was encountered while running the model: " + why};
}

Result<std::unique_ptr<Generator>> Generator::Create(const LoadedModel& model, Projector* projector,
                                                     const EngineConfig& config, Cores& cores) {
  const LoadOptions& options = config.options;
  if (options.num_ctx < 1) return Fail(Code::kInvalidArgument, "num_ctx must be at least 1");
  const int n_ctx_seq =
      model.n_ctx_train() > 0 ? std::min(options.num_ctx, model.n_ctx_train()) : options.num_ctx;
  const Pool pool = ChoosePool(model, options, n_ctx_seq);
  if (pool.n_cells > kMostCells)
    return Fail(Code::kNoMemory,
                "a context of " + std::to_string(pool.n_cells) + " tokens is too large");

  llama_context_params params = model.ContextParams();
  params.n_seq_max = static_cast<std::uint32_t>(pool.n_slots + kSpareSequences);
  params.n_ctx = static_cast<std::uint32_t>(pool.n_cells);
  params.n_batch = static_cast<std::uint32_t>(std::clamp(options.num_batch, 32, 4096));
  params.n_batch = std::max(params.n_batch, params.n_seq_max + kGuessRows);
  // A step is one micro-batch: num_batch bounds both.
  params.n_ubatch = params.n_batch;
  if (projector != nullptr) {
    const auto n_least = static_cast<std::uint32_t>(std::min(projector->least_batch(), 4096));
    params.n_ubatch = params.n_batch = std::max(params.n_batch, n_least);
  }
  params.n_outputs_max = params.n_seq_max + kGuessRows;
  params.kv_unified = true;
  params.swa_full = true;
  ContextPtr context;
  try {
    context.reset(llama_init_from_model(model.model(), params));
  } catch (const std::exception& error) {
    return Fail(Code::kNoMemory, std::string("unable to create a context: ") + error.what());
  }
  if (!context) {
    const std::string why = TakeLastLlamaError();
    return Fail(Code::kNoMemory, "unable to create a context of " + std::to_string(params.n_ctx) +
                                     " tokens" + (why.empty() ? std::string() : ": " + why));
  }
  return std::unique_ptr<Generator>(
      new Generator(model, projector, config, cores, std::move(context), pool.n_slots, n_ctx_seq));
}

Generator::Generator(const LoadedModel& model, Projector* projector, const EngineConfig& config,
                     Cores& cores, ContextPtr context, int n_slots, int n_ctx_seq)
    : model_(model),
      projector_(projector),
      config_(config),
      cores_(cores),
      context_(std::move(context)),
      n_slots_(n_slots),
      n_ctx_seq_(n_ctx_seq),
      n_cells_(llama_n_ctx(context_.get())),
      park_budget_(ParkBudget(config.options.prefix_cache_bytes)),
      cache_(context_.get(), model, n_slots + kSpareSequences, park_budget_),
      // A sequence's tokens of a step lie in one micro-batch: see SequenceCache::SaveProgress.
      batch_(static_cast<int>(llama_n_ubatch(context_.get()))),
      budget_(model.computes_on_cpu()),
      thread_([this] { Run(); }) {}

void Generator::Stop() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  event_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Generator::Submit(std::unique_ptr<PreparedJob> job) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.emplace_back(std::move(job));
  }
  event_.notify_all();
}

void Generator::Wake() {
  {
    const std::lock_guard lock(mutex_);
    is_woken_ = true;
  }
  event_.notify_all();
}

void Generator::AddCredit(JobId id, int pieces) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.emplace_back(CreditMessage{id, pieces});
  }
  event_.notify_all();
}

void Generator::SetParkSharers(int n_sharers) {
  {
    const std::lock_guard lock(mutex_);
    n_park_sharers_ = std::max(n_sharers, 1);
    is_woken_ = true;
  }
  event_.notify_all();
}

EngineCounters Generator::Counters() const {
  EngineCounters counters;
  counters.prompt_tokens_evaluated = n_evaluated_;
  counters.prompt_tokens_reused = n_reused_;
  counters.tokens_generated = n_generated_;
  counters.decode_calls = n_decodes_;
  counters.tokens_guessed = n_guessed_;
  counters.guesses_right = n_right_;
  counters.jobs_running = n_running_;
  counters.jobs_waiting = n_waiting_;
  counters.parked_bytes = n_parked_bytes_;
  return counters;
}

void Generator::Run() {
  while (TakeMessages()) {
    DropStopped();
    Admit();
    if (!cache_.PackCells(RunningSequences())) FailAll();
    ComposeBatch();
    has_changed_ |= batch_.size() > 0;
    if (batch_.size() > 0) Decode();
    ReadMedia();
    PublishGauges();
  }
  const Error stopped{Code::kCancelled, "the model is being unloaded"};
  for (auto& job : waiting_) config_.sink(job->id(), stopped);
  for (auto& running : running_) config_.sink(running->id(), stopped);
}

// ---- messages ----

bool Generator::TakeMessages() {
  std::vector<Message> messages;
  bool is_stopping = false;
  int n_park_sharers = 1;
  {
    std::unique_lock lock(mutex_);
    if (!std::exchange(has_changed_, false)) {
      event_.wait(lock, [this] { return is_stopping_ || is_woken_ || !inbox_.empty(); });
    }
    is_woken_ = false;
    is_stopping = is_stopping_;
    n_park_sharers = n_park_sharers_;
    messages.swap(inbox_);
  }
  cache_.SetParkBudget(park_budget_ / n_park_sharers);
  // Also when stopping: what was submitted but not looked at ends with the rest.
  for (Message& message : messages) {
    if (auto* job = std::get_if<std::unique_ptr<PreparedJob>>(&message)) {
      waiting_.push_back(
          std::make_unique<Running>(model_, std::move(*job), config_.initial_credit));
      continue;
    }
    const auto& credit = std::get<CreditMessage>(message);
    const auto add = [&credit](auto& jobs) {
      for (auto& job : jobs) {
        if (job->id() == credit.id) job->credit += credit.pieces;
      }
    };
    add(running_);
    add(waiting_);
  }
  return !is_stopping;
}

void Generator::DropStopped() {
  for (auto job = waiting_.begin(); job != waiting_.end();) {
    if (!(*job)->stop().StopRequested()) {
      ++job;
      continue;
    }
    const RunningPtr stopped = std::move(*job);
    job = waiting_.erase(job);
    PublishGauges();
    config_.sink(stopped->id(), stopped->stop().ToError());
  }
  // End() takes the job out of running_: walk backwards.
  for (std::size_t i = running_.size(); i-- > 0;) {
    if (running_[i]->stop().StopRequested()) End(*running_[i], running_[i]->stop().ToError());
  }
}

// ---- admission ----

std::vector<const Sequence*> Generator::RunningSequences() const {
  std::vector<const Sequence*> sequences;
  for (const auto& running : running_) sequences.push_back(&running->sequence);
  return sequences;
}

void Generator::Admit() {
  if (is_full_ && !running_.empty()) return;
  for (std::size_t i = 0; i < waiting_.size() && static_cast<int>(running_.size()) < n_slots_;) {
    Running& job = *waiting_[i];
    const Reuse reuse = cache_.ReusableNow(job.key(), RunningSequences());
    if (IsWorthWaiting(job.key(), reuse.n_tokens)) {
      ++i;
      continue;
    }
    if (!FitsNow(job, reuse.n_shared) || !StartJob(job)) break;
    running_.push_back(std::move(waiting_[i]));
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

bool Generator::IsWorthWaiting(const PrefixKey& prompt, std::size_t n_reusable) const {
  std::size_t coming = 0;
  for (const auto& running : running_) {
    if (!running->IsReading() || running->key().space != prompt.space) continue;
    const std::size_t n = CommonPrefix(prompt.tokens, running->target());
    if (n > running->sequence.tokens.size()) coming = std::max(coming, n);
  }
  coming = std::min(coming, prompt.tokens.size() - 1);
  return coming >= kWorthWaiting && coming >= n_reusable + kLeastGain;
}

bool Generator::FitsNow(Running& job, std::size_t n_shared) const {
  const GenerateJob& asked = job.generation.job();
  const std::size_t answer =
      asked.sampling.num_predict < 0
          ? kExpectedAnswer
          : std::min(static_cast<std::size_t>(asked.sampling.num_predict), kExpectedAnswer);
  job.n_expected = std::min(job.target().size() + answer, static_cast<std::size_t>(asked.num_ctx));
  job.n_borrowed = job.generation.prepared().prompt.CellsOf(n_shared);
  std::size_t n_needed = job.OwnCells();
  for (const auto& running : running_) n_needed += running->OwnCells();
  return n_needed <= n_cells_ || running_.empty();
}

bool Generator::StartJob(Running& job) {
  std::optional<Sequence> sequence = cache_.Start(job.key(), RunningSequences());
  if (!sequence) return false;
  job.sequence = std::move(*sequence);
  const std::size_t n_cells = job.generation.prepared().prompt.CellsOf(job.sequence.tokens.size());
  job.n_borrowed = std::min(job.n_borrowed, n_cells);
  if (!std::exchange(job.has_begun, true)) {
    job.generation.Begin();
    job.n_reused = static_cast<std::int64_t>(n_cells);
    n_reused_ += job.n_reused;
  }
  return true;
}

// The job that came last waits again; what it has evaluated goes to host RAM.
bool Generator::TakeCellsBack() {
  if (running_.size() < 2) return false;
  RunningPtr job = std::move(running_.back());
  running_.pop_back();
  if (!job->IsReading()) job->resumed = job->sequence.tokens;
  cache_.Keep(std::exchange(job->sequence, {}), true, RunningSequences());
  waiting_.push_front(std::move(job));
  has_changed_ = true;
  return true;
}

bool Generator::TakeCellsBackUntilOneEnds() {
  is_full_ = TakeCellsBack();
  return is_full_;
}

// ---- the step ----

void Generator::Decode() {
  Cores::Step step;
  std::string why;
  const bool has_changed_adapters = applied_.Apply(context_.get(), set_);
  do {
    try {
      step = cores_.Decode(context_.get(), batch_.value(), !has_changed_adapters);
    } catch (const std::exception& error) {
      why = error.what();
      step.code = -1;
    }
  } while (step.code == 1 && cache_.EvictOne());
  ++n_decodes_;
  if (step.code == 0) {
    budget_.Note(n_stream_tokens_, n_prompt_tokens_, n_reading_, step.took, n_other_streams_);
    turns_.Note(step.took);
    owed_ -= step.took;
    AfterDecode(step.took);
    return;
  }
  if (step.code == 1 && TakeCellsBackUntilOneEnds()) return;  // nothing was evaluated
  // The cells of this batch's sequences are in an unknown state: their jobs end, the others go on.
  if (const std::string line = TakeLastLlamaError(); !line.empty()) why = line;
  if (why.empty()) why = "llama_decode returned " + std::to_string(step.code);
  Log(LogLevel::kError, "llama_decode failed", {{"error", why}});
  for (std::size_t i = running_.size(); i-- > 0;) {
    if (running_[i]->n_in_batch > 0) Break(*running_[i], RunError(why));
  }
}

void Generator::AfterDecode(std::chrono::duration<double> took) {
  for (std::size_t i = running_.size(); i-- > 0;) {
    Running& running = *running_[i];
    if (running.n_in_batch == 0) continue;
    std::vector<Token>& tokens = running.sequence.tokens;
    if (running.IsReading()) {
      const std::vector<Token>& target = running.target();
      const auto begin = target.begin() + static_cast<std::ptrdiff_t>(tokens.size());
      tokens.insert(tokens.end(), begin, begin + static_cast<std::ptrdiff_t>(running.n_in_batch));
      n_evaluated_ += static_cast<std::int64_t>(running.n_in_batch);
      cache_.SaveProgress(running.sequence,
                          tokens.size() == running.stop_at && running.IsReading());
    } else {
      tokens.push_back(running.next);
      tokens.insert(tokens.end(), running.guesses.begin(), running.guesses.end());
    }
    if (running.row >= 0) HandOut(running, took);
  }
}

void Generator::HandOut(Running& running, std::chrono::duration<double> took) {
  const std::vector<Token> guesses = std::exchange(running.guesses, {});
  const std::size_t n_known = running.sequence.tokens.size() - guesses.size();
  n_guessed_ += static_cast<std::int64_t>(guesses.size());
  for (std::size_t k = 0;; ++k) {
    Generation::Output output;
    std::string why;
    try {
      output = running.generation.Next(context_.get(), running.row + static_cast<int>(k));
    } catch (const std::exception& error) {
      why = error.what();
    }
    const Token token = running.generation.last();
    const bool goes_on = why.empty() && !output.done && k < guesses.size() && token == guesses[k];
    if (!goes_on) cache_.Truncate(running.sequence, n_known + k);
    if (!why.empty()) return End(running, RunError(why));
    running.next = token;
    n_right_ += k < guesses.size() && token == guesses[k] ? 1 : 0;
    n_generated_ += token >= 0 ? 1 : 0;
    running.lookup.Add(token);
    Emit(running, std::move(output.piece));
    if (output.done) return FinishJob(running, *output.done);
    if (goes_on) continue;
    if (n_prompt_tokens_ == 0)
      running.lookup.Note(static_cast<int>(guesses.size()), static_cast<int>(k) + 1, took);
    break;
  }
  cache_.SaveProgress(running.sequence, false);
}

// Before a token is evaluated: at the context's end, slide it or stop. False: the job has ended.
bool Generator::MakeRoom(Running& running) {
  const GenerateJob& job = running.generation.job();
  const auto n_ctx = static_cast<std::size_t>(job.num_ctx);
  const std::size_t n = running.sequence.tokens.size();
  if (n + 1 <= n_ctx) return true;
  const bool adds_bos = llama_vocab_get_add_bos(model_.vocab());
  const std::size_t n_prompt = running.generation.prompt().size();
  std::size_t keep = job.sampling.num_keep < 0
                         ? n_prompt
                         : static_cast<std::size_t>(job.sampling.num_keep) + (adds_bos ? 1 : 0);
  keep = std::min({keep, n_prompt, n_ctx > 4 ? n_ctx - 4 : 0});
  const std::size_t discard = (n - keep) / 2;
  if (job.shift && discard > 0 && cache_.Shift(running.sequence, keep, discard)) {
    running.n_borrowed = 0;
    running.resumed = running.sequence.tokens;
    return true;
  }
  FinishJob(running, DoneReason::kLength);
  return false;
}

// ---- the end of a job ----

// Hands out what was held back and the final record.
void Generator::FinishJob(Running& running, DoneReason reason) {
  Emit(running, running.generation.Rest());
  End(running, running.generation.Record(reason, running.n_reused));
}

void Generator::Emit(Running& running, Piece piece) {
  if (piece.text.empty() && piece.thinking.empty() && piece.tool_calls.empty() &&
      piece.logprobs.empty())
    return;
  --running.credit;
  config_.sink(running.id(), std::move(piece));
}

// Its cells are of no use any more.
void Generator::Break(Running& running, Error error) {
  cache_.Drop(std::exchange(running.sequence, {}));
  End(running, std::move(error));
}

void Generator::FailAll() {
  while (!running_.empty()) Break(*running_.back(), RunError("the cells could not be packed"));
}

void Generator::End(Running& running, JobEvent last) {
  const auto self = std::find_if(running_.begin(), running_.end(),
                                 [&](const auto& r) { return r.get() == &running; });
  if (self == running_.end()) return;  // it has ended already
  const JobId id = running.id();
  const RunningPtr ended = std::move(*self);
  running_.erase(self);
  has_changed_ = true;  // a slot is free
  is_full_ = false;
  if (ended->sequence.id >= 0)
    cache_.Keep(std::move(ended->sequence), !running_.empty(), RunningSequences());
  PublishGauges();  // before the last event: who reads them after it finds the job gone
  config_.sink(id, std::move(last));
}

void Generator::PublishGauges() {
  n_running_ = static_cast<std::int64_t>(running_.size());
  n_waiting_ = static_cast<std::int64_t>(waiting_.size());
  n_parked_bytes_ = cache_.parked_bytes();
}

}  // namespace corral::engine
