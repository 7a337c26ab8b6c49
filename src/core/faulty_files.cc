#include "core/faulty_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <system_error>
#include <vector>

#include "core/internal/file_steps.h"
#include "core/mutex.h"

namespace corral {
namespace {

using internal::FileSteps;
using internal::RealFileSteps;
using Path = std::filesystem::path;
namespace fs = std::filesystem;

constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

// The inode behind a descriptor: a name may change, and a descriptor may be closed, before the
// power fails.
using FileId = ino_t;

std::optional<FileId> IdOf(int fd) {
  struct stat info {};
  if (fstat(fd, &info) != 0) return std::nullopt;
  return info.st_ino;
}

Path FolderOf(const Path& file) {
  return file.parent_path().empty() ? Path(".") : file.parent_path();
}

}  // namespace

class FaultyFileSystem::FaultySteps final : public FileSteps {
 public:
  Result<UniqueFd> CreateFile(const Path& file) override {
    const MutexLock lock(mutex_);
    CORRAL_TRY_STATUS(Step("create file"));
    CORRAL_TRY(UniqueFd fd, RealFileSteps().CreateFile(file));
    if (const auto id = IdOf(fd.get())) files_[*id] = {file, 0, 0};
    ForUndo({Undo::Kind::kCreate, {FolderOf(file)}, file, {}, {}});
    return fd;
  }

