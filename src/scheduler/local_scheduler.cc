#include "scheduler/local_scheduler.h"

#include <algorithm>
#include <future>
#include <utility>

#include "core/host.h"
#include "core/log.h"

namespace corral::scheduler {
namespace {

constexpr std::chrono::seconds kUnloadGrace{2};
constexpr int kSmallestContext = 4;
// Memory that a load needs beyond its files: cells and compute buffers, roughly.
constexpr std::int64_t kLoadOverheadBytes = 512LL << 20;
constexpr std::string_view kQueueFull =
    "server busy, please try again.  maximum pending requests exceeded";

Error ShuttingDown() { return {Code::kBusy, "server is shutting down"}; }

void Add(EngineCounters* sum, const EngineCounters& counters) {
  sum->prompt_tokens_evaluated += counters.prompt_tokens_evaluated;
  sum->prompt_tokens_reused += counters.prompt_tokens_reused;
  sum->tokens_generated += counters.tokens_generated;
  sum->decode_calls += counters.decode_calls;
  sum->tokens_guessed += counters.tokens_guessed;
  sum->guesses_right += counters.guesses_right;
  sum->media_encoded += counters.media_encoded;
  sum->media_reused += counters.media_reused;
}

}  // namespace

LocalScheduler::LocalScheduler(Options options, std::shared_ptr<worker::Launcher> launcher,
                               Surroundings surroundings)
    : options_(std::move(options)),
      launcher_(std::move(launcher)),
      surroundings_(std::move(surroundings)),
      thread_([this] { Run(); }) {}

LocalScheduler::~LocalScheduler() {
  Shutdown(std::chrono::milliseconds(0));
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
  }
  event_.notify_all();
}

void LocalScheduler::Post(Message message) {
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_) return;
    inbox_.push_back(std::move(message));
  }
  event_.notify_all();
}

template <class T>
T LocalScheduler::Ask(std::function<T()> question) {
  auto answer =
      std::make_shared<std::promise<T>>();  // shared: the message may outlive the wait on shutdown
  auto future = answer->get_future();
  Post([answer, question = std::move(question)] { answer->set_value(question()); });
  return future.get();
}

void LocalScheduler::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto is_ready = [this] { return is_closed_ || !inbox_.empty(); };
    const Clock::time_point deadline = NextDeadline();
    if (deadline == Clock::time_point::max()) {
      event_.wait(lock, is_ready);
    } else {
      event_.wait_until(lock, deadline, is_ready);
    }
    if (is_closed_ && inbox_.empty()) return;
    std::deque<Message> messages = std::exchange(inbox_, {});
    lock.unlock();
    for (Message& message : messages) message();
    ExpireIdle();
    ServeWaiting();
    if (entries_.empty()) {
      for (const auto& is_empty : std::exchange(waits_for_empty_, {})) is_empty->set_value();
    }
    lock.lock();
  }
}

Clock::time_point LocalScheduler::NextDeadline() const {
  Clock::time_point next = Clock::time_point::max();
  for (const Entry& entry : entries_) {
    if (entry.state == State::kReady && entry.leases == 0) next = std::min(next, ExpiryOf(entry));
  }
  return next;
}

Clock::time_point LocalScheduler::ExpiryOf(const Entry& entry) const {
  if (entry.must_go) return entry.idle_since;
  const Clock::time_point begin = entry.leases > 0 ? surroundings_.now() : entry.idle_since;
  if (entry.keep_alive >= Clock::time_point::max() - begin) return Clock::time_point::max();
  return begin + std::chrono::duration_cast<Clock::duration>(entry.keep_alive);
}

// --- messages from other threads
// ---------------------------------------------------------------------------------------

void LocalScheduler::Acquire(ModelRequest request, StopToken stop, OnLease on_lease) {
  auto waiting = std::make_shared<std::unique_ptr<Waiting>>(std::make_unique<Waiting>(
      Waiting{std::move(request), std::move(stop), std::move(on_lease), nullptr}));
  Post([this, waiting] { OnAcquire(std::move(*waiting)); });
}

void LocalScheduler::Unload(const std::filesystem::path& model) {
  Post([this, model] {
    for (Entry& entry : entries_) {
      if (entry.loaded_for.model == model) entry.keep_alive = std::chrono::nanoseconds(0);
    }
  });
}

