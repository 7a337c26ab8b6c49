// What computes: one loaded model, many jobs at once. The worker's host drives it; llama.cpp and a
// fake implement it.
//
// Threads: all calls may be made from any thread and do not block on computing. Events come on the
// engine's own threads; the sink must not block for long and must not call back into the engine's
// destructor. Every submitted job hears any number of Pieces and exactly one last event. A job
// starts with `initial_credit` pieces; at zero it keeps its cells but takes no place in the batch
// until AddCredit.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/files.h"
#include "core/job.h"
#include "core/result.h"

namespace corral::engine {

// Open descriptors; the engine reads from them and closes none.
struct ModelFiles {
  int model = -1;
  std::vector<int> projectors;
};

// The open files of a job's adapters, in the order of the job's list.
using AdapterFiles = std::vector<UniqueFd>;

using EventSink = std::function<void(JobId, JobEvent)>;

class Engine {
 public:
  virtual ~Engine() = default;  // ends what runs with kCancelled, joins

  virtual ModelFacts facts() const = 0;
  // An adapter is loaded with the first job that names it, and kept for others; one that cannot be
  // loaded is the end of its job: kCorrupt, kNoMemory.
  virtual void Submit(JobId id, GenerateJob job, AdapterFiles adapters) = 0;
  virtual void Submit(JobId id, EmbedJob job, AdapterFiles adapters) = 0;
  virtual void Submit(JobId id, TokenJob job) = 0;
  virtual void Cancel(JobId id) = 0;
  virtual void AddCredit(JobId id, int pieces) = 0;
  virtual EngineCounters Counters() const = 0;
  // What is parked beyond the model's part of the budget is forgotten soon.
  virtual void SetSharers(Sharers sharers) = 0;
};

struct EngineConfig {
  LoadOptions options;
  EventSink sink;
  int initial_credit = 256;
  // 0..1 while loading, on the loading thread; returning false aborts the load (kCancelled).
  std::function<bool(float)> on_progress;
};

// Errors: kCorrupt (not a model that can be used; the text names what), kNoMemory, kInvalidArgument
// (options), kCancelled.
using EngineFactory =
    std::function<Result<std::unique_ptr<Engine>>(const ModelFiles& files, EngineConfig config)>;

}  // namespace corral::engine
