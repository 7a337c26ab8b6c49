#include "worker/spawn.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

extern char** environ;

namespace corral::worker {
namespace {

// What a worker has no use for and must not hold.
bool IsSecret(std::string_view variable) {
  const std::string_view name = variable.substr(0, variable.find('='));
  for (const std::string_view word : {"KEY", "TOKEN", "SECRET", "PASS", "CREDENTIAL", "AUTH"}) {
    if (name.find(word) != std::string_view::npos) return true;
  }
  return name == "GGML_BACKEND_PATH";  // llama.cpp would load any library from there
}

std::vector<std::string> WorkerEnvironment() {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!IsSecret(*variable)) variables.emplace_back(*variable);
  }
  return variables;
}

}  // namespace

Result<Spawned> SpawnWorker(const std::filesystem::path& program, std::span<const int> files) {
  int pair[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    return Fail(ErrnoError(errno, "socketpair"));
  UniqueFd socket(pair[0]);
  const UniqueFd child_socket(pair[1]);
  SpawnOptions spawn;
  spawn.program = program;
  spawn.environment = WorkerEnvironment();
  spawn.fds.push_back(child_socket.get());
  spawn.fds.insert(spawn.fds.end(), files.begin(), files.end());
  CORRAL_TRY(ChildProcess child, ChildProcess::Spawn(spawn));
  return Spawned{std::move(child), std::move(socket)};
}

Result<UniqueFd> OpenForReading(const std::filesystem::path& file) {
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_valid()) return Fail(ErrnoError(errno, "open " + file.filename().string()));
  return fd;
}

}  // namespace corral::worker
