// Locks of a store: in this process by a mutex, between processes by flock on files in .corral/.
//
// flock belongs to an open file description, so that two threads on one would not exclude each
// other: each lock is taken on the mutex first and then on a freshly opened file. Where flock does
// not reach other hosts, leases stand in its place (lease.h). Thread-safe. Blocking.
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <variant>

#include "core/files.h"
#include "core/result.h"
#include "models/internal/lease.h"
#include "models/name.h"

namespace corral::models::internal {

// Whether locks of a store at `root` need leases: its file system belongs to several hosts (NFS,
// SMB) or has no flock.
bool NeedsLeases(const std::filesystem::path& root);

// A mutex that many may share or one may own. One who waits to own it goes before those who come
// after.
class StoreLock {
 public:
  // Held until destroyed. Movable. Ends on any thread, in time before its StoreLock.
  class Held {
   public:
    Held(Held&&) = default;
    Held& operator=(Held&&) = delete;

   private:
    friend class StoreLock;
    Held() = default;
    // In this order: the file's lock goes first, then the mutex's.
    std::variant<std::monostate, std::shared_lock<std::shared_mutex>,
                 std::unique_lock<std::shared_mutex>>
        mutex_lock_;
    UniqueFd file_;
    std::optional<LeaseKeeper::Lease> lease_;
  };

  // `folder` is made when a lock is first taken. `leases`: null for flock; outlives this. Of a
  // read-only store nobody gets it (kForbidden).
  StoreLock(std::filesystem::path folder, FileSystem& files, LeaseKeeper* leases = nullptr,
            bool is_read_only = false);

  // Errors: kForbidden (read-only), kIo.
  Result<Held> Share();
  Result<Held> Own();
  // nullopt if anybody holds it.
  Result<std::optional<Held>> TryOwn();

 private:
  const std::filesystem::path folder_;
  FileSystem& files_;
  LeaseKeeper* const leases_;
  const bool is_read_only_;
  std::mutex turn_;          // held while waiting: who comes later waits behind
  std::shared_mutex mutex_;  // guards nothing in memory: the files of the store
};

// One writer a blob. 256 locks by the digest's first byte; two blobs that share one wait for each
// other, no more.
class BlobLocks {
 public:
  class Held {
   public:
    Held(Held&&) = default;
    Held& operator=(Held&&) = delete;

   private:
    friend class BlobLocks;
    Held() = default;
    std::unique_lock<std::mutex> mutex_lock_;
    UniqueFd file_;
    std::optional<LeaseKeeper::Lease> lease_;
  };

  BlobLocks(std::filesystem::path folder, FileSystem& files, LeaseKeeper* leases = nullptr);
  // Errors: kForbidden, kIo.
  Result<Held> Own(const Digest& digest);

 private:
  const std::filesystem::path folder_;
  FileSystem& files_;
  LeaseKeeper* const leases_;
  std::array<std::mutex, 256> mutexes_;
};

// Marks a temporary file as alive, for prunes: holds flock on it until destroyed. Invalid if it
// cannot be had.
UniqueFd HoldAlive(const std::filesystem::path& file);
// True if somebody holds `file` alive.
bool IsAlive(const std::filesystem::path& file);

}  // namespace corral::models::internal
