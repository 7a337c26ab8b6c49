// Child processes: posix_spawn and a pidfd. No fork in a threaded server.
//
// A child gets its standard descriptors and `fds` (as 3, 4, ...), nothing else of ours; no signal
// is blocked or ignored in it; it leads an own process group, so that Ctrl+C at a terminal reaches
// the server only. A child that must not outlive this process watches a socket pair
// (worker/protocol.h): there is no parent-death signal, which would follow the spawning thread.
//
// One thread at a time per object; different objects are independent. Nobody else may reap: no
// SIGCHLD handler, no wait(-1).
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
  std::filesystem::path program;         // a path; PATH is not searched
  std::vector<std::string> arguments;    // without argv[0]
  std::vector<std::string> environment;  // "NAME=value"; the child's whole environment
  std::vector<int> fds;                  // become 3, 4, ... in the child; stay open here
  int output_fd = -1;                    // stdout and stderr; -1: inherit
};

struct ExitStatus {
  int code = 0;                  // exit code, or
  int signal = 0;                // the signal that ended it; 0: none
  std::string ToString() const;  // "exit status 1", "signal: killed", as Go's os.ProcessState
};

class ChildProcess {
 public:
  // Errors: kNotFound (no such program), kForbidden, kIo.
  static Result<ChildProcess> Spawn(const SpawnOptions& options);
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;  // kills and reaps what it held
  // Kills (SIGKILL, the child's whole process group) and reaps what still runs.
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  // Readable when the child has ended.
  int pidfd() const { return pidfd_.get(); }
  // Never reaches another process that took the pid. Errors: kNotFound (it has ended), kIo.
  Status Signal(int signal);
  // Waits until `deadline` (time_point::max(): without end); kDeadline if it still runs. Reaps;
  // later calls return the same.
  Result<ExitStatus> Wait(std::chrono::steady_clock::time_point deadline);

 private:
  ChildProcess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  void KillAndReap();

  pid_t pid_ = -1;
  UniqueFd pidfd_;
  bool is_reaped_ = false;
  ExitStatus status_;
};

}  // namespace corral
