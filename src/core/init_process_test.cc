#include "core/init_process.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

#include "core/files.h"

namespace corral {
namespace {

// A process that orphans come to, as they come to pid 1, runs SplitOffInit; its child runs
// `program`.
class Container {
 public:
  explicit Container(const std::function<int(int ready)>& program) {
    int ends[2] = {-1, -1};
    if (::pipe(ends) != 0) return;
    ready_.Reset(ends[0]);
    UniqueFd write_end(ends[1]);
    pid_ = ::fork();
    if (pid_ != 0) return;
    ready_.Reset();
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (const std::optional<int> status = SplitOffInit()) ::_exit(*status);
    ::_exit(program(write_end.get()));
  }
  // What the program wrote; it has reached that point.
  char Ready() const {
    char byte = 0;
    return ::read(ready_.get(), &byte, 1) == 1 ? byte : '\0';
  }
  void Send(int signal) const { ::kill(pid_, signal); }
  int ExitCode() const {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
  UniqueFd ready_;
};

int WaitFor(int signal, int ready) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, signal);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  if (::write(ready, "r", 1) != 1) return 1;
  int got = 0;
  return ::sigwait(&signals, &got) == 0 && got == signal ? 42 : 1;
}

TEST(InitProcess, GivesTheExitStatusOfTheProgram) {
  const Container container([](int) { return 7; });
  EXPECT_EQ(container.ExitCode(), 7);
}

TEST(InitProcess, AKilledProgramIs128AndItsSignal) {
  const Container container([](int) { return ::kill(::getpid(), SIGKILL); });
  EXPECT_EQ(container.ExitCode(), 128 + SIGKILL);
}

TEST(InitProcess, SignalsReachTheProgram) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1}) {
    const Container container([signal](int ready) { return WaitFor(signal, ready); });
    ASSERT_EQ(container.Ready(), 'r');
    container.Send(signal);
    EXPECT_EQ(container.ExitCode(), 42) << signal;
  }
}

TEST(InitProcess, OrphansAreReaped) {
  const Container container([](int ready) {
    const pid_t init = ::getppid();
    int ends[2] = {-1, -1};
    if (::pipe(ends) != 0) return 1;
    const pid_t middle = ::fork();
    if (middle == 0) {
      const pid_t orphan = ::fork();
      if (orphan == 0) {
        ::close(ends[1]);
        while (::getppid() != init) ::sched_yield();
        ::_exit(0);
      }
      (void)!::write(ends[1], &orphan, sizeof(orphan));
      ::_exit(0);
    }
    ::waitpid(middle, nullptr, 0);
    pid_t orphan = -1;
    if (::read(ends[0], &orphan, sizeof(orphan)) != sizeof(orphan)) return 1;
    while (::kill(orphan, 0) == 0) ::sched_yield();  // a zombie still answers
    return ::write(ready, "r", 1) == 1 ? 0 : 1;
  });
  EXPECT_EQ(container.Ready(), 'r');
  EXPECT_EQ(container.ExitCode(), 0);
}

TEST(InitProcess, TheProgramLeadsAGroupOfItsOwn) {
  const Container container([](int) { return ::getpgrp() == ::getpid() ? 3 : 1; });
  EXPECT_EQ(container.ExitCode(), 3);
}

}  // namespace
}  // namespace corral
