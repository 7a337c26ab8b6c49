// Child processes: posix_spawn and a pidfd. No fork in a threaded server.
//
// A child gets its standard descriptors and `fds` (as 3, 4, ...), nothing else of ours, an own process group, and SIGKILL when
// this process dies (by its lifeline, see worker/protocol.h). Thread-safe as any value that is moved.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/result.h"

namespace corral {

struct SpawnOptions {
  std::filesystem::path program;
  std::vector<std::string> arguments;    // without argv[0]
  std::vector<std::string> environment;  // "NAME=value"; the child's whole environment
  std::vector<int> fds;                  // become 3, 4, ... in the child
  int output_fd = -1;                    // stdout and stderr; -1: inherit
};

struct ExitStatus {
  int code = 0;    // exit code, or
  int signal = 0;  // the signal that ended it
  std::string ToString() const;  // "exit status 1", "signal: killed"
};

class ChildProcess {
 public:
  // Errors: kNotFound (no such program), kForbidden, kIo.
  static Result<ChildProcess> Spawn(const SpawnOptions& options);
  ChildProcess(ChildProcess&&) noexcept = default;
  ChildProcess& operator=(ChildProcess&&) noexcept = default;
  // Kills (SIGKILL) and reaps what still runs.
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  // Readable when the child has ended.
  int pidfd() const { return pidfd_.get(); }
  Status Signal(int signal);  // never reaches another process that took the pid
  // Waits until `deadline`; kDeadline if it still runs. Reaps; later calls return the same.
  Result<ExitStatus> Wait(std::chrono::steady_clock::time_point deadline);

 private:
  ChildProcess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  bool is_reaped_ = false;
  ExitStatus status_;
};

}  // namespace corral
