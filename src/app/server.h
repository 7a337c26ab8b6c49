// `corral serve`: makes the rooms, connects them, and ends them in order.
#pragma once

namespace corral::app {

// Serves until SIGTERM or SIGINT; returns the exit code. Reads its settings from the environment.
// Order of the end (docs/architecture.md): the listening socket closes, what runs ends within the
// grace, workers stop and are reaped. A second signal ends the grace at once.
int RunServer();

}  // namespace corral::app
