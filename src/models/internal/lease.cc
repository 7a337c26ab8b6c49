#include "models/internal/lease.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "core/log.h"
#include "models/internal/random_name.h"

namespace corral::models::internal {
namespace {

namespace fs = std::filesystem;

std::chrono::nanoseconds TimeOf(const struct stat& facts) {
  return std::chrono::seconds(facts.st_mtim.tv_sec) +
         std::chrono::nanoseconds(facts.st_mtim.tv_nsec);
}

// Who made the file at `path`, by its text. Empty: nobody, any more.
std::string TokenOf(const fs::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  std::array<char, 64> text{};
  const ssize_t n = fd.is_valid() ? ::read(fd.get(), text.data(), text.size()) : 0;
  return {text.data(), static_cast<std::size_t>(n > 0 ? n : 0)};
}

}  // namespace

LeaseKeeper::Lease::Lease(Lease&& other) noexcept
    : keeper_(std::exchange(other.keeper_, nullptr)), id_(other.id_) {}

LeaseKeeper::Lease::~Lease() {
  if (keeper_ != nullptr) keeper_->Release(id_);
}

LeaseKeeper::LeaseKeeper(fs::path folder, FileSystem& files, LeaseTiming timing)
    : folder_(std::move(folder)), files_(files), timing_(timing) {}

LeaseKeeper::~LeaseKeeper() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  ending_.notify_all();
}

Result<std::optional<LeaseKeeper::Lease>> LeaseKeeper::Make(const fs::path& path) {
  constexpr int kFlags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
  UniqueFd fd(::open(path.c_str(), kFlags, 0644));
  if (!fd.is_valid() && errno == ENOENT) {
    CORRAL_TRY_STATUS(files_.MakeFolders(folder_));
    fd.Reset(::open(path.c_str(), kFlags, 0644));
  }
  if (!fd.is_valid() && errno == EEXIST) return std::optional<Lease>();
  if (!fd.is_valid()) return Fail(ErrnoError(errno, "lock the model store"));
  // An empty one is as good: it only cannot be told from another that is empty.
  (void)WriteAll(fd.get(), RandomName());
  const std::lock_guard lock(mutex_);
  const std::uint64_t id = next_id_++;
  leases_.emplace(id, Held{path, std::move(fd)});
  if (!heart_.joinable()) heart_ = std::jthread([this] { Renew(); });
  return std::optional<Lease>(Lease(this, id));
}

void LeaseKeeper::Release(std::uint64_t id) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = leases_.find(id);
    if (found == leases_.end()) return;
    // Not one that somebody has made there since ours was taken for dead.
    struct stat ours {};
    struct stat there {};
    if (::fstat(found->second.fd.get(), &ours) == 0 &&
        ::lstat(found->second.path.c_str(), &there) == 0 && ours.st_ino == there.st_ino) {
      ::unlink(found->second.path.c_str());
    } else {
      Log(LogLevel::kError,
          "this server was stopped for so long that another took its lock of the model store",
          {{"lease", found->second.path.filename().native()}});
    }
    leases_.erase(found);
  }
  released_.notify_all();
}

void LeaseKeeper::Renew() {
  std::unique_lock lock(mutex_);
  while (!is_ending_) {
    ending_.wait_for(lock, timing_.heartbeat);
    for (const auto& [id, held] : leases_) ::futimens(held.fd.get(), nullptr);
  }
}

void LeaseKeeper::Pause() {
  std::unique_lock lock(mutex_);
  released_.wait_for(lock, timing_.poll);
}

Result<std::chrono::nanoseconds> LeaseKeeper::Now() {
  const fs::path probe = folder_ / (".probe-" + RandomName());
  const UniqueFd fd(::open(probe.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd.is_valid()) return Fail(ErrnoError(errno, "lock the model store"));
  struct stat facts {};
  const bool is_known = ::write(fd.get(), "x", 1) == 1 && ::fstat(fd.get(), &facts) == 0;
  const int error = errno;
  ::unlink(probe.c_str());
  if (!is_known) return Fail(ErrnoError(error, "lock the model store"));
  return TimeOf(facts);
}

Result<bool> LeaseKeeper::RemoveIfDead(const fs::path& path) {
  const std::string token = TokenOf(path);
  struct stat facts {};
  if (::lstat(path.c_str(), &facts) != 0) return errno == ENOENT;
  CORRAL_TRY(const std::chrono::nanoseconds now, Now());
  if (now - TimeOf(facts) < timing_.expiry) return false;
  // Two may see this at once, and one of them may have made a new lease by the time that the other
  // acts. So it is first moved aside, and looked at there.
  const fs::path aside = folder_ / (".dead-" + RandomName());
  if (::rename(path.c_str(), aside.c_str()) != 0) return errno == ENOENT;
  if (TokenOf(aside) == token) {
    Log(LogLevel::kWarn, "a server that used the model store is gone: its lock is taken away",
        {{"lease", path.filename().native()}});
    ::unlink(aside.c_str());
    return true;
  }
  // A living one: back, unless the place is taken again, when its holder finds out (Release).
  (void)!::link(aside.c_str(), path.c_str());
  ::unlink(aside.c_str());
  return false;
}

Result<std::optional<LeaseKeeper::Lease>> LeaseKeeper::TryTake(const std::string& name) {
  const fs::path path = folder_ / name;
  for (int attempt = 0; attempt < 2; ++attempt) {
    CORRAL_TRY(std::optional<Lease> lease, Make(path));
    if (lease) return lease;
    CORRAL_TRY(const bool is_dead, RemoveIfDead(path));
    if (!is_dead) break;
  }
  return std::optional<Lease>();
}

Result<LeaseKeeper::Lease> LeaseKeeper::Take(const std::string& name) {
  for (;;) {
    CORRAL_TRY(std::optional<Lease> lease, TryTake(name));
    if (lease) return *std::move(lease);
    Pause();
  }
}

Result<LeaseKeeper::Lease> LeaseKeeper::TakeOneOf(const std::string& prefix) {
  return Take(prefix + RandomName());
}

Result<bool> LeaseKeeper::HasAny(const std::string& prefix) {
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::directory_iterator at(folder_, error), end; !error && at != end; at.increment(error)) {
    if (at->path().filename().native().starts_with(prefix)) found.push_back(at->path());
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return Fail(ErrnoError(error.value(), "lock the model store"));
  for (const fs::path& path : found) {
    CORRAL_TRY(const bool is_dead, RemoveIfDead(path));
    if (!is_dead) return true;
  }
  return false;
}

Status LeaseKeeper::WaitForNone(const std::string& prefix) {
  for (;;) {
    CORRAL_TRY(const bool is_held, HasAny(prefix));
    if (!is_held) return {};
    Pause();
  }
}

}  // namespace corral::models::internal
