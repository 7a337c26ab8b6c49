// The single steps that change files, below FileSystem. One implementation asks the operating
// system, the other (for tests) fails, fills up or loses. The order of the steps, which is what
// makes files safe, lives in files.cc and is the same for both.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

#include "core/files.h"

namespace corral::internal {

// Thread-safe.
class FileSteps {
 public:
  using Path = std::filesystem::path;
  virtual ~FileSteps() = default;
  // A new file, open for writing; kAlreadyExists if there is one.
  virtual Result<UniqueFd> CreateFile(const Path& file) = 0;
  virtual Status Write(int fd, std::string_view bytes) = 0;
  virtual Status SyncFile(int fd) = 0;
  virtual Status RenameFile(const Path& from, const Path& to) = 0;
  virtual Status RemoveFile(const Path& file) = 0;
  virtual Status MakeFolder(const Path& folder) = 0;  // kAlreadyExists if there is one
  virtual Status SyncFolder(const Path& folder) = 0;
  virtual Status TouchFile(const Path& file) = 0;
};

FileSteps& RealFileSteps();

// The FileSystem over `steps`, which outlives it and its files.
std::unique_ptr<FileSystem> MakeFileSystem(FileSteps& steps);

}  // namespace corral::internal
