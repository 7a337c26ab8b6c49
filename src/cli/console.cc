#include "cli/console.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <thread>
#include <utility>
#include <vector>

#include "core/files.h"

namespace corral::cli {
namespace {

int Descriptor(Stream stream) {
  switch (stream) {
    case Stream::kInput:
      return STDIN_FILENO;
    case Stream::kOutput:
      return STDOUT_FILENO;
    case Stream::kError:
      return STDERR_FILENO;
  }
  return STDERR_FILENO;
}

// All of it, or until the other side is gone: nobody is left to tell.
void WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n > 0) {
      text.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      pollfd ready{fd, POLLOUT, 0};
      poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      return;
    }
  }
}

// SIGINT is blocked in this thread, and so in those that it starts; one thread reads it from a
// descriptor.
class SignalGuard final : public InterruptGuard {
 public:
  explicit SignalGuard(std::function<void()> callback) : callback_(std::move(callback)) {
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_BLOCK, &interrupt, &old_mask_);
    signals_.Reset(signalfd(-1, &interrupt, SFD_CLOEXEC | SFD_NONBLOCK));
    end_.Reset(eventfd(0, EFD_CLOEXEC));
    thread_ = std::jthread([this] { Watch(); });
  }
  ~SignalGuard() override {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = write(end_.get(), &one, sizeof one);
    thread_.join();
    pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
  }
  SignalGuard(const SignalGuard&) = delete;  // the thread holds `this`
  SignalGuard& operator=(const SignalGuard&) = delete;

 private:
  void Watch() {
    for (;;) {
      std::array<pollfd, 2> ready = {pollfd{signals_.get(), POLLIN, 0},
                                     pollfd{end_.get(), POLLIN, 0}};
      if (poll(ready.data(), ready.size(), -1) < 0 && errno != EINTR) return;
      // The signal first: one that came before the end is still heard.
      signalfd_siginfo info;
      while (read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info))
        callback_();
      if ((ready[1].revents & POLLIN) != 0) return;
    }
  }

  std::function<void()> callback_;
  sigset_t old_mask_{};
  UniqueFd signals_;
  UniqueFd end_;
  std::jthread thread_;  // last: uses the members above
};

class RealConsole final : public Console {
 public:
  ~RealConsole() override { static_cast<void>(SetRaw(false)); }

  void Out(std::string_view text) override { WriteAll(STDOUT_FILENO, text); }
  void Err(std::string_view text) override { WriteAll(STDERR_FILENO, text); }
  bool IsTerminal(Stream stream) const override { return isatty(Descriptor(stream)) == 1; }

  std::optional<ScreenSize> Size(Stream stream) const override {
    winsize size{};
    if (ioctl(Descriptor(stream), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return std::nullopt;
    return ScreenSize{size.ws_col, size.ws_row};
  }

  Result<std::string> ReadAll() override {
    std::string all;
    std::array<char, 65536> buffer{};
    for (;;) {
      const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
      if (n == 0) return all;
      if (n > 0) {
        all.append(buffer.data(), static_cast<std::size_t>(n));
      } else if (errno == EBADF) {
        return all;  // started with standard input closed
      } else if (errno != EINTR) {
        return Fail(ErrnoError(errno, "read standard input"));
      }
    }
  }

  Status SetRaw(bool is_raw) override {
    if (is_raw == saved_.has_value()) return {};
    if (!is_raw) {
      tcsetattr(STDIN_FILENO, TCSADRAIN, &*saved_);
      saved_.reset();
      return {};
    }
    termios now{};
    if (tcgetattr(STDIN_FILENO, &now) != 0)
      return Fail(ErrnoError(errno, "read terminal settings"));
    termios raw = now;
    raw.c_iflag &= ~static_cast<tcflag_t>(BRKINT | ICRNL | INLCR | IGNCR | INPCK | ISTRIP | IXON);
    raw.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) != 0)
      return Fail(ErrnoError(errno, "change terminal settings"));
    saved_ = now;
    return {};
  }

  std::optional<std::string> ReadKeys() override {
    std::array<char, 4096> buffer{};
    for (;;) {
      const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
      if (n > 0) return std::string(buffer.data(), static_cast<std::size_t>(n));
      if (n == 0 || errno != EINTR) return std::nullopt;
    }
  }

  void Suspend() override { kill(0, SIGSTOP); }

  Status RunProgram(const std::vector<std::string>& words) override {
    std::vector<std::string> copies = words;
    std::vector<char*> arguments;
    arguments.reserve(copies.size() + 1);
    for (std::string& word : copies) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    // The child hears the signals that a guard blocks here.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    pid_t pid = 0;
    const int error =
        posix_spawnp(&pid, words[0].c_str(), nullptr, &attributes, arguments.data(), environ);
    posix_spawnattr_destroy(&attributes);
    if (error != 0) return Fail(ErrnoError(error, words[0]));
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
      if (errno != EINTR) return Fail(ErrnoError(errno, words[0]));
    }
    if (status != 0) return Fail(Code::kIo, words[0] + " failed");
    return {};
  }

  std::unique_ptr<InterruptGuard> OnInterrupt(std::function<void()> callback) override {
    return std::make_unique<SignalGuard>(std::move(callback));
  }

 private:
  std::optional<termios> saved_;  // while raw
};

}  // namespace

Console& ProcessConsole() {
  static RealConsole console;
  return console;
}

}  // namespace corral::cli
