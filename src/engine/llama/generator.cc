#include "engine/llama/generator.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/host.h"
#include "core/log.h"

namespace corral::engine {
namespace {

constexpr int kMostSlots = 64;                  // ids and the output buffer grow with them
constexpr std::int64_t kMostCells = 1LL << 30;  // llama_pos and the cell indices are 32 bits wide
constexpr int kMaxSlots = 8;                    // when the number is left to us
constexpr std::int64_t kAutoCellBytes = 1LL << 30;  // cells of that automatic number: at most this,
constexpr int kAutoCellShare = 8;                   // and at most this part of the free memory
constexpr int kSpareSequences = 2;         // ids beyond the slots: a held one and one on its way
constexpr std::size_t kWorthWaiting = 32;  // tokens of a prefix that is being evaluated
constexpr int kFirstChunk = 64;            // prompt tokens of a step before its speed is known
constexpr int kSmallestChunk = 16;
constexpr std::chrono::milliseconds kStepBesideStreams{120};
constexpr std::chrono::milliseconds kStepAlone{500};

int AutoSlots(const LoadedModel& model, int n_ctx_seq) {
  const std::int64_t a_slot = std::max<std::int64_t>(1, model.KvBytesPerToken() * n_ctx_seq);
  const std::int64_t available = ReadHostFacts().memory_available_bytes;
  const std::int64_t share =
      available > 0 ? std::min(kAutoCellBytes, available / kAutoCellShare) : kAutoCellBytes;
  return static_cast<int>(std::clamp<std::int64_t>(share / a_slot, 1, kMaxSlots));
}

}  // namespace

Result<std::unique_ptr<Generator>> Generator::Create(const LoadedModel& model,
                                                     const EngineConfig& config,
                                                     TurnLock& compute) {
  const LoadOptions& options = config.options;
  if (options.num_ctx < 1) return Fail(Code::kInvalidArgument, "num_ctx must be at least 1");
  const int n_ctx_seq =
      model.n_ctx_train() > 0 ? std::min(options.num_ctx, model.n_ctx_train()) : options.num_ctx;
  int n_slots = options.n_slots > 0 ? options.n_slots : AutoSlots(model, n_ctx_seq);
  n_slots = std::min(n_slots, kMostSlots);
  if (!model.has_positional_cache())
    n_slots = std::min(n_slots, 4);  // recurrent state is paid per sequence

  llama_context_params params = model.ContextParams();
  params.n_seq_max = static_cast<std::uint32_t>(n_slots + kSpareSequences);
  const std::int64_t n_cells = std::int64_t{n_ctx_seq} * n_slots;
  if (n_cells > kMostCells)
    return Fail(Code::kNoMemory,
                "a context of " + std::to_string(n_cells) + " tokens is too large");
  params.n_ctx = static_cast<std::uint32_t>(n_cells);
  params.n_batch = static_cast<std::uint32_t>(std::clamp(options.num_batch, 32, 4096));
  params.n_batch = std::max(params.n_batch, params.n_seq_max);
  params.n_ubatch = std::min<std::uint32_t>(params.n_batch, 512);
  params.n_outputs_max = params.n_seq_max;
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
      new Generator(model, config, compute, std::move(context), n_slots, n_ctx_seq));
}

Generator::Generator(const LoadedModel& model, const EngineConfig& config, TurnLock& compute,
                     ContextPtr context, int n_slots, int n_ctx_seq)
    : model_(model),
      config_(config),
      compute_(compute),
      context_(std::move(context)),
      n_slots_(n_slots),
      n_ctx_seq_(n_ctx_seq),
      cache_(context_.get(), model, n_slots + kSpareSequences, config.options.prefix_cache_bytes),
      batch_(llama_batch_init(static_cast<std::int32_t>(llama_n_batch(context_.get())), 0, 1)),
      thread_([this] { Run(); }) {}

Generator::~Generator() {
  Stop();
  llama_batch_free(batch_);
}

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

EngineCounters Generator::Counters() const {
  EngineCounters counters;
  counters.prompt_tokens_evaluated = n_evaluated_;
  counters.prompt_tokens_reused = n_reused_;
  counters.tokens_generated = n_generated_;
  counters.decode_calls = n_decodes_;
  counters.jobs_running = n_running_;
  counters.jobs_waiting = n_waiting_;
  counters.parked_bytes = n_parked_bytes_;
  return counters;
}

void Generator::Run() {
  while (TakeMessages()) {
    DropStopped();
    Admit();
    ComposeBatch();
    has_changed_ |= batch_.n_tokens > 0;
    if (batch_.n_tokens > 0 && Decode()) AfterDecode();
    PublishGauges();
  }
  const Error stopped{Code::kCancelled, "the model is being unloaded"};
  for (auto& job : waiting_) config_.sink(job->id, stopped);
  for (auto& running : running_) config_.sink(running->id(), stopped);
}