  Status Write(int fd, std::string_view bytes) override {
    const MutexLock lock(mutex_);
    CORRAL_TRY_STATUS(Step("write file"));
    const std::string_view fitting =
        bytes.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(space_, bytes.size())));
    if (space_ != kNoLimit) space_ -= fitting.size();
    CORRAL_TRY_STATUS(RealFileSteps().Write(fd, fitting));
    if (File* file = FindFile(fd)) file->size += fitting.size();
    if (fitting.size() != bytes.size()) return Fail(ErrnoError(ENOSPC, "write file"));
    return {};
  }

  Status SyncFile(int fd) override {
    const MutexLock lock(mutex_);
    CORRAL_TRY_STATUS(Step("sync file"));
    if (File* file = FindFile(fd)) file->synced_size = file->size;
    return {};
  }

  Status RenameFile(const Path& from, const Path& to) override {
    const MutexLock lock(mutex_);
    CORRAL_TRY_STATUS(Step("rename file"));
    const std::optional<Path> replaced = KeepCopy(to);
    CORRAL_TRY_STATUS(RealFileSteps().RenameFile(from, to));
    MovePaths(from, to);
    ForUndo({Undo::Kind::kRename, {FolderOf(from), FolderOf(to)}, from, to, replaced});
    return {};
  }

  Status RemoveFile(const Path& file) override {
    const MutexLock lock(mutex_);
    CORRAL_TRY_STATUS(Step("remove file"));
    const std::optional<Path> removed = KeepCopy(file);
    CORRAL_TRY_STATUS(RealFileSteps().RemoveFile(file));
    ForUndo({Undo::Kind::kRemove, {FolderOf(file)}, file, {}, removed});
    return {};
  }

  Status MakeFolder(const Path& folder) override {
    const MutexLock lock(mutex_);
    CORRAL_TRY_STATUS(Step("create folder"));
    CORRAL_TRY_STATUS(RealFileSteps().MakeFolder(folder));
    ForUndo({Undo::Kind::kMakeFolder, {FolderOf(folder)}, folder, {}, {}});
    return {};
  }

  Status SyncFolder(const Path& folder) override {
    const MutexLock lock(mutex_);
    CORRAL_TRY_STATUS(Step("sync folder"));
    std::erase_if(undos_, [&folder](Undo& undo) {
      std::erase(undo.unsynced_folders, folder);
      return undo.unsynced_folders.empty();
    });
    return {};
  }

  Status TouchFile(const Path& file) override {
    const MutexLock lock(mutex_);
    CORRAL_TRY_STATUS(Step("touch file"));
    return RealFileSteps().TouchFile(file);
  }

  Status CheckIsUp() const {
    const MutexLock lock(mutex_);
    if (is_down_) return Down();
    return {};
  }

  void FailAtStep(int n, int errno_value) {
    const MutexLock lock(mutex_);
    fail_at_ = n == 0 ? 0 : n_steps_ + n;
    errno_value_ = errno_value;
  }
  void LimitSpace(std::uint64_t bytes) {
    const MutexLock lock(mutex_);
    space_ = bytes;
  }
  void CrashAtStep(int n, Loss loss) {
    const MutexLock lock(mutex_);
    crash_at_ = n == 0 ? 0 : n_steps_ + n;
    loss_ = loss;
  }
  void Crash(Loss loss) {
    const MutexLock lock(mutex_);
    Lose(loss);
  }
  bool IsDown() const {
    const MutexLock lock(mutex_);
    return is_down_;
  }
  void Restart() {
    const MutexLock lock(mutex_);
    is_down_ = false;
    fail_at_ = crash_at_ = 0;
  }
  int StepCount() const {
    const MutexLock lock(mutex_);
    return n_steps_;
  }
  ~FaultySteps() override {
    const MutexLock lock(mutex_);
    ForgetUndos();
  }

 private:
  struct File {
    Path path;
    std::uint64_t size = 0;
    std::uint64_t synced_size = 0;
  };
  // A change of names that a power cut may take back, as long as one of its folders is not synced.
  struct Undo {
    enum class Kind { kCreate, kRename, kRemove, kMakeFolder };
    Kind kind = Kind::kCreate;
    std::vector<Path> unsynced_folders;
    Path name;
    Path new_name;             // kRename
    std::optional<Path> copy;  // of what was replaced (kRename) or removed
  };

  static tl::unexpected<Error> Down() { return Fail(Code::kIo, "the machine is down (injected)"); }

  Status Step(std::string_view doing) CORRAL_REQUIRES(mutex_) {
    if (is_down_) return Down();
    ++n_steps_;
    if (n_steps_ == crash_at_) {
      Lose(loss_);
      return Down();
    }
    if (n_steps_ == fail_at_) return Fail(ErrnoError(errno_value_, doing));
    return {};
  }

  File* FindFile(int fd) CORRAL_REQUIRES(mutex_) {
    const auto id = IdOf(fd);
    const auto found = id ? files_.find(*id) : files_.end();
    return found == files_.end() ? nullptr : &found->second;
  }

  void ForUndo(Undo undo) CORRAL_REQUIRES(mutex_) {
    std::vector<Path>& folders = undo.unsynced_folders;
    if (folders.size() == 2 && folders[0] == folders[1]) folders.pop_back();
    undos_.push_back(std::move(undo));
  }

  void RunUndo(const Undo& undo) CORRAL_REQUIRES(mutex_) {
    std::error_code ignored;  // a test may have removed a file by other means
    switch (undo.kind) {
      case Undo::Kind::kCreate:
        fs::remove(undo.name, ignored);
        return;
      case Undo::Kind::kMakeFolder:
        fs::remove_all(undo.name, ignored);
        return;
      case Undo::Kind::kRename:
        fs::rename(undo.new_name, undo.name, ignored);
        MovePaths(undo.new_name, undo.name);
        if (undo.copy) fs::rename(*undo.copy, undo.new_name, ignored);
        return;
      case Undo::Kind::kRemove:
        if (undo.copy) fs::rename(*undo.copy, undo.name, ignored);
        return;
    }
  }

  void MovePaths(const Path& from, const Path& to) CORRAL_REQUIRES(mutex_) {
    for (auto& [id, file] : files_) {
      if (file.path == from) file.path = to;
    }
  }

  // A hard link to what `file` is now, outside of the folders under test; nullopt if there is
  // nothing.
  std::optional<Path> KeepCopy(const Path& file) CORRAL_REQUIRES(mutex_) {
    std::error_code error;
    if (!fs::is_regular_file(fs::symlink_status(file, error))) return std::nullopt;
    if (!attic_) {
      // Beside the temporary folder itself: a link needs the same file system.
      std::string name = (fs::temp_directory_path() / "corral-faulty-XXXXXX").string();
      if (mkdtemp(name.data()) == nullptr) return std::nullopt;
      attic_ = name;
    }
    Path copy = *attic_ / std::to_string(++n_copies_);
    fs::create_hard_link(file, copy, error);
    if (error) fs::copy_file(file, copy, error);
    if (error) return std::nullopt;
    return copy;
  }

  void Lose(Loss loss) CORRAL_REQUIRES(mutex_) {
    std::error_code ignored;
    if (loss == Loss::kBytesAndNames) {
      for (auto undo = undos_.rbegin(); undo != undos_.rend(); ++undo) RunUndo(*undo);
    }
    for (const auto& [id, file] : files_) {
      struct stat info {};
      const bool is_there = stat(file.path.c_str(), &info) == 0 && info.st_ino == id;
      if (is_there && file.size != file.synced_size)
        fs::resize_file(file.path, file.synced_size, ignored);
    }
    files_.clear();
    ForgetUndos();
    is_down_ = true;
  }

  void ForgetUndos() CORRAL_REQUIRES(mutex_) {
    undos_.clear();
    std::error_code ignored;
    if (attic_) fs::remove_all(*attic_, ignored);
    attic_.reset();
  }

  mutable Mutex mutex_;
  int n_steps_ CORRAL_GUARDED_BY(mutex_) = 0;
  int fail_at_ CORRAL_GUARDED_BY(mutex_) = 0;
  int errno_value_ CORRAL_GUARDED_BY(mutex_) = EIO;
  int crash_at_ CORRAL_GUARDED_BY(mutex_) = 0;
  Loss loss_ CORRAL_GUARDED_BY(mutex_) = Loss::kBytesAndNames;
  bool is_down_ CORRAL_GUARDED_BY(mutex_) = false;
  std::uint64_t space_ CORRAL_GUARDED_BY(mutex_) = kNoLimit;
  std::map<FileId, File> files_ CORRAL_GUARDED_BY(mutex_);  // those made here
  std::deque<Undo> undos_ CORRAL_GUARDED_BY(mutex_);        // in the order of the steps
  std::optional<Path> attic_
      CORRAL_GUARDED_BY(mutex_);  // holds replaced and removed files until their folder is synced
  int n_copies_ CORRAL_GUARDED_BY(mutex_) = 0;
};

