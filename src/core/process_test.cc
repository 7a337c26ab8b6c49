#include "core/process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace corral {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;

struct Pipe {
  UniqueFd read_end, write_end;
};

Pipe MakePipe() {
  std::array<int, 2> fds{};
  CORRAL_CHECK(pipe2(fds.data(), O_CLOEXEC) == 0, "pipe");
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// All that comes until every writer has gone.
std::string ReadToEnd(int fd) {
  std::string text;
  std::array<char, 4096> buffer{};
  for (;;) {
    const ssize_t n = read(fd, buffer.data(), buffer.size());
    if (n <= 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

SpawnOptions Shell(std::string script) {
  SpawnOptions options;
  options.program = "/bin/sh";
  options.arguments = {"-c", std::move(script)};
  options.environment = {"PATH=/usr/bin:/bin"};
  return options;
}

Result<ExitStatus> RunToEnd(const SpawnOptions& options) {
  CORRAL_TRY(ChildProcess child, ChildProcess::Spawn(options));
  return child.Wait(TimePoint::max());
}

// What `script` prints on its standard output and standard error.
std::string OutputOf(SpawnOptions options) {
  Pipe pipe = MakePipe();
  options.output_fd = pipe.write_end.get();
  auto child = ChildProcess::Spawn(options);
  EXPECT_TRUE(child);
  pipe.write_end.Reset();
  return ReadToEnd(pipe.read_end.get());
}

TEST(ChildProcess, GivesTheExitCode) {
  const auto status = RunToEnd(Shell("exit 7"));
  ASSERT_TRUE(status);
  EXPECT_EQ(status->code, 7);
  EXPECT_EQ(status->signal, 0);
  EXPECT_EQ(status->ToString(), "exit status 7");
}

TEST(ChildProcess, GivesTheSignalThatEndedIt) {
  const auto status = RunToEnd(Shell("kill -9 $$"));
  ASSERT_TRUE(status);
  EXPECT_EQ(status->signal, SIGKILL);
  EXPECT_EQ(status->ToString(), "signal: killed");
  EXPECT_EQ((ExitStatus{0, SIGSEGV}.ToString()), "signal: segmentation fault");
  EXPECT_EQ((ExitStatus{0, SIGABRT}.ToString()), "signal: aborted");
}

TEST(ChildProcess, AProgramThatIsNotThereIsAnError) {
  SpawnOptions options;
  options.program = "/nonexistent/program";
  EXPECT_EQ(ChildProcess::Spawn(options).error().code, Code::kNotFound);
  options.program = "/etc";
  EXPECT_EQ(ChildProcess::Spawn(options).error().code, Code::kForbidden);
}

TEST(ChildProcess, HasOnlyTheEnvironmentThatItIsGiven) {
  SpawnOptions options;
  options.program = "/usr/bin/env";
  options.environment = {"A=1", "B=two words"};
  EXPECT_EQ(OutputOf(options), "A=1\nB=two words\n");
}

TEST(ChildProcess, GetsItsDescriptorsFromThreeOn) {
  Pipe first = MakePipe();
  Pipe second = MakePipe();
  SpawnOptions options = Shell("echo first >&3; echo second >&4");
  options.fds = {first.write_end.get(), second.write_end.get()};
  ASSERT_EQ(RunToEnd(options)->code, 0);
  first.write_end.Reset();
  second.write_end.Reset();
  EXPECT_EQ(ReadToEnd(first.read_end.get()), "first\n");
  EXPECT_EQ(ReadToEnd(second.read_end.get()), "second\n");
}

// A pipe whose descriptors are far from those that a child gets.
Pipe MakeHighPipe() {
  const Pipe low = MakePipe();
  return {UniqueFd(fcntl(low.read_end.get(), F_DUPFD_CLOEXEC, 100)),
          UniqueFd(fcntl(low.write_end.get(), F_DUPFD_CLOEXEC, 100))};
}

// Puts `from` at the number `at` while it lives, and what was there back afterwards.
class ScopedFdAt {
 public:
  ScopedFdAt(int from, int at) : at_(at), saved_(fcntl(at, F_DUPFD_CLOEXEC, 100)) {
    CORRAL_CHECK(dup3(from, at, O_CLOEXEC) == at, "dup3");
  }
  ScopedFdAt(const ScopedFdAt&) = delete;
  ScopedFdAt& operator=(const ScopedFdAt&) = delete;
  ~ScopedFdAt() {
    if (saved_.is_valid()) {
      dup3(saved_.get(), at_, O_CLOEXEC);
    } else {
      close(at_);
    }
  }

 private:
  const int at_;
  const UniqueFd saved_;
};

// Our own descriptors have the very numbers that the child's are to have, the other way round.
TEST(ChildProcess, PlacesDescriptorsThatAreInEachOthersWay) {
  Pipe first = MakeHighPipe();
  Pipe second = MakeHighPipe();
  {
    const ScopedFdAt at_4(first.write_end.get(), 4);
    const ScopedFdAt at_3(second.write_end.get(), 3);
    SpawnOptions options = Shell("echo first >&3; echo second >&4");
    options.fds = {4, 3};
    const auto status = RunToEnd(options);
    ASSERT_TRUE(status);
    EXPECT_EQ(status->code, 0);
  }
  first.write_end.Reset();
  second.write_end.Reset();
  EXPECT_EQ(ReadToEnd(first.read_end.get()), "first\n");
  EXPECT_EQ(ReadToEnd(second.read_end.get()), "second\n");
}

TEST(ChildProcess, InheritsNothingElseOfOurs) {
  const UniqueFd leaky(open("/dev/null", O_RDONLY));  // without O_CLOEXEC
  ASSERT_TRUE(leaky.is_valid());
  Pipe pipe = MakePipe();
  SpawnOptions options;
  options.program = "/bin/ls";
  options.arguments = {"/proc/self/fd"};
  options.fds = {pipe.write_end.get()};
  // 0, 1, 2, the one passed, and the one that ls reads the folder with.
  EXPECT_EQ(OutputOf(options), "0\n1\n2\n3\n4\n");
}

TEST(ChildProcess, StartsWithCleanSignals) {
  sigset_t blocked, old;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &blocked, &old), 0);
  struct sigaction ignore {
  }, old_pipe{};
  ignore.sa_handler = SIG_IGN;
  ASSERT_EQ(sigaction(SIGPIPE, &ignore, &old_pipe), 0);
  SpawnOptions options;
  options.program = "/bin/grep";
  options.arguments = {"-E", "^Sig(Blk|Ign)", "/proc/self/status"};
  const std::string output = OutputOf(options);
  sigaction(SIGPIPE, &old_pipe, nullptr);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  ASSERT_EQ(output.size(),
            std::string_view("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n").size());
  const std::uint64_t mask_blocked = std::stoull(output.substr(8, 16), nullptr, 16);
  const std::uint64_t mask_ignored = std::stoull(output.substr(33, 16), nullptr, 16);
  // 32 and 33 are glibc's own: they can't be changed, and whoever started this test may have left
  // them ignored.
  constexpr std::uint64_t kOwnOfGlibc = std::uint64_t{3} << 31U;
  EXPECT_EQ(mask_blocked & ~kOwnOfGlibc, 0U) << output;
  EXPECT_EQ(mask_ignored & ~kOwnOfGlibc, 0U) << output;
}

TEST(ChildProcess, LeadsItsOwnGroup) {
  auto child = ChildProcess::Spawn(Shell("exec sleep 100"));
  ASSERT_TRUE(child);
  EXPECT_EQ(getpgid(child->pid()), child->pid());
}

TEST(ChildProcess, WaitGivesUpAtTheDeadlineAndGoesOnLater) {
  auto child = ChildProcess::Spawn(Shell("exec sleep 100"));
  ASSERT_TRUE(child);
  EXPECT_EQ(child->Wait(TimePoint::min()).error().code, Code::kDeadline);
  EXPECT_EQ(
      child->Wait(std::chrono::steady_clock::now() + std::chrono::milliseconds(1)).error().code,
      Code::kDeadline);
  ASSERT_TRUE(child->Signal(SIGTERM));
  for (int i = 0; i < 2; ++i) {  // the second time from memory
    const auto status = child->Wait(TimePoint::max());
    ASSERT_TRUE(status);
    EXPECT_EQ(status->signal, SIGTERM);
  }
  EXPECT_EQ(child->Signal(SIGTERM).error().code, Code::kNotFound);
}

TEST(ChildProcess, ThePidfdTellsOfTheEnd) {
  auto child = ChildProcess::Spawn(Shell("exit 0"));
  ASSERT_TRUE(child);
  pollfd event{child->pidfd(), POLLIN, 0};
  EXPECT_EQ(poll(&event, 1, 60'000), 1);
  EXPECT_TRUE(child->Wait(TimePoint::min()));
}

// True once nobody holds the other end: the process, and what it started, is gone.
void ExpectGone(const Pipe& pipe) { EXPECT_EQ(ReadToEnd(pipe.read_end.get()), ""); }

TEST(ChildProcess, TheDestructorKillsAndReapsTheWholeGroup) {
  Pipe pipe = MakePipe();
  SpawnOptions options = Shell("sleep 100 & wait");
  options.fds = {pipe.write_end.get()};
  pid_t pid = 0;
  {
    auto child = ChildProcess::Spawn(options);
    ASSERT_TRUE(child);
    pid = child->pid();
    pipe.write_end.Reset();
  }
  ExpectGone(pipe);
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(ChildProcess, MovingOverARunningOneEndsIt) {
  Pipe pipe = MakePipe();
  SpawnOptions options = Shell("exec sleep 100");
  options.fds = {pipe.write_end.get()};
  auto first = ChildProcess::Spawn(options);
  ASSERT_TRUE(first);
  pipe.write_end.Reset();
  auto second = ChildProcess::Spawn(Shell("exit 3"));
  ASSERT_TRUE(second);
  *first = std::move(*second);
  ExpectGone(pipe);
  EXPECT_EQ(first->Wait(TimePoint::max())->code, 3);
}

// No descriptor of one leaks into another that starts at the same time: else the reads below would
// hang.
TEST(ChildProcess, ManyThreadsStartSome) {
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(OutputOf(Shell("echo " + std::to_string(t))), std::to_string(t) + "\n");
      }
    });
  }
}

}  // namespace
}  // namespace corral
