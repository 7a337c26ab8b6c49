#include "app/advice.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <system_error>

#include "core/log.h"

namespace corral::app {
namespace {

std::string Me() { return std::to_string(::geteuid()) + ":" + std::to_string(::getegid()); }

// The first part of the path that exists.
std::filesystem::path Existing(std::filesystem::path path) {
  std::error_code error;
  while (!std::filesystem::exists(path, error) && path.has_relative_path())
    path = path.parent_path();
  return path;
}

// No blocks or no inodes left. A file system without either (/proc) is not full.
bool IsFull(const std::filesystem::path& path) {
  struct statvfs facts {};
  if (::statvfs(path.c_str(), &facts) != 0) return false;
  return (facts.f_blocks > 0 && facts.f_bavail == 0) || (facts.f_files > 0 && facts.f_favail == 0);
}

std::string HowToOwn() {
  return "Give the folder to that user (chown -R " + Me() +
         "), run the server as the folder's owner (docker run --user), or set OLLAMA_MODELS to a "
         "folder that it may write.";
}

}  // namespace

std::string StoreAdvice(const std::string& folder) {
  if (folder.empty()) return "Set HOME, or OLLAMA_MODELS to the folder of the models.";
  const std::filesystem::path existing = Existing(folder);
  std::error_code error;
  if (!std::filesystem::is_directory(existing, error)) {
    return existing.string() + " is not a folder: set OLLAMA_MODELS (or the mount) to one.";
  }
  const std::string where =
      "The models folder is " + folder + ", and this server is user " + Me() + ". ";
  if (::access(existing.c_str(), W_OK) != 0 && errno == EROFS) {
    return where +
           "The file system is read-only and holds no model folder yet: mount it writable, or one "
           "that has been filled.";
  }
  if (IsFull(existing))
    return where + "The disk is full: make room on it, or mount a larger volume.";
  return where + HowToOwn();
}

std::string ListenAdvice(const Error& error, const Host& host) {
  const std::string port = std::to_string(host.port);
  switch (error.code) {
    case Code::kAlreadyExists:
      return "Another program has port " + port +
             ": stop it, or set OLLAMA_HOST (or OLLAMA_PORT) to a free one.";
    case Code::kInvalidArgument:
      return host.host +
             " is no address of this machine: set OLLAMA_HOST to one that is, or to 0.0.0.0 for "
             "all.";
    case Code::kForbidden:
      return "User " + Me() + " may not listen on port " + port +
             ": set OLLAMA_HOST (or OLLAMA_PORT) to one above 1023.";
    default:
      return {};
  }
}

void SayIfKilled(int status) {
  const int signal = status - 128;
  if (signal <= 0) return;
  std::fprintf(stderr, "Error: the server was ended by signal %d (%s)\n", signal,
               ::strsignal(signal));
  if (signal == SIGKILL) {
    std::fputs(
        "If nobody did that, memory ran out: allow the container more (docker run --memory), or "
        "use less (OLLAMA_CONTEXT_LENGTH, OLLAMA_MAX_LOADED_MODELS, CORRAL_PREFIX_CACHE).\n",
        stderr);
  }
}

void WarnIfReadOnly(const std::string& folder) {
  if (::access(folder.c_str(), W_OK) == 0) return;
  const bool is_mount = errno == EROFS;
  Log(LogLevel::kWarn,
      "the models folder cannot be written: its models are served; pull, create, copy and delete "
      "are refused. " +
          (is_mount ? std::string("The file system is read-only.") : HowToOwn()),
      {{"models", folder}, {"user", Me()}});
}

void WarnIfNoWorker(const std::filesystem::path& program) {
  if (::access(program.c_str(), X_OK) == 0) return;
  Log(LogLevel::kWarn,
      "the program that runs models is not there or not executable: none will load. Install "
      "corral-worker, or set CORRAL_WORKER to its path",
      {{"program", program.string()}});
}

}  // namespace corral::app
