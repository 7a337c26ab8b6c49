// The child's side: reads frames from the server, drives one engine, writes frames back.
//
// Threads: the caller's reads the socket and never stops reading; one loads the model; one writes,
// in order; the engine has its own. End of file on the socket means that the server is gone: the
// process exits at once.
#pragma once

#include "core/task.h"
#include "engine/engine.h"

namespace corral::worker {

// Serves until the server says stop or is gone, or does the one task that the server asks for
// instead (`run_task`); returns the exit status. Descriptors: protocol.h.
int RunHost(const engine::EngineFactory& factory, const TaskFunction& run_task);

}  // namespace corral::worker
