#include "core/script.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/files.h"
#include "core/log.h"
#include "core/process.h"
#include "core/text.h"

namespace corral {
namespace {

constexpr std::size_t kMostLineBytes = 4096;

// Cuts what is read into lines for the log.
class LineLog {
 public:
  explicit LineLog(std::string script) : script_(std::move(script)) {}
  ~LineLog() {
    if (!line_.empty()) Write();
  }
  LineLog(const LineLog&) = delete;
  LineLog& operator=(const LineLog&) = delete;

  void Add(std::string_view bytes) {
    for (const char byte : bytes) {
      if (byte != '\n') line_ += byte;
      if (byte == '\n' || line_.size() >= kMostLineBytes) Write();
    }
  }

 private:
  void Write() {
    if (!line_.empty() && line_.back() == '\r') line_.pop_back();
    Log(LogLevel::kInfo, line_, {{"script", script_}});
    line_.clear();
  }

  const std::string script_;
  std::string line_;
};

Result<ChildProcess> Start(const ScriptOptions& options, int output_fd) {
  SpawnOptions spawn;
  spawn.environment = options.environment;
  spawn.output_fd = output_fd;
  if (::access(options.file.c_str(), X_OK) == 0) {
    spawn.program = options.file;
    auto child = ChildProcess::Spawn(spawn);
    // Executable, but without a line that names its interpreter (ENOEXEC), or one that is not
    // there: a script for sh.
    if (child) return child;
  }
  spawn.program = "/bin/sh";
  spawn.arguments = {options.file.string()};
  return ChildProcess::Spawn(spawn);
}

}  // namespace

Status RunScript(const ScriptOptions& options, const StopToken& stop) {
  const std::string name = options.file.filename().string();
  std::error_code error;
  const auto kind = std::filesystem::status(options.file, error).type();
  if (kind == std::filesystem::file_type::not_found) return {};
  if (kind == std::filesystem::file_type::directory) {
    return Fail(Code::kInvalidArgument, name +
                                            " is a folder: Docker makes one when the file of a "
                                            "mount is not there; put the script in its place");
  }
  if (error || ::access(options.file.c_str(), R_OK) != 0) {
    return Fail(Code::kForbidden,
                name + " cannot be read: make it readable for the user of the server");
  }

  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return Fail(ErrnoError(errno, "pipe"));
  const UniqueFd output(ends[0]);
  UniqueFd write_end(ends[1]);
  const UniqueFd wake(::eventfd(0, EFD_CLOEXEC));
  if (!wake.is_valid()) return Fail(ErrnoError(errno, "eventfd"));
  const StopCallback on_stop(stop, [&wake] { (void)::eventfd_write(wake.get(), 1); });

  CORRAL_TRY(ChildProcess child, Start(options, write_end.get()));
  write_end.Reset();
  {
    // The end is the script's, not that of its output: what it leaves in the background may hold
    // the pipe for ever.
    LineLog log(name);
    bool has_ended = false;
    pollfd events[3] = {
        {output.get(), POLLIN, 0}, {child.pidfd(), POLLIN, 0}, {wake.get(), POLLIN, 0}};
    while (!has_ended) {
      if (::poll(events, 3, -1) < 0) {
        if (errno == EINTR) continue;
        return Fail(ErrnoError(errno, "poll"));
      }
      if (events[2].revents != 0) {
        // Its group: a shell dies of SIGTERM and leaves behind what it waited for. Not reaped here,
        // so that the destructor can end what is left of the group.
        ::kill(-child.pid(), SIGTERM);
        ::poll(&events[1], 1, static_cast<int>(options.grace.count()));
        return Fail(stop.ToError());
      }
      has_ended = events[1].revents != 0 && events[0].revents == 0;
      if (events[0].revents == 0) continue;
      char bytes[4096];
      const ssize_t n = ::read(output.get(), bytes, sizeof(bytes));
      if (n > 0) log.Add({bytes, static_cast<std::size_t>(n)});
      if (n == 0) events[0].fd = -1;  // closed: poll looks no more
    }
  }
  CORRAL_TRY(const ExitStatus status, child.Wait(kNoDeadline));
  if (status.code == 0 && status.signal == 0) return {};
  return Fail(Code::kInternal, name + " ended with " + status.ToString());
}

}  // namespace corral
