#include "core/init_process.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace corral {
namespace {

void LeadForegroundGroup(pid_t pid) {
  ::setpgid(pid, pid);
  // From the background, taking the terminal raises SIGTTOU: all signals are blocked here.
  if (::isatty(STDIN_FILENO) == 1) ::tcsetpgrp(STDIN_FILENO, pid);
}

// Reaps all that have ended; the exit status of `child` if it was among them.
std::optional<int> ReapAll(pid_t child) {
  std::optional<int> ended;
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return ended;
    if (pid == child) ended = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
}

}  // namespace

bool IsInitProcess() { return ::getpid() == 1; }

std::optional<int> SplitOffInit() {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, &before);
  const pid_t child = ::fork();
  if (child <= 0) {
    if (child == 0) LeadForegroundGroup(::getpid());
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    return std::nullopt;
  }
  LeadForegroundGroup(child);  // in both: whoever comes first
  for (;;) {
    const int signal = ::sigwaitinfo(&all, nullptr);
    if (signal == SIGCHLD) {
      if (const std::optional<int> status = ReapAll(child)) return status;
    } else if (signal > 0) {
      ::kill(child, signal);
    }
  }
}

}  // namespace corral
