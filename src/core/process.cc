#include "core/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

// glibc 2.36 forgot the linkage of this header.
extern "C" {
#include <sys/pidfd.h>
}

namespace corral {
namespace {

constexpr int kFirstPassedFd = 3;

// posix_spawn's two argument objects, set up and freed.
class SpawnPlan {
 public:
  SpawnPlan() {
    Note(posix_spawn_file_actions_init(&actions_));
    Note(posix_spawnattr_init(&attributes_));
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }

  void PlaceFd(int from, int to) { Note(posix_spawn_file_actions_adddup2(&actions_, from, to)); }
  void CloseFrom(int first) { Note(posix_spawn_file_actions_addclosefrom_np(&actions_, first)); }
  void ResetSignalsAndLeadGroup() {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    Note(posix_spawnattr_setsigmask(&attributes_, &none));
    Note(posix_spawnattr_setsigdefault(&attributes_, &all));
    Note(posix_spawnattr_setpgroup(&attributes_, 0));
    Note(posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP));
  }
  // 0, or the errno value of the first step that failed.
  int Spawn(pid_t& pid, const char* program, char* const* arguments, char* const* environment) {
    if (error_ != 0) return error_;
    return posix_spawn(&pid, program, &actions_, &attributes_, arguments, environment);
  }

 private:
  void Note(int error) {
    if (error_ == 0) error_ = error;
  }
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
  int error_ = 0;
};

// posix_spawn wants pointers to writable text and does not write to it.
std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// For poll: -1 without end. Rounded up, so that it is 0 only once the deadline has passed.
int MillisecondsUntil(std::chrono::steady_clock::time_point deadline) {
  using std::chrono::steady_clock;
  if (deadline == steady_clock::time_point::max()) return -1;
  const steady_clock::time_point now = steady_clock::now();
  if (deadline <= now) return 0;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now).count();
  return static_cast<int>(std::min<std::int64_t>(left, std::numeric_limits<int>::max()));
}

}  // namespace

std::string ExitStatus::ToString() const {
  if (signal == 0) return "exit status " + std::to_string(code);
  const char* description = sigdescr_np(signal);  // English in every locale
  if (description == nullptr) return "signal: signal " + std::to_string(signal);
  std::string text = description;
  if (text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return "signal: " + text;
}

Result<ChildProcess> ChildProcess::Spawn(const SpawnOptions& options) {
  const auto fail = [](int errno_value) { return Fail(ErrnoError(errno_value, "start process")); };
  // Copies above all targets, so that placing one descriptor never overwrites another that is still
  // to be placed. They are close-on-exec and also caught by CloseFrom.
  const int n_fds = static_cast<int>(options.fds.size());
  const int first_free = kFirstPassedFd + n_fds;
  std::vector<UniqueFd> copies;
  const auto copy_above = [&copies, first_free](int fd) {
    copies.emplace_back(fcntl(fd, F_DUPFD_CLOEXEC, first_free));
    return copies.back().get();
  };
  SpawnPlan plan;
  for (int i = 0; i < n_fds; ++i) {
    const int copy = copy_above(options.fds[static_cast<std::size_t>(i)]);
    if (copy < 0) return fail(errno);
    plan.PlaceFd(copy, kFirstPassedFd + i);
  }
  if (options.output_fd >= 0) {
    const int copy = copy_above(options.output_fd);
    if (copy < 0) return fail(errno);
    plan.PlaceFd(copy, STDOUT_FILENO);
    plan.PlaceFd(copy, STDERR_FILENO);
  }
  plan.CloseFrom(first_free);
  plan.ResetSignalsAndLeadGroup();

  std::vector<std::string> arguments = {options.program.string()};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  pid_t pid = -1;
  const int error = plan.Spawn(pid, options.program.c_str(), Pointers(arguments).data(),
                               Pointers(options.environment).data());
  if (error != 0) return fail(error);

  // The child can't be gone before this: it stays a zombie until it is reaped.
  UniqueFd pidfd(pidfd_open(pid, 0));
  if (!pidfd.is_valid()) {
    const int pidfd_error = errno;
    kill(pid, SIGKILL);
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return fail(pidfd_error);
  }
  return ChildProcess(pid, std::move(pidfd));
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      is_reaped_(other.is_reaped_),
      status_(other.status_) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  if (this == &other) return *this;
  KillAndReap();
  pid_ = std::exchange(other.pid_, -1);
  pidfd_ = std::move(other.pidfd_);
  is_reaped_ = other.is_reaped_;
  status_ = other.status_;
  return *this;
}

ChildProcess::~ChildProcess() { KillAndReap(); }

void ChildProcess::KillAndReap() {
  if (!pidfd_.is_valid() || is_reaped_) return;
  // Not reaped: the pid, and with it the group's number, still is the child's.
  kill(-pid_, SIGKILL);
  pidfd_send_signal(pidfd_.get(), SIGKILL, nullptr, 0);
  (void)Wait(std::chrono::steady_clock::time_point::max());
}

Status ChildProcess::Signal(int signal) {
  if (is_reaped_) return Fail(Code::kNotFound, "signal process: it has ended");
  if (pidfd_send_signal(pidfd_.get(), signal, nullptr, 0) != 0) {
    if (errno == ESRCH) return Fail(Code::kNotFound, "signal process: it has ended");
    return Fail(ErrnoError(errno, "signal process"));
  }
  return {};
}

Result<ExitStatus> ChildProcess::Wait(std::chrono::steady_clock::time_point deadline) {
  if (is_reaped_) return status_;
  for (;;) {
    pollfd event{pidfd_.get(), POLLIN, 0};
    const int timeout_ms = MillisecondsUntil(deadline);
    const int n_ready = poll(&event, 1, timeout_ms);
    if (n_ready < 0 && errno != EINTR) return Fail(ErrnoError(errno, "wait for process"));
    if (n_ready > 0) break;
    if (n_ready == 0 && MillisecondsUntil(deadline) == 0) {
      return Fail(Code::kDeadline, "the process still runs");
    }
  }
  siginfo_t info{};
  while (waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) != 0) {
    if (errno != EINTR) return Fail(ErrnoError(errno, "wait for process"));
  }
  is_reaped_ = true;
  status_ =
      info.si_code == CLD_EXITED ? ExitStatus{info.si_status, 0} : ExitStatus{0, info.si_status};
  return status_;
}

}  // namespace corral
