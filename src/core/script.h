// A script of the operator's that runs beside the server: its output goes to the log, line by line,
// and it is stopped with the server.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/stop.h"

namespace corral {

struct ScriptOptions {
  std::filesystem::path file;
  std::vector<std::string> environment;  // "NAME=value"; all of it
  // Between SIGTERM and SIGKILL to the script and what it has started, once `stop` is requested.
  std::chrono::milliseconds grace{1000};
};

// Runs `file`, by /bin/sh if it is not executable or names no interpreter, and waits for its end.
// Its output is logged as it comes (kInfo, msg the line, script=<name>), lines of more than 4 KiB
// in parts. One thread at a time per call; blocks.
//
// OK: it ended with 0, or there is no such file. Errors: kInvalidArgument (a folder, which is what
// Docker makes when the file of a bind mount is not there), kForbidden, kIo (it could not be
// started), kInternal (it ended otherwise: how), kCancelled (stopped).
Status RunScript(const ScriptOptions& options, const StopToken& stop);

}  // namespace corral