FaultyFileSystem::FaultyFileSystem()
    : steps_(std::make_unique<FaultySteps>()), files_(internal::MakeFileSystem(*steps_)) {}
FaultyFileSystem::~FaultyFileSystem() = default;

void FaultyFileSystem::FailAtStep(int n, int errno_value) { steps_->FailAtStep(n, errno_value); }
void FaultyFileSystem::LimitSpace(std::uint64_t bytes) { steps_->LimitSpace(bytes); }
void FaultyFileSystem::UnlimitSpace() { steps_->LimitSpace(kNoLimit); }
void FaultyFileSystem::CrashAtStep(int n, Loss loss) { steps_->CrashAtStep(n, loss); }
void FaultyFileSystem::Crash(Loss loss) { steps_->Crash(loss); }
bool FaultyFileSystem::IsDown() const { return steps_->IsDown(); }
void FaultyFileSystem::Restart() { steps_->Restart(); }
int FaultyFileSystem::StepCount() const { return steps_->StepCount(); }

Status FaultyFileSystem::MakeFolders(const Path& folder) {
  CORRAL_TRY_STATUS(steps_->CheckIsUp());
  return files_->MakeFolders(folder);
}
Result<std::unique_ptr<PendingFile>> FaultyFileSystem::Create(const Path& folder,
                                                              std::string_view prefix) {
  return files_->Create(folder, prefix);
}
Status FaultyFileSystem::Remove(const Path& file) { return files_->Remove(file); }
Status FaultyFileSystem::Rename(const Path& from, const Path& to) {
  return files_->Rename(from, to);
}
Status FaultyFileSystem::Touch(const Path& file) { return files_->Touch(file); }
Result<std::string> FaultyFileSystem::Read(const Path& file, std::uint64_t max_bytes) {
  CORRAL_TRY_STATUS(steps_->CheckIsUp());
  return files_->Read(file, max_bytes);
}

}  // namespace corral
