// `verify`, `save` and `load`: on the files of the store itself, with or without a server beside
// them (the store's locks keep both apart).
#pragma once

#include "cli/main.h"
#include "core/result.h"

namespace corral::app {

// Reads the settings from the environment, as the server does. Prints by `console`; an archive goes
// to standard output, or comes from standard input. Errors: those of the store; kCorrupt (something
// is broken and was not repaired).
Status RunStoreCommand(const cli::StoreCommand& command, cli::Console& console);

}  // namespace corral::app