std::vector<LoadedModel> LocalScheduler::Loaded() {
  return Ask<std::vector<LoadedModel>>([this] {
    std::vector<LoadedModel> models;
    const auto wall_now = std::chrono::system_clock::now();
    for (const Entry& entry : entries_) {
      if (entry.state != State::kReady || entry.loaded_for.is_vocab_only) continue;
      LoadedModel model;
      model.name = entry.loaded_for.name;
      model.digest = entry.loaded_for.digest;
      model.size_bytes = entry.facts.size_bytes;
      model.vram_bytes = entry.facts.vram_bytes;
      model.num_ctx = entry.shown_num_ctx;
      model.leases = entry.leases;
      model.worker_pid = entry.worker->pid();
      const Clock::time_point expiry = ExpiryOf(entry);
      model.is_forever = expiry == Clock::time_point::max();
      model.expires_at =
          model.is_forever
              ? std::chrono::system_clock::time_point::max()
              : wall_now + std::chrono::duration_cast<std::chrono::system_clock::duration>(
                               expiry - surroundings_.now());
      model.details = entry.loaded_for.details;
      model.counters = entry.worker->counters();
      models.push_back(std::move(model));
    }
    std::stable_sort(models.begin(), models.end(), [](const LoadedModel& a, const LoadedModel& b) {
      return a.expires_at > b.expires_at;
    });
    return models;
  });
}

EngineCounters LocalScheduler::TotalCounters() {
  return Ask<EngineCounters>([this] {
    EngineCounters sum = gone_counters_;
    for (const Entry& entry : entries_) {
      const EngineCounters counters = entry.worker->counters();
      Add(&sum, counters);
      sum.jobs_running += counters.jobs_running;
      sum.jobs_waiting += counters.jobs_waiting;
      sum.parked_bytes += counters.parked_bytes;
    }
    return sum;
  });
}

int LocalScheduler::WaitingRequests() {
  return Ask<int>([this] { return CountWaiting(); });
}

void LocalScheduler::StopAdmitting() {
  Post([this] { is_admitting_ = false; });
}

void LocalScheduler::Shutdown(std::chrono::milliseconds grace) {
  auto is_empty = std::make_shared<std::promise<void>>();
  auto empty = is_empty->get_future();
  Post([this, grace, is_empty] {
    is_admitting_ = false;
    for (auto& waiting : std::exchange(waiting_, {})) waiting->on_lease(Fail(ShuttingDown()));
    for (Entry& entry : entries_) {
      for (auto& waiting : std::exchange(entry.waiters, {}))
        waiting->on_lease(Fail(ShuttingDown()));
      Evict(entry, grace);
    }
    waits_for_empty_.push_back(is_empty);
  });
  empty.wait();  // each worker's end comes as a message
}

void LocalScheduler::Poke() {
  Ask<bool>([] { return true; });
  Ask<bool>([] { return true; });  // what the first one set off has been looked at
}

// --- on the scheduler's thread
// -----------------------------------------------------------------------------------------

void LocalScheduler::OnAcquire(std::unique_ptr<Waiting> waiting) {
  if (!is_admitting_) {
    waiting->on_lease(Fail(ShuttingDown()));
    return;
  }
  if (TryServe(waiting)) return;
  if (CountWaiting() >= options_.max_queue) {
    waiting->on_lease(Fail(Code::kBusy, std::string(kQueueFull)));
    return;
  }
  waiting->on_stop =
      std::make_unique<StopCallback>(waiting->stop, [this] { Post([this] { OnStopped(); }); });
  waiting_.push_back(std::move(waiting));
}

void LocalScheduler::OnStopped() {
  const auto drop = [](auto& requests) {
    for (auto waiting = requests.begin(); waiting != requests.end();) {
      if (!(*waiting)->stop.StopRequested()) {
        ++waiting;
        continue;
      }
      (*waiting)->on_lease(Fail((*waiting)->stop.ToError()));
      waiting = requests.erase(waiting);
    }
  };
  drop(waiting_);
  for (Entry& entry : entries_) drop(entry.waiters);
}

