// Runs one task (core/task.h) in a worker process of its own and waits for it: the short-lived mode
// of corral-worker. A file that libllama aborts on ends that process and nothing else.
//
// Thread-safe; any number of tasks run at once, each in its process. Blocking, for as long as the
// task takes: never on the blocking pool.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "core/result.h"
#include "core/stop.h"
#include "core/task.h"

namespace corral::worker {

struct TaskLaunch {
  Task task;
  std::vector<std::filesystem::path> inputs;  // opened here; the child gets descriptors
  int output_fd = -1;                         // an empty file, open for reading and writing
};

class TaskRunner {
 public:
  virtual ~TaskRunner() = default;
  // `on_progress` hears 0..1 on this thread. When `stop` stops, the process is killed and what it
  // wrote is worthless. Errors: those of the task; kNotFound (the program, an input); kInternal
  // (the process died, or said nothing for ten minutes); what `stop` says.
  virtual Status Run(const TaskLaunch& launch, const std::function<void(float)>& on_progress,
                     StopToken stop) = 0;
};

// The real one; `program` is corral-worker. Fakes in tests implement TaskRunner.
std::unique_ptr<TaskRunner> MakeProcessTaskRunner(std::filesystem::path program);

}  // namespace corral::worker
