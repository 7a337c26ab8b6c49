// Quantises a GGUF model by llama.cpp, for the worker's short-lived mode.
#pragma once

#include "core/task.h"

namespace corral::engine {

// A TaskFunction for Task::Kind::kQuantize. One at a time in a process: it follows libllama's log.
// What libllama aborts on ends the process.
Status Quantize(const Task& task, const TaskFiles& files,
                const std::function<void(float)>& on_progress);

}  // namespace corral::engine
