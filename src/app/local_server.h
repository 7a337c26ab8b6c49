// The server that a command brings along when there is none to ask, as `corral pull` in a RUN line
// of a Dockerfile.
#pragma once

#include <memory>

#include "cli/main.h"
#include "core/result.h"

namespace corral::app {

// The same rooms and routes as `corral serve` in this process, on the store of the settings, behind
// an abstract Unix socket that serves this process alone: no file that a kill would leave. Logs
// errors only. Errors: those of models::Store::Open, kIo (no socket).
Result<std::unique_ptr<cli::LocalServer>> OpenLocalServer();

}  // namespace corral::app
