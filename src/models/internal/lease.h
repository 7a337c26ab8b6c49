// Locks for file systems on which flock does not reach the other hosts (NFS, SMB): files in a
// folder that all of them see.
//
// A lease is a file that its holder makes (O_EXCL) and whose time it renews every `heartbeat`. One
// that was not renewed for `expiry` belongs to a process that died, and whoever wants it takes it
// away. Times are compared with that of a file written just now, so hosts need not agree on the
// time. A process that is stopped for longer than `expiry` (SIGSTOP, a suspended machine) loses its
// leases without noticing: an hour's grace for blobs (docs/formats/store.md) bounds what that
// costs.
//
// Thread-safe. Blocking (disk). One thread of its own, from the first lease on.
#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "core/files.h"
#include "core/result.h"

namespace corral::models::internal {

struct LeaseTiming {
  std::chrono::milliseconds heartbeat = std::chrono::seconds(10);
  std::chrono::milliseconds expiry = std::chrono::seconds(60);
  std::chrono::milliseconds poll = std::chrono::milliseconds(100);  // while waiting for others
};

class LeaseKeeper {
 public:
  // Given back when destroyed; in time before its keeper.
  class Lease {
   public:
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&&) = delete;
    ~Lease();

   private:
    friend class LeaseKeeper;
    Lease(LeaseKeeper* keeper, std::uint64_t id) : keeper_(keeper), id_(id) {}
    LeaseKeeper* keeper_;
    std::uint64_t id_;
  };

  // `folder` is made when a lease is first taken.
  LeaseKeeper(std::filesystem::path folder, FileSystem& files, LeaseTiming timing = {});
  ~LeaseKeeper();
  LeaseKeeper(const LeaseKeeper&) = delete;
  LeaseKeeper& operator=(const LeaseKeeper&) = delete;

  // The lease of this name (a file name). nullopt: somebody alive holds it. Errors: kForbidden,
  // kIo.
  Result<std::optional<Lease>> TryTake(const std::string& name);
  // Waits for it.
  Result<Lease> Take(const std::string& name);
  // A lease whose name begins so and is no other's.
  Result<Lease> TakeOneOf(const std::string& prefix);

  // Whether anybody alive holds a lease whose name begins so. Takes dead ones away. Errors: kIo.
  Result<bool> HasAny(const std::string& prefix);
  // Waits until nobody does.
  Status WaitForNone(const std::string& prefix);

 private:
  struct Held {
    std::filesystem::path path;
    UniqueFd fd;
  };

  void Release(std::uint64_t id);
  void Renew();  // the thread's main
  // nullopt: there is one.
  Result<std::optional<Lease>> Make(const std::filesystem::path& path);
  // True: it is dead, and was taken away (by us or by another).
  Result<bool> RemoveIfDead(const std::filesystem::path& path);
  Result<std::chrono::nanoseconds> Now();  // the file system's time
  void Pause();

  const std::filesystem::path folder_;
  FileSystem& files_;
  const LeaseTiming timing_;
  std::mutex mutex_;
  std::condition_variable released_;      // a lease of this process was given back
  std::condition_variable ending_;        // wakes the thread
  std::map<std::uint64_t, Held> leases_;  // guarded by mutex_
  std::uint64_t next_id_ = 1;             // guarded by mutex_
  bool is_ending_ = false;                // guarded by mutex_
  std::jthread heart_;                    // guarded by mutex_ until it runs
};

}  // namespace corral::models::internal
