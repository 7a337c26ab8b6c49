#include "models/internal/lock.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace corral::models::internal {
namespace {

constexpr const char* kTurnLease = "turn";
constexpr const char* kSharedLease = "shared-";

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

bool IsUnsupported(int error) {
  return error == ENOLCK || error == EOPNOTSUPP || error == ENOSYS || error == EINVAL;
}

// False: somebody holds it (only if `operation` has LOCK_NB).
Result<bool> Flock(int fd, int operation) {
  int rc = 0;
  do {
    rc = ::flock(fd, operation);
  } while (rc != 0 && errno == EINTR);
  if (rc == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  return Fail(ErrnoError(errno, "lock the model store"));
}

Status Wait(const UniqueFd& file, int operation) {
  return Flock(file.get(), operation).map([](bool) {});
}

}  // namespace

bool NeedsLeases(const std::filesystem::path& root) {
  struct statfs facts {};
  std::filesystem::path there = root;  // or where it will be made
  while (::statfs(there.c_str(), &facts) != 0) {
    if (errno != ENOENT || !there.has_relative_path()) return false;
    there = there.parent_path();
  }
  // Of linux/magic.h, and CIFS (fs/smb/client/cifsglob.h).
  constexpr std::uint32_t kShared[] = {NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, SMB2_SUPER_MAGIC,
                                       0xFF534D42U};
  const auto type = static_cast<std::uint32_t>(facts.f_type);
  if (std::find(std::begin(kShared), std::end(kShared), type) != std::end(kShared)) return true;
  const UniqueFd folder(::open(there.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.is_valid() || ::flock(folder.get(), LOCK_SH | LOCK_NB) == 0) return false;
  return IsUnsupported(errno);
}

StoreLock::StoreLock(std::filesystem::path folder, FileSystem& files, LeaseKeeper* leases,
                     bool is_read_only)
    : folder_(std::move(folder)), files_(files), leases_(leases), is_read_only_(is_read_only) {}

Result<StoreLock::Held> StoreLock::Share() {
  if (is_read_only_) return Fail(Code::kForbidden, "read-only");
  Held held;
  const std::lock_guard turn(turn_);
  held.mutex_lock_ = std::shared_lock(mutex_);
  if (leases_ != nullptr) {
    CORRAL_TRY(const LeaseKeeper::Lease turn_lease, leases_->Take(kTurnLease));
    CORRAL_TRY(LeaseKeeper::Lease lease, leases_->TakeOneOf(kSharedLease));
    held.lease_.emplace(std::move(lease));
    return held;
  }
  // The turn file is held while waiting, as turn_ is.
  CORRAL_TRY(const UniqueFd turn_file, OpenLock(folder_, "turn", files_));
  CORRAL_TRY_STATUS(Wait(turn_file, LOCK_EX));
  CORRAL_TRY(held.file_, OpenLock(folder_, "lock", files_));
  CORRAL_TRY_STATUS(Wait(held.file_, LOCK_SH));
  return held;
}

Result<StoreLock::Held> StoreLock::Own() {
  if (is_read_only_) return Fail(Code::kForbidden, "read-only");
  Held held;
  const std::lock_guard turn(turn_);
  held.mutex_lock_ = std::unique_lock(mutex_);
  if (leases_ != nullptr) {
    // Who holds the turn keeps new sharers out, and waits for the others to go.
    CORRAL_TRY(LeaseKeeper::Lease lease, leases_->Take(kTurnLease));
    held.lease_.emplace(std::move(lease));
    CORRAL_TRY_STATUS(leases_->WaitForNone(kSharedLease));
    return held;
  }
  CORRAL_TRY(const UniqueFd turn_file, OpenLock(folder_, "turn", files_));
  CORRAL_TRY_STATUS(Wait(turn_file, LOCK_EX));
  CORRAL_TRY(held.file_, OpenLock(folder_, "lock", files_));
  CORRAL_TRY_STATUS(Wait(held.file_, LOCK_EX));
  return held;
}

Result<std::optional<StoreLock::Held>> StoreLock::TryOwn() {
  if (is_read_only_) return Fail(Code::kForbidden, "read-only");
  Held held;
  const std::unique_lock turn(turn_, std::try_to_lock);
  if (!turn) return std::nullopt;
  std::unique_lock owner(mutex_, std::try_to_lock);
  if (!owner) return std::nullopt;
  held.mutex_lock_ = std::move(owner);
  if (leases_ != nullptr) {
    CORRAL_TRY(std::optional<LeaseKeeper::Lease> lease, leases_->TryTake(kTurnLease));
    if (!lease) return std::nullopt;
    held.lease_.emplace(*std::move(lease));
    CORRAL_TRY(const bool is_shared, leases_->HasAny(kSharedLease));
    if (is_shared) return std::nullopt;
    return std::optional<Held>(std::move(held));
  }
  CORRAL_TRY(held.file_, OpenLock(folder_, "lock", files_));
  CORRAL_TRY(const bool is_ours, Flock(held.file_.get(), LOCK_EX | LOCK_NB));
  if (!is_ours) return std::nullopt;
  return std::optional<Held>(std::move(held));
}

BlobLocks::BlobLocks(std::filesystem::path folder, FileSystem& files, LeaseKeeper* leases)
    : folder_(std::move(folder)), files_(files), leases_(leases) {}

Result<BlobLocks::Held> BlobLocks::Own(const Digest& digest) {
  const std::string first_byte = digest.hex().substr(0, 2);
  unsigned index = 0;
  std::from_chars(first_byte.data(), first_byte.data() + 2, index, 16);
  Held held;
  held.mutex_lock_ = std::unique_lock(mutexes_[index]);
  if (leases_ != nullptr) {
    CORRAL_TRY(LeaseKeeper::Lease lease, leases_->Take("blob-" + first_byte));
    held.lease_.emplace(std::move(lease));
    return held;
  }
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
