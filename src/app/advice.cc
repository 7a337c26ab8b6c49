#include "app/advice.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
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

bool IsFull(const std::filesystem::path& path) {
  struct statvfs facts {};
  return ::statvfs(path.c_str(), &facts) == 0 && facts.f_bavail == 0;
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
  if (error.code != Code::kAlreadyExists) return {};
  return "Another program has port " + std::to_string(host.port) +
         ": stop it, or set OLLAMA_HOST (or OLLAMA_PORT) to a free one.";
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

}  // namespace corral::app