bool Generator::TakeMessages() {
  std::vector<Message> messages;
  {
    std::unique_lock lock(mutex_);
    if (!std::exchange(has_changed_, false)) {
      event_.wait(lock, [this] { return is_stopping_ || is_woken_ || !inbox_.empty(); });
    }
    is_woken_ = false;
    if (is_stopping_) {
      // What was submitted but not looked at ends with the rest.
      for (Message& message : inbox_) {
        if (auto* job = std::get_if<std::unique_ptr<PreparedJob>>(&message))
          waiting_.push_back(std::move(*job));
      }
      return false;
    }
    messages.swap(inbox_);
  }
  for (Message& message : messages) {
    if (auto* job = std::get_if<std::unique_ptr<PreparedJob>>(&message)) {
      waiting_.push_back(std::move(*job));
    } else {
      const auto& credit = std::get<CreditMessage>(message);
      for (auto& running : running_) {
        if (running->id() == credit.id) running->credit += credit.pieces;
      }
    }
  }
  return true;
}

void Generator::DropStopped() {
  for (auto job = waiting_.begin(); job != waiting_.end();) {
    if ((*job)->stop.StopRequested()) {
      const std::unique_ptr<PreparedJob> stopped = std::move(*job);
      job = waiting_.erase(job);
      PublishGauges();
      config_.sink(stopped->id, stopped->stop.ToError());
    } else {
      ++job;
    }
  }
  // End() takes the job out of running_: walk backwards.
  for (std::size_t i = running_.size(); i-- > 0;) {
    if (running_[i]->stop().StopRequested()) End(*running_[i], running_[i]->stop().ToError());
  }
}

std::vector<const Sequence*> Generator::RunningSequences() const {
  std::vector<const Sequence*> sequences;
  for (const auto& running : running_) sequences.push_back(&running->sequence);
  return sequences;
}

void Generator::Admit() {
  for (std::size_t i = 0; i < waiting_.size() && static_cast<int>(running_.size()) < n_slots_;) {
    const std::vector<Token>& prompt = waiting_[i]->prompt.tokens;
    std::size_t coming = 0;  // of a prompt that is being evaluated right now
    for (const auto& running : running_) {
      if (running->next < 0)
        coming = std::max(coming, CommonPrefix(prompt, running->generation.prompt()));
    }
    if (coming >= kWorthWaiting && model_.has_positional_cache() &&
        coming >= cache_.ReusableNow(prompt, RunningSequences()) + kWorthWaiting) {
      ++i;
      continue;
    }
    auto job = std::move(waiting_[i]);
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
    if (!StartJob(std::move(job))) break;
  }
}

bool Generator::StartJob(std::unique_ptr<PreparedJob> job) {
  std::optional<Sequence> sequence = cache_.Start(job->prompt.tokens, RunningSequences());
  if (!sequence) {
    waiting_.push_front(std::move(job));
    return false;
  }
  auto running = std::make_unique<Running>(model_, std::move(job), std::move(*sequence),
                                           config_.initial_credit);
  running->n_reused = static_cast<std::int64_t>(running->sequence.tokens.size());
  n_reused_ += running->n_reused;
  running_.push_back(std::move(running));
  return true;
}

int Generator::PrefillBudget(bool has_streams) const {
  const int n_batch = static_cast<int>(llama_n_batch(context_.get()));
  if (prefill_tokens_per_s_ <= 0) return std::min(kFirstChunk, n_batch);
  const std::chrono::duration<double> step = has_streams ? kStepBesideStreams : kStepAlone;
  return std::clamp(static_cast<int>(prefill_tokens_per_s_ * step.count()), kSmallestChunk,
                    n_batch);
}

