// An engine without a model, for tests of everything around it: worker, server, sanitizers.
//
// Deterministic. The answer to a prompt is its words in order, one piece each, again and again
// until num_predict (default 16) or a stop string. A token is a word. Words that steer it:
//   "#crash"   the process aborts when it comes to this word (a worker that dies under load)
//   "#hang"    the job stays silent until it is cancelled
//   "#slow"    one piece each 20 ms instead of at once
// A file that begins with "GGUF" loads, anything else is kCorrupt. Same threads and credit rules as
// the real one.
#pragma once

#include "core/task.h"
#include "engine/engine.h"

namespace corral::engine {

// An EngineFactory.
Result<std::unique_ptr<Engine>> MakeFakeEngine(const ModelFiles& files, EngineConfig config);

// A TaskFunction for kQuantize: the output is the input. A file type that steers it:
//   "CRASH"  the process aborts;   "HANG"  it never returns;   "REFUSE"  kInvalidArgument
Status FakeQuantize(const Task& task, const TaskFiles& files,
                    const std::function<void(float)>& on_progress);

}  // namespace corral::engine
