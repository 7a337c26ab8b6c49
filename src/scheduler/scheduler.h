// Which models are loaded, who may use them, and when they go.
//
// One thread owns the table of workers, the memory ledger and the waiting list; everything else
// sends it messages. Loads on demand, one at a time per device; keeps a model for its keep-alive
// after its last lease ended; within OLLAMA_MAX_LOADED_MODELS the longest idle model makes room. A
// load belongs to the scheduler: a client that leaves does not abort it while others wait for it.
// Every Acquire is answered exactly once.
//
// Thread-safe. Callbacks run on the scheduler's thread (or on the caller's for an error at once):
// they must not block.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/job.h"
#include "core/result.h"
#include "core/stop.h"
#include "worker/client.h"

namespace corral::scheduler {

// A keep-alive of this length or longer means for ever.
inline constexpr std::chrono::nanoseconds kForever = std::chrono::nanoseconds::max();

// A model as a request needs it: what decides whether a loaded one can serve it.
struct ModelRequest {
  std::string name;             // as shown by ps: the short name with its tag
  std::string digest;           // hex of the manifest, shown by ps
  std::filesystem::path model;  // GGUF blob: the key. Tags that share it share a worker
  std::vector<std::filesystem::path> projectors;
  // Of all files, those of adapters too, which travel with the jobs and decide nothing here: the
  // first guess of the memory needed.
  std::int64_t file_bytes = 0;
  int n_ctx_train = 0;  // 0: unknown
  bool is_embedding = false;
  // TokenJobs only: any worker with this model serves it, else one that reads no weights. Such
  // workers are not shown by Loaded and make no model go; as many as models may be loaded.
  bool is_vocab_only = false;
  // Explicit values only; unset means "the server decides". A loaded model serves a request that
  // asks for what it has, or for a smaller num_ctx. What is unset asks for the default where
  // another value would show in the answer or its speed (num_ctx, num_thread, flash_attention,
  // kv_cache_type), so that nobody's options outlive their request; else for whatever is loaded.
  std::optional<int> num_ctx, num_batch, num_gpu, main_gpu, num_thread;
  std::optional<bool> use_mmap, flash_attention;
  std::optional<std::string> kv_cache_type;  // of kKvCacheTypes; else a load error
  // Unset: keep the loaded model's, or the server's default for a new load.
  std::optional<std::chrono::nanoseconds> keep_alive;
  // Opaque details of the model for ps (family, quantization...), kept beside the loaded model.
  std::shared_ptr<const void> details;
};

// The right to run jobs on a loaded model. Movable; giving it back starts the keep-alive clock.
class Lease {
 public:
  Lease() = default;
  Lease(std::shared_ptr<worker::Worker> worker, ModelFacts facts, int num_ctx,
        std::function<void()> release)
      : worker_(std::move(worker)),
        facts_(facts),
        num_ctx_(num_ctx),
        release_(std::move(release)) {}
  Lease(Lease&& other) noexcept { *this = std::move(other); }
  Lease& operator=(Lease&& other) noexcept {
    if (this != &other) {
      Release();
      worker_ = std::move(other.worker_);
      facts_ = other.facts_;
      num_ctx_ = other.num_ctx_;
      release_ = std::exchange(other.release_, nullptr);
    }
    return *this;
  }
  ~Lease() { Release(); }

  worker::Worker& worker() const { return *worker_; }
  const ModelFacts& facts() const { return facts_; }
  // Most tokens of one sequence that this request may use: its own num_ctx, or what was loaded.
  int num_ctx() const { return num_ctx_; }
  void Release() {
    if (auto release = std::exchange(release_, nullptr)) release();
    worker_.reset();
  }

 private:
  std::shared_ptr<worker::Worker> worker_;
  ModelFacts facts_;
  int num_ctx_ = 0;
  std::function<void()> release_;
};

// One row of /api/ps.
struct LoadedModel {
  std::string name;
  std::string digest;
  std::int64_t size_bytes = 0;
  std::int64_t vram_bytes = 0;
  int num_ctx = 0;
  int leases = 0;
  pid_t worker_pid = 0;
  // now + keep-alive while leased; the clock's largest value if is_forever (its type ends before
  // what the wire shows).
  std::chrono::system_clock::time_point expires_at;
  bool is_forever = false;
  std::shared_ptr<const void> details;
  EngineCounters counters;
};

struct Options {
  std::filesystem::path worker_program{};
  int max_loaded_models = 3;
  int max_queue = 512;   // requests that wait for a load or a place; 0: none may wait
  int num_parallel = 0;  // 0: the scheduler decides
  int default_num_ctx = 4096;
  std::chrono::nanoseconds default_keep_alive = std::chrono::minutes(5);
  std::chrono::nanoseconds load_timeout = std::chrono::minutes(5);  // without progress; <= 0: none
  bool flash_attention = true;
  std::string kv_cache_type{};
  std::int64_t prefix_cache_bytes = 0;  // see LoadOptions
};

class Scheduler {
 public:
  using OnLease = std::function<void(Result<Lease>)>;

  virtual ~Scheduler() = default;

  // Answers once: a Lease, or kBusy (Ollama's text: "server busy, please try again.  maximum
  // pending requests exceeded"), kCancelled (stop), kNoMemory, kCorrupt, kDeadline, kInternal. May
  // start a worker.
  virtual void Acquire(ModelRequest request, StopToken stop, OnLease on_lease) = 0;

  // Sets the keep-alive of the loaded model with this GGUF to 0: it goes when it is idle. Until
  // then it is shown, and serves requests, which may keep it longer. Not loaded: nothing.
  virtual void Unload(const std::filesystem::path& model) = 0;

  // A snapshot, latest expiry first. Waits for the scheduler's thread (microseconds, it never
  // blocks).
  virtual std::vector<LoadedModel> Loaded() = 0;

  // Counters summed over all workers that ever ran, for /metrics.
  virtual EngineCounters TotalCounters() = 0;
  virtual int WaitingRequests() = 0;

  // New Acquires are answered kBusy; running leases go on.
  virtual void StopAdmitting() = 0;
  // Stops all workers and waits until they are reaped. Waiting requests are answered kBusy first.
  virtual void Shutdown(std::chrono::milliseconds grace) = 0;

  // Looks at the clock again: for tests, which move it.
  virtual void Poke() = 0;
};

// Where the scheduler's time and the machine's free memory come from: tests replace them.
struct Surroundings {
  std::function<Clock::time_point()> now = [] { return Clock::now(); };
  std::function<std::int64_t()> free_memory_bytes;  // null: core/host.h
};

// Runs until destroyed (which is Shutdown(0)).
std::unique_ptr<Scheduler> MakeScheduler(Options options,
                                         std::shared_ptr<worker::Launcher> launcher,
                                         Surroundings surroundings = {});

}  // namespace corral::scheduler