void LocalScheduler::ServeWaiting() {
  // Later requests may be served before one that waits for another model's place.
  for (std::size_t i = 0; i < waiting_.size();) {
    if (TryServe(waiting_[i])) {
      waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
}

bool LocalScheduler::TryServe(std::unique_ptr<Waiting>& waiting) {
  if (waiting->stop.StopRequested()) {
    waiting->on_lease(Fail(waiting->stop.ToError()));
    return true;
  }
  Entry* entry = FindModel(waiting->request);
  if (entry == nullptr) return StartLoad(waiting);
  if (entry->state == State::kStopping || entry->must_go) return false;
  if (!CanServe(*entry, waiting->request)) {
    if (entry->state == State::kReady)
      entry->must_go = true;  // goes when its leases have ended; then this one loads
    return false;
  }
  if (entry->state == State::kLoading) {
    if (CountWaiting() >= options_.max_queue) {
      waiting->on_lease(Fail(Code::kBusy, std::string(kQueueFull)));
      return true;
    }
    if (!waiting->on_stop) {
      waiting->on_stop =
          std::make_unique<StopCallback>(waiting->stop, [this] { Post([this] { OnStopped(); }); });
    }
    entry->waiters.push_back(std::move(waiting));
    return true;
  }
  if (!entry->worker->IsAlive()) return false;  // its end is on the way here
  Grant(*entry, std::move(waiting));
  return true;
}

bool LocalScheduler::StartLoad(std::unique_ptr<Waiting>& waiting) {
  if (!is_admitting_) {
    waiting->on_lease(Fail(ShuttingDown()));
    return true;
  }
  // One load at a time: two would halve each other's disk and cores.
  const bool is_loading = std::any_of(entries_.begin(), entries_.end(),
                                      [](const Entry& e) { return e.state == State::kLoading; });
  if (is_loading || !MakeRoom(waiting->request)) return false;

  const ModelRequest& request = waiting->request;
  worker::Launch launch;
  launch.program = options_.worker_program;
  launch.model = request.model;
  launch.projectors = request.projectors;
  launch.model_name = request.name;
  launch.options = LoadOptionsOf(request);

  const EntryId id = next_entry_++;
  worker::Launcher::Callbacks callbacks;
  callbacks.on_loaded = [this, id](Result<ModelFacts> result) {
    Post([this, id, result = std::move(result)] { OnLoaded(id, result); });
  };
  callbacks.on_gone = [this, id] { Post([this, id] { OnGone(id); }); };
  auto worker = launcher_->Start(
      launch, std::chrono::duration_cast<std::chrono::milliseconds>(options_.load_timeout),
      std::move(callbacks));
  if (!worker) {
    waiting->on_lease(Fail(std::move(worker).error().Within("start a worker")));
    return true;
  }
  Log(LogLevel::kInfo, "loading model",
      {{"model", request.name}, {"num_ctx", launch.options.num_ctx}, {"pid", (*worker)->pid()}});
  Entry& entry = entries_.emplace_back();
  entry.id = id;
  entry.loaded_for = request;
  entry.worker = std::move(*worker);
  entry.keep_alive = request.keep_alive.value_or(options_.default_keep_alive);
  if (!waiting->on_stop) {
    waiting->on_stop =
        std::make_unique<StopCallback>(waiting->stop, [this] { Post([this] { OnStopped(); }); });
  }
  entry.waiters.push_back(std::move(waiting));
  TellSharers();
  return true;
}

// Whether one more model may be loaded now; starts an eviction where that is what it takes.
bool LocalScheduler::MakeRoom(const ModelRequest& request) {
  const int n_loaded = CountEntries(request.is_vocab_only);
  const bool is_full = n_loaded >= std::max(options_.max_loaded_models, 1);
  const std::int64_t free_bytes = surroundings_.free_memory_bytes
                                      ? surroundings_.free_memory_bytes()
                                      : ReadHostFacts().memory_available_bytes;
  const bool is_short = !request.is_vocab_only && n_loaded > 0 && free_bytes > 0 &&
                        request.file_bytes + kLoadOverheadBytes > free_bytes;
  if (!is_full && !is_short) return true;
  // A place is being made already?
  if (std::any_of(entries_.begin(), entries_.end(), [&](const Entry& e) {
        return e.state == State::kStopping && e.loaded_for.is_vocab_only == request.is_vocab_only;
      })) {
    return false;
  }
  if (Entry* victim = LongestIdle(request.is_vocab_only)) {
    Log(LogLevel::kInfo, "evicting model",
        {{"model", victim->loaded_for.name}, {"for", request.name}});
    Evict(*victim, kUnloadGrace);
    return false;
  }
  // All are busy. Too little memory is no reason to wait behind them: the worker's own allocation
  // decides.
  return !is_full;
}

// Among idle models the one that has been so longest; one that is kept for ever only if there is no
// other.
LocalScheduler::Entry* LocalScheduler::LongestIdle(bool is_vocab_only) {
  Entry* best = nullptr;
  const auto rank = [](const Entry& e) {
    return std::pair(e.keep_alive == kForever, e.idle_since);
  };
  for (Entry& entry : entries_) {
    if (entry.state != State::kReady || entry.leases > 0 ||
        entry.loaded_for.is_vocab_only != is_vocab_only) {
      continue;
    }
    if (best == nullptr || rank(entry) < rank(*best)) best = &entry;
  }
  return best;
}

void LocalScheduler::OnLoaded(EntryId id, Result<ModelFacts> result) {
  Entry* entry = Find(id);
  if (entry == nullptr || entry->state != State::kLoading) return;
  std::vector<std::unique_ptr<Waiting>> waiters = std::exchange(entry->waiters, {});
  if (!result) {
    Log(LogLevel::kError, "model did not load",
        {{"model", entry->loaded_for.name}, {"error", result.error().message}});
    entry->state = State::kStopping;  // its end follows
    for (auto& waiting : waiters) waiting->on_lease(Fail(result.error()));
    return;
  }
  entry->state = State::kReady;
  entry->facts = *result;
  entry->idle_since = surroundings_.now();
  entry->shown_num_ctx = NumCtx(entry->loaded_for);
  if (entry->facts.n_ctx_seq > 0)
    entry->shown_num_ctx = std::min(entry->shown_num_ctx, entry->facts.n_ctx_seq);
  Log(LogLevel::kInfo, "model loaded",
      {{"model", entry->loaded_for.name},
       {"slots", result->n_slots},
       {"threads", result->n_threads},
       {"bytes", result->size_bytes}});
  TellSharers();  // one that embeds parks nothing
  for (auto& waiting : waiters) {
    if (waiting->stop.StopRequested()) {
      waiting->on_lease(Fail(waiting->stop.ToError()));
    } else {
      Grant(*entry, std::move(waiting));
    }
  }
}

void LocalScheduler::OnGone(EntryId id) {
  const auto entry =
      std::find_if(entries_.begin(), entries_.end(), [id](const Entry& e) { return e.id == id; });
  if (entry == entries_.end()) return;
  Add(&gone_counters_, entry->worker->counters());
  for (auto& waiting : std::exchange(entry->waiters, {})) {
    waiting->on_lease(Fail(Code::kInternal, "llama-server process has terminated while loading"));
  }
  Log(LogLevel::kInfo, "model unloaded", {{"model", entry->loaded_for.name}});
  entries_.erase(entry);
  TellSharers();
}

void LocalScheduler::OnReleased(EntryId id) {
  Entry* entry = Find(id);
  if (entry == nullptr || entry->leases == 0) return;
  if (--entry->leases > 0) return;
  entry->idle_since = surroundings_.now();
  TellSharers();
}

// Models that have work at the same time divide the cores; those that are in memory and park
// prefixes divide the budget for these, also while they load or end.
void LocalScheduler::TellSharers() {
  const auto count = [this](const auto& which) {
    const auto n = std::count_if(entries_.begin(), entries_.end(), which);
    return std::max(static_cast<std::int32_t>(n), 1);
  };
  const std::int32_t n_busy = count([](const Entry& entry) { return entry.leases > 0; });
  const std::int32_t n_parking = count([](const Entry& entry) {
    return !entry.loaded_for.is_vocab_only && !entry.facts.is_embedding;
  });
  for (Entry& entry : entries_) {
    const Sharers now{entry.leases > 0 ? n_busy : entry.told.n_computing, n_parking};
    if (entry.told == now) continue;
    entry.told = now;
    entry.worker->SetSharers(now);
  }
}

void LocalScheduler::Grant(Entry& entry, std::unique_ptr<Waiting> waiting) {
  const ModelRequest& request = waiting->request;
  if (request.keep_alive) entry.keep_alive = *request.keep_alive;
  int num_ctx = request.num_ctx ? NumCtx(request) : entry.facts.n_ctx_seq;
  if (entry.facts.n_ctx_seq > 0) num_ctx = std::min(num_ctx, entry.facts.n_ctx_seq);
  if (!request.is_vocab_only) entry.shown_num_ctx = num_ctx;
  // The newest name that it serves under is shown: tags that share a GGUF share the worker.
  entry.loaded_for.name = request.name;
  entry.loaded_for.digest = request.digest;
  entry.loaded_for.details = request.details;
  ++entry.leases;
  TellSharers();  // before the lease's first job
  waiting->on_lease(Lease(entry.worker, entry.facts, num_ctx,
                          [this, id = entry.id] { Post([this, id] { OnReleased(id); }); }));
}

void LocalScheduler::ExpireIdle() {
  const Clock::time_point now = surroundings_.now();
  for (Entry& entry : entries_) {
    if (entry.state == State::kReady && entry.leases == 0 && ExpiryOf(entry) <= now)
      Evict(entry, kUnloadGrace);
  }
}

void LocalScheduler::Evict(Entry& entry, std::chrono::milliseconds grace) {
  entry.state = State::kStopping;
  entry.worker->Stop(grace);
}

bool LocalScheduler::CanServe(const Entry& entry, const ModelRequest& request) const {
  if (request.is_vocab_only) return true;
  if (request.projectors != entry.loaded_for.projectors) return false;
  const LoadOptions loaded = LoadOptionsOf(entry.loaded_for);
  const LoadOptions asked = LoadOptionsOf(request);
  // An engine that gave less than it was asked for would give no more the next time.
  if (asked.num_ctx > std::max(loaded.num_ctx, entry.facts.n_ctx_seq)) return false;
  // Named or not: a slow or coarse answer would surprise whoever did not ask for it.
  if (asked.num_thread != loaded.num_thread || asked.flash_attention != loaded.flash_attention ||
      asked.kv_cache_type != loaded.kv_cache_type) {
    return false;
  }
  return !(asked.num_gpu >= 0 && asked.num_gpu != loaded.num_gpu) &&
         !(asked.main_gpu >= 0 && asked.main_gpu != loaded.main_gpu) &&
         !(asked.use_mmap >= 0 && asked.use_mmap != loaded.use_mmap) &&
         !(request.num_batch && asked.num_batch != loaded.num_batch);
}

LoadOptions LocalScheduler::LoadOptionsOf(const ModelRequest& request) const {
  LoadOptions load;
  load.is_vocab_only = request.is_vocab_only;
  load.num_ctx = NumCtx(request);
  load.n_slots = options_.num_parallel;
  load.num_batch = request.num_batch.value_or(load.num_batch);
  load.num_gpu = std::max(request.num_gpu.value_or(-1), -1);
  load.main_gpu = std::max(request.main_gpu.value_or(-1), -1);
  load.num_thread = std::max(request.num_thread.value_or(0), 0);
  if (request.use_mmap) load.use_mmap = *request.use_mmap ? 1 : 0;
  load.flash_attention = request.flash_attention.value_or(options_.flash_attention);
  load.kv_cache_type = request.kv_cache_type.value_or(options_.kv_cache_type);
  if (load.kv_cache_type.empty()) load.kv_cache_type = "f16";
  load.prefix_cache_bytes = options_.prefix_cache_bytes;
  return load;
}

int LocalScheduler::NumCtx(const ModelRequest& request) const {
  const int asked = std::max(request.num_ctx.value_or(options_.default_num_ctx), kSmallestContext);
  return request.n_ctx_train > 0 ? std::min(asked, request.n_ctx_train) : asked;
}

LocalScheduler::Entry* LocalScheduler::Find(EntryId id) {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [id](const Entry& e) { return e.id == id; });
  return found == entries_.end() ? nullptr : &*found;
}

// The newest that may serve it: an older one with the same key may still be on its way out. For the
// vocabulary alone any that stays will do.
LocalScheduler::Entry* LocalScheduler::FindModel(const ModelRequest& request) {
  Entry* leaving = nullptr;
  for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
    if (entry->loaded_for.model != request.model) continue;
    if (!request.is_vocab_only) {
      if (!entry->loaded_for.is_vocab_only) return &*entry;
    } else if (entry->state != State::kStopping && !entry->must_go) {
      return &*entry;
    } else if (entry->loaded_for.is_vocab_only) {
      leaving = &*entry;
    }
  }
  return leaving;
}

int LocalScheduler::CountEntries(bool is_vocab_only) const {
  return static_cast<int>(std::count_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.loaded_for.is_vocab_only == is_vocab_only;
  }));
}

int LocalScheduler::CountWaiting() const {
  std::size_t n = waiting_.size();
  for (const Entry& entry : entries_) n += entry.waiters.size();
  return static_cast<int>(n);
}

std::unique_ptr<Scheduler> MakeScheduler(Options options,
                                         std::shared_ptr<worker::Launcher> launcher,
                                         Surroundings surroundings) {
  return std::make_unique<LocalScheduler>(std::move(options), std::move(launcher),
                                          std::move(surroundings));
}

}  // namespace corral::scheduler