void Generator::ComposeBatch() {
  batch_.n_tokens = 0;
  n_prefill_in_batch_ = 0;
  const auto add = [this](Running& running, Token token, std::size_t position, bool wants_logits) {
    const auto i = static_cast<std::size_t>(batch_.n_tokens++);
    batch_.token[i] = token;
    batch_.pos[i] = static_cast<llama_pos>(position);
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = running.sequence.id;
    batch_.logits[i] = wants_logits ? 1 : 0;
    if (wants_logits) running.row = static_cast<int>(i);
    ++running.n_in_batch;
  };
  bool has_streams = false;
  for (std::size_t i = running_.size(); i-- > 0;) {
    Running& running = *running_[i];
    running.row = -1;
    running.n_in_batch = 0;
    if (running.next < 0 || running.credit <= 0) continue;
    has_streams = true;
    if (!MakeRoom(running)) continue;  // ended
    add(running, running.next, running.sequence.tokens.size(), true);
  }

  const int n_batch = static_cast<int>(llama_n_batch(context_.get()));
  int budget = std::min(PrefillBudget(has_streams), n_batch - batch_.n_tokens);
  // Each prompt in turn gets an equal part of the budget; what one leaves goes to the next.
  int n_left = static_cast<int>(
      std::count_if(running_.begin(), running_.end(), [](const auto& r) { return r->next < 0; }));
  ++first_prefill_;
  for (std::size_t k = 0; k < running_.size() && budget > 0; ++k) {
    Running& running = *running_[(first_prefill_ + k) % running_.size()];
    if (running.next >= 0) continue;
    const std::vector<Token>& prompt = running.generation.prompt();
    const std::size_t done = running.sequence.tokens.size();
    const int share = std::max(budget / std::max(n_left--, 1), 1);
    const std::size_t n = std::min(prompt.size() - done, static_cast<std::size_t>(share));
    for (std::size_t i = 0; i < n; ++i)
      add(running, prompt[done + i], done + i, done + i + 1 == prompt.size());
    budget -= static_cast<int>(n);
    n_prefill_in_batch_ += static_cast<int>(n);
  }
}

bool Generator::Decode() {
  const auto begin = Clock::now();
  int code = 0;
  {
    const std::lock_guard lock(compute_);
    do {
      try {
        code = llama_decode(context_.get(), batch_);
      } catch (const std::exception& error) {
        Log(LogLevel::kError, "llama_decode failed", {{"error", error.what()}});
        code = -1;
      }
    } while (code == 1 && cache_.EvictOne());
  }
  ++n_decodes_;
  if (code == 0) {
    const std::chrono::duration<double> took = Clock::now() - begin;
    if (n_prefill_in_batch_ >= kSmallestChunk && took.count() > 0) {
      const double now = batch_.n_tokens / took.count();
      prefill_tokens_per_s_ =
          prefill_tokens_per_s_ <= 0 ? now : 0.7 * prefill_tokens_per_s_ + 0.3 * now;
    }
    return true;
  }
  // The cells of this batch's sequences are in an unknown state: their jobs end, the others go on.
  const std::string why = TakeLastLlamaError();
  const Error error{Code::kInternal,
                    "an error was encountered while running the model: " +
                        (why.empty() ? "llama_decode returned " + std::to_string(code) : why)};
  for (std::size_t i = running_.size(); i-- > 0;) {
    Running& running = *running_[i];
    if (running.n_in_batch == 0) continue;
    cache_.Drop(std::move(running.sequence));
    running.sequence.id = -1;
    End(running, error);
  }
  return false;
}

void Generator::AfterDecode() {
  for (std::size_t i = running_.size(); i-- > 0;) {
    Running& running = *running_[i];
    if (running.n_in_batch == 0) continue;
    if (running.next < 0) {
      const std::vector<Token>& prompt = running.generation.prompt();
      const auto done = static_cast<std::ptrdiff_t>(running.sequence.tokens.size());
      running.sequence.tokens.insert(
          running.sequence.tokens.end(), prompt.begin() + done,
          prompt.begin() + done + static_cast<std::ptrdiff_t>(running.n_in_batch));
      n_evaluated_ += static_cast<std::int64_t>(running.n_in_batch);
    } else {
      running.sequence.tokens.push_back(running.next);
    }
    if (running.row >= 0) HandOut(running);
  }
}

void Generator::HandOut(Running& running) {
  Generation::Output output;
  try {
    output = running.generation.Next(context_.get(), running.row);
  } catch (const std::exception& error) {
    return End(running, Error{Code::kInternal,
                              std::string("an error was encountered while running the model: ") +
                                  error.what()});
  }
  n_generated_ += running.generation.last() >= 0 ? 1 : 0;
  running.next = running.generation.last();
  Emit(running, std::move(output.piece));
  if (output.done) FinishJob(running, *output.done);
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
  if (job.shift && discard > 0 && cache_.Shift(running.sequence, keep, discard)) return true;
  FinishJob(running, DoneReason::kLength);
  return false;
}

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

void Generator::End(Running& running, JobEvent last) {
  const auto self = std::find_if(running_.begin(), running_.end(),
                                 [&](const auto& r) { return r.get() == &running; });
  if (self == running_.end()) return;  // it has ended already
  const JobId id = running.id();
  const std::unique_ptr<Running> ended = std::move(*self);
  running_.erase(self);
  has_changed_ = true;  // a slot is free
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
