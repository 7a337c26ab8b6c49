// The server's handle on one worker: a child process with one loaded model, reached by frames over
// a socket pair (worker/protocol.h, docs/formats/worker-frames.md). The child has no listening
// port.
//
// States: kLoading -> kReady -> kStopping -> kGone; from any state to kGone when the process dies.
// Threads: thread-safe. One reader thread a handle calls every sink and callback below; these must
// not block and must not destroy the handle. Backpressure: a job starts with kInitialCredit pieces;
// its consumer gives credit back with AddCredit as it takes pieces, and a job without credit keeps
// its cells but takes no place in the batch.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "core/job.h"
#include "core/result.h"
#include "core/stop.h"

namespace corral::worker {

inline constexpr int kInitialCredit = 256;

struct Launch {
  std::filesystem::path program;  // corral-worker
  std::filesystem::path model;    // GGUF; opened here, the child gets the descriptor
  std::vector<std::filesystem::path> projectors;
  std::string model_name;  // for logs only
  LoadOptions options;
};

using Job = std::variant<GenerateJob, EmbedJob, TokenJob>;

// Hears one job. Called on the handle's reader thread; on the caller's, if Submit finds the worker
// gone; on the writer thread, if an adapter's file cannot be opened.
using EventSink = std::function<void(JobEvent)>;

class Worker {
 public:
  virtual ~Worker() = default;

  // Sends the job, with the files of its adapters. `sink` hears any number of Pieces and then
  // exactly one last event, whatever happens: also when the worker is gone (Code::kInternal,
  // Ollama's text for a runner that stopped).
  virtual JobId Submit(Job job, EventSink sink) = 0;
  // Asks for the job's end; the last event is then Error{kCancelled}. Unknown ids are ignored.
  virtual void Cancel(JobId job) = 0;
  // The consumer took `pieces` pieces.
  virtual void AddCredit(JobId job, int pieces) = 0;

  // It takes its part of what they share.
  virtual void SetSharers(Sharers sharers) = 0;

  virtual bool IsAlive() const = 0;
  virtual pid_t pid() const = 0;
  // Valid once loaded.
  virtual ModelFacts facts() const = 0;
  // The newest counters the worker has sent (it sends them with each finished job and once a second
  // while busy).
  virtual EngineCounters counters() const = 0;

  // Ends the worker: kUser and kShutdown errors for what runs, SIGKILL after `grace`. Returns at
  // once; on_gone follows.
  virtual void Stop(std::chrono::milliseconds grace) = 0;
};

// Starts a worker and loads its model. Returns at once; exactly one of the two happens on the
// reader thread:
//   on_loaded(facts)   and later on_gone() once the process has ended and was reaped;
//   on_loaded(error)   kCorrupt (not a usable model), kNoMemory, kDeadline (no progress for
//   `stall`), kInternal,
//                      then on_gone().
// `on_progress(0..1)` may come in between.
class Launcher {
 public:
  struct Callbacks {
    std::function<void(Result<ModelFacts>)> on_loaded;
    std::function<void()> on_gone;
    std::function<void(float)> on_progress;
  };
  virtual ~Launcher() = default;
  // Errors at once: kNotFound (program or model file), kIo.
  virtual Result<std::shared_ptr<Worker>> Start(const Launch& launch,
                                                std::chrono::milliseconds stall,
                                                Callbacks callbacks) = 0;
};

// The real one. Fakes in tests implement Launcher.
std::unique_ptr<Launcher> MakeProcessLauncher();

}  // namespace corral::worker
