#include "core/files.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "core/internal/file_steps.h"
#include "core/text.h"

namespace corral {
namespace {

using internal::FileSteps;
using Path = std::filesystem::path;

tl::unexpected<Error> FailErrno(std::string_view doing) { return Fail(ErrnoError(errno, doing)); }

// The folder that holds the name `file`.
Path FolderOf(const Path& file) {
  const Path folder = file.parent_path();
  return folder.empty() ? Path(".") : folder;
}

class OsFileSteps final : public FileSteps {
 public:
  Result<UniqueFd> CreateFile(const Path& file) override {
    UniqueFd fd(open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!fd.is_valid()) return FailErrno("create file");
    return fd;
  }
  Status Write(int fd, std::string_view bytes) override { return WriteAll(fd, bytes); }
  Status SyncFile(int fd) override {
    if (fsync(fd) != 0) return FailErrno("sync file");
    return {};
  }
  Status RenameFile(const Path& from, const Path& to) override {
    if (rename(from.c_str(), to.c_str()) != 0) return FailErrno("rename file");
    return {};
  }
  Status RemoveFile(const Path& file) override {
    if (unlink(file.c_str()) != 0) return FailErrno("remove file");
    return {};
  }
  Status MakeFolder(const Path& folder) override {
    if (mkdir(folder.c_str(), 0755) != 0) return FailErrno("create folder");
    return {};
  }
  Status SyncFolder(const Path& folder) override {
    const UniqueFd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.is_valid()) return FailErrno("open folder");
    // Some network file systems have no fsync for folders: there the server is responsible.
    if (fsync(fd.get()) != 0 && errno != EINVAL && errno != ENOTSUP)
      return FailErrno("sync folder");
    return {};
  }
  Status TouchFile(const Path& file) override {
    if (utimensat(AT_FDCWD, file.c_str(), nullptr, 0) != 0) return FailErrno("touch file");
    return {};
  }
};

class StepsPendingFile final : public PendingFile {
 public:
  StepsPendingFile(FileSteps& steps, Path path, UniqueFd fd)
      : steps_(steps), path_(std::move(path)), fd_(std::move(fd)) {}
  StepsPendingFile(const StepsPendingFile&) = delete;
  StepsPendingFile& operator=(const StepsPendingFile&) = delete;
  ~StepsPendingFile() override {
    if (!is_renamed_) (void)steps_.RemoveFile(path_);  // nobody is left who could act on an error
  }

  Status Append(std::string_view bytes) override {
    if (!fd_.is_valid()) return Fail(Code::kInternal, "append to a file that is closed");
    return steps_.Write(fd_.get(), bytes);
  }

  Status Commit(const Path& final_path) override {
    if (!fd_.is_valid()) return Fail(Code::kInternal, "commit a file that is closed");
    CORRAL_TRY_STATUS(steps_.SyncFile(fd_.get()));
    fd_.Reset();
    CORRAL_TRY_STATUS(steps_.RenameFile(path_, final_path));
    is_renamed_ = true;
    return steps_.SyncFolder(FolderOf(final_path));
  }

  const Path& temporary_path() const override { return path_; }

 private:
  FileSteps& steps_;
  const Path path_;
  UniqueFd fd_;
  bool is_renamed_ = false;
};

class StepsFileSystem final : public FileSystem {
 public:
  explicit StepsFileSystem(FileSteps& steps) : steps_(steps) {}

  Status MakeFolders(const Path& folder) override {
    Path made;
    for (const Path& part : folder) {
      made /= part;
      struct stat info {};
      if (part.empty() || (stat(made.c_str(), &info) == 0 && S_ISDIR(info.st_mode))) continue;
      if (const Status status = steps_.MakeFolder(made); !status) {
        // Another process may have been faster.
        const bool is_there = status.error().code == Code::kAlreadyExists &&
                              stat(made.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
        if (!is_there) return status;
        continue;
      }
      CORRAL_TRY_STATUS(steps_.SyncFolder(FolderOf(made)));
    }
    return {};
  }

  Result<std::unique_ptr<PendingFile>> Create(const Path& folder,
                                              std::string_view prefix) override {
    std::array<char, 8> random{};
    if (getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
      return FailErrno("create file");
    }
    Path path = folder / (std::string(prefix) + HexEncode({random.data(), random.size()}));
    CORRAL_TRY(UniqueFd fd, steps_.CreateFile(path));
    return std::make_unique<StepsPendingFile>(steps_, std::move(path), std::move(fd));
  }

  Status Remove(const Path& file) override {
    CORRAL_TRY_STATUS(steps_.RemoveFile(file));
    return steps_.SyncFolder(FolderOf(file));
  }

  Status Rename(const Path& from, const Path& to) override {
    CORRAL_TRY_STATUS(steps_.RenameFile(from, to));
    // First where the name is now: after a crash in between there are two names and not none.
    CORRAL_TRY_STATUS(steps_.SyncFolder(FolderOf(to)));
    if (FolderOf(from) == FolderOf(to)) return {};
    return steps_.SyncFolder(FolderOf(from));
  }

  Status Touch(const Path& file) override { return steps_.TouchFile(file); }

  Result<std::string> Read(const Path& file, std::uint64_t max_bytes) override {
    // O_NONBLOCK: opening a pipe must not wait for a writer.
    const UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd.is_valid()) return FailErrno("open file");
    struct stat info {};
    if (fstat(fd.get(), &info) != 0) return FailErrno("read file");
    if (!S_ISREG(info.st_mode)) return Fail(Code::kIo, "read file: not a regular file");
    const auto too_large = [max_bytes] {
      return Fail(Code::kTooLarge, "file is larger than " + std::to_string(max_bytes) + " bytes");
    };
    const auto size = static_cast<std::uint64_t>(info.st_size);
    if (size > max_bytes) return too_large();
    std::string bytes;
    bytes.reserve(size);
    std::array<char, 65'536> buffer;
    for (;;) {
      const ssize_t n = read(fd.get(), buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return FailErrno("read file");
      if (n == 0) return bytes;
      bytes.append(buffer.data(), static_cast<std::size_t>(n));
      if (bytes.size() > max_bytes) return too_large();  // it has grown meanwhile
    }
  }

 private:
  FileSteps& steps_;
};

}  // namespace

Status WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno("write file");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

void UniqueFd::Reset(int fd) {
  // Not tried again after EINTR: on Linux the descriptor is gone in any case.
  if (fd_ >= 0 && fd_ != fd) close(fd_);
  fd_ = fd;
}

Status FileSystem::WriteAtomically(const Path& file, std::string_view bytes) {
  CORRAL_TRY(const std::unique_ptr<PendingFile> pending,
             Create(FolderOf(file), "." + file.filename().string() + ".tmp-"));
  CORRAL_TRY_STATUS(pending->Append(bytes));
  return pending->Commit(file);
}

FileSystem& RealFileSystem() {
  static const std::unique_ptr<FileSystem> kFileSystem =
      internal::MakeFileSystem(internal::RealFileSteps());
  return *kFileSystem;
}

namespace internal {

FileSteps& RealFileSteps() {
  static OsFileSteps steps;
  return steps;
}

std::unique_ptr<FileSystem> MakeFileSystem(FileSteps& steps) {
  return std::make_unique<StepsFileSystem>(steps);
}

}  // namespace internal
}  // namespace corral
