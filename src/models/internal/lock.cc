#include "models/internal/lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <atomic>
#include <cerrno>
#include <charconv>

#include "core/log.h"

namespace corral::models::internal {
namespace {

// Opens a lock file in `folder`, which is made if it is missing.
Result<UniqueFd> OpenLock(const std::filesystem::path& folder, const std::string& name,
                          FileSystem& files) {
  const std::filesystem::path path = folder / name;
  constexpr int kFlags = O_CLOEXEC | O_NOFOLLOW;
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | kFlags, 0644);
  if (fd < 0 && errno == ENOENT) {
    CORRAL_TRY_STATUS(files.MakeFolders(folder));
    fd = ::open(path.c_str(), O_RDWR | O_CREAT | kFlags, 0644);
  }
  // Another user's file: reading is enough for flock.
  if (fd < 0 && (errno == EACCES || errno == EPERM)) {
    const int first_error = errno;
    fd = ::open(path.c_str(), O_RDONLY | kFlags);
    if (fd < 0) errno = first_error;
  }
  if (fd < 0) return Fail(ErrnoError(errno, "lock the model store"));
  return UniqueFd(fd);
}

// False: somebody holds it (only if `operation` has LOCK_NB).
Result<bool> Flock(int fd, int operation) {
  int rc = 0;
  do {
    rc = ::flock(fd, operation);
  } while (rc != 0 && errno == EINTR);
  if (rc == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  if (errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) {
    static std::atomic<bool> is_logged = false;
    if (!is_logged.exchange(true)) {
      Log(LogLevel::kWarn,
          "the file system of the model store has no locks: use one server at a time on it");
    }
    return true;
  }
  return Fail(ErrnoError(errno, "lock the model store"));
}

Status Wait(const UniqueFd& file, int operation) {
  return Flock(file.get(), operation).map([](bool) {});
}

}  // namespace

StoreLock::StoreLock(std::filesystem::path folder, FileSystem& files)
    : folder_(std::move(folder)), files_(files) {}

Result<StoreLock::Held> StoreLock::Share() {
  Held held;
  const std::lock_guard turn(turn_);
  held.mutex_lock_ = std::shared_lock(mutex_);
  // The turn file is held while waiting, as turn_ is.
  CORRAL_TRY(const UniqueFd turn_file, OpenLock(folder_, "turn", files_));
  CORRAL_TRY_STATUS(Wait(turn_file, LOCK_EX));
  CORRAL_TRY(held.file_, OpenLock(folder_, "lock", files_));
  CORRAL_TRY_STATUS(Wait(held.file_, LOCK_SH));
  return held;
}

Result<StoreLock::Held> StoreLock::Own() {
  Held held;
  const std::lock_guard turn(turn_);
  held.mutex_lock_ = std::unique_lock(mutex_);
  CORRAL_TRY(const UniqueFd turn_file, OpenLock(folder_, "turn", files_));
  CORRAL_TRY_STATUS(Wait(turn_file, LOCK_EX));
  CORRAL_TRY(held.file_, OpenLock(folder_, "lock", files_));
  CORRAL_TRY_STATUS(Wait(held.file_, LOCK_EX));
  return held;
}

Result<std::optional<StoreLock::Held>> StoreLock::TryOwn() {
  Held held;
  const std::unique_lock turn(turn_, std::try_to_lock);
  if (!turn) return std::nullopt;
  std::unique_lock owner(mutex_, std::try_to_lock);
  if (!owner) return std::nullopt;
  held.mutex_lock_ = std::move(owner);
  CORRAL_TRY(held.file_, OpenLock(folder_, "lock", files_));
  CORRAL_TRY(const bool is_ours, Flock(held.file_.get(), LOCK_EX | LOCK_NB));
  if (!is_ours) return std::nullopt;
  return std::optional<Held>(std::move(held));
}

BlobLocks::BlobLocks(std::filesystem::path folder, FileSystem& files)
    : folder_(std::move(folder)), files_(files) {}

Result<BlobLocks::Held> BlobLocks::Own(const Digest& digest) {
  const std::string first_byte = digest.hex().substr(0, 2);
  unsigned index = 0;
  std::from_chars(first_byte.data(), first_byte.data() + 2, index, 16);
  Held held;
  held.mutex_lock_ = std::unique_lock(mutexes_[index]);
  CORRAL_TRY(held.file_, OpenLock(folder_, first_byte, files_));
  CORRAL_TRY_STATUS(Wait(held.file_, LOCK_EX));
  return held;
}

UniqueFd HoldAlive(const std::filesystem::path& file) {
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (fd.is_valid() && ::flock(fd.get(), LOCK_SH | LOCK_NB) != 0) fd.Reset();
  return fd;
}

bool IsAlive(const std::filesystem::path& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  return fd.is_valid() && ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

}  // namespace corral::models::internal
