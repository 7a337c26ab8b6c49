// The file seam: everything that writes users' files goes through a FileSystem, so that tests can
// fail the n-th write, fill the disk or lose what was not synced (core/faulty_files.h).
//
// Thread-safe and blocking (disk). Errors: kNotFound, kForbidden, kAlreadyExists, kIo with the
// operating system's text and what was being done, without paths; a caller that may name the file
// adds it with Error::Within.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "core/result.h"

namespace corral {

// A new file on its way to its name. Destroyed without Commit: the temporary file is removed. One
// thread at a time.
class PendingFile {
 public:
  virtual ~PendingFile() = default;
  virtual Status Append(std::string_view bytes) = 0;
  // fsync, rename to `final_path`, fsync its folder, which must exist on the same file system.
  // Replaces what is there. After an error the old file is still there, whole, or (when only the
  // last step failed) the new one is.
  virtual Status Commit(const std::filesystem::path& final_path) = 0;
  virtual const std::filesystem::path& temporary_path() const = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  // Makes `folder` and its parents (0755, less the umask). Those that exist stay as they are.
  virtual Status MakeFolders(const std::filesystem::path& folder) = 0;
  // A new temporary file in `folder` whose name begins with `prefix` and goes on with 16 hex
  // digits; mode 0644 (less the umask).
  virtual Result<std::unique_ptr<PendingFile>> Create(const std::filesystem::path& folder,
                                                      std::string_view prefix) = 0;
  // Create + Append + Commit.
  Status WriteAtomically(const std::filesystem::path& file, std::string_view bytes);
  virtual Status Remove(
      const std::filesystem::path& file) = 0;  // kNotFound if absent; fsyncs the folder
  // Replaces `to`; fsyncs both folders.
  virtual Status Rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  virtual Status Touch(const std::filesystem::path& file) = 0;  // mtime = now
  // At most `max_bytes`, else kTooLarge. Follows links; kIo for what is no plain file.
  virtual Result<std::string> Read(const std::filesystem::path& file, std::uint64_t max_bytes) = 0;
};

FileSystem& RealFileSystem();

// Owns a descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }
  ~UniqueFd() { Reset(); }
  int get() const { return fd_; }
  bool is_valid() const { return fd_ >= 0; }
  int Release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

// write(2) until all is written; EINTR is tried again. Errors as above.
Status WriteAll(int fd, std::string_view bytes);

}  // namespace corral
