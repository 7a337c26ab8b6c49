// The blobs of a store: written once, whole, under the hash of their content; removed when nobody
// names them.
//
// Thread-safe. Blocking (disk). Locks are taken in one order: the store's, then a blob's. The
// functions that take a StoreLock::Held want it held already; the others take what they need.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "models/internal/layout.h"
#include "models/internal/lock.h"
#include "models/store.h"

namespace corral::models::internal {

// Files in blobs/ while they are written begin so. No digest, so that Ollama's prune takes an old
// one for what it is.
inline constexpr std::string_view kTemporaryBlobPrefix = "sha256-corral-";
// Files in manifests/ while they are written. At the first level, where nobody looks for manifests.
inline constexpr std::string_view kTemporaryManifestPrefix = ".corral-";
// How long an accepted blob waits for its create, and how old a stray file is before a prune takes
// it. (Ollama's hour.)
inline constexpr std::chrono::hours kGrace{1};

class Blobs {
 public:
  struct Options {
    bool with_leases = false;  // instead of flock (lock.h)
    bool is_read_only = false;
    // Other folders, whose blobs count as here: they are linked to when they are used.
    std::vector<Layout> others = {};
  };
  Blobs(Layout layout, FileSystem& files, Options options);

  // A plain file of this digest is there (a link to one counts), here or in another folder.
  bool Has(const Digest& digest) const { return !PathOf(digest).empty(); }
  // Where it is; empty: nowhere.
  std::filesystem::path PathOf(const Digest& digest) const;

  // Has(), and if so keeps the blob from being removed for kGrace, or until Forget. For a client
  // that asks before a create.
  bool Accept(const Digest& digest);

  struct Put {
    Layer layer;
    bool is_new = false;
  };
  // Writes `bytes` unless a file of their digest and size is there; that one is touched.
  // Errors: kForbidden, kIo.
  Result<Put> Write(const StoreLock::Held& shared, std::string_view bytes, std::string media_type);
  // A layer of a blob that is there. Touches it; links to it, if it is in another folder. Errors:
  // kNotFound, kForbidden, kIo.
  Result<Layer> Use(const StoreLock::Held& shared, const Digest& digest, std::string media_type,
                    std::string from);

  Result<std::unique_ptr<BlobWriter>> New();
  Result<std::unique_ptr<BlobFile>> NewFile();

  // As Store::OpenPartial and Store::PartialBytes.
  Result<std::unique_ptr<PartialBlob>> OpenPartial(const Digest& digest, std::int64_t size_bytes);
  std::int64_t PartialBytes(const Digest& digest) const;
  // Removes the state files of downloads that are whole blobs now: a kill between the two steps
  // leaves them.
  void RemoveStrayStates(const std::set<Digest>& whole);

  // One writer a name, whatever its case: who replaces a manifest knows which one it was.
  Result<BlobLocks::Held> OwnName(const StoreLock::Held& shared, const ModelName& name);

  // The blobs of `used` have got their model: Accept ends.
  void Forget(const std::set<Digest>& used);
  // Accept's promise becomes that of one create, named by `claim`, until Accept gives it again.
  void Claim(const StoreLock::Held& shared, const Digest& digest, std::string_view claim);
  // Ends the promise, if it is still that create's.
  void ForgetClaimed(const StoreLock::Held& owned, const Digest& digest, std::string_view claim);

  // Removes those of `candidates` that no readable manifest names and no client was promised.
  // Failures are logged. Returns how many were removed. `on_removing` is called before the first.
  std::size_t RemoveUnused(const StoreLock::Held& owned, const std::set<Digest>& candidates,
                           const std::function<void()>& on_removing = {});

  // Whether Accept holds it now.
  bool IsAccepted(const Digest& digest) const;

  StoreLock& lock() { return lock_; }
  const Layout& layout() const { return layout_; }
  FileSystem& files() { return files_; }

 private:
  class Writer;
  class Partial;
  class File;

  // Moves a whole file to its name, unless that is there. Needs the store's lock.
  Status Commit(const StoreLock::Held& shared, PendingFile& pending, const Digest& digest,
                std::uint64_t size_bytes);
  // Best effort: a mark that cannot be written protects nothing, and that is all.
  void Mark(const StoreLock::Held& shared, const Digest& digest);

  bool HasHere(const Digest& digest) const;

  const Layout layout_;
  FileSystem& files_;
  const Options options_;
  const std::unique_ptr<LeaseKeeper> leases_;  // null: flock
  StoreLock lock_;
  BlobLocks blob_locks_;
};

}  // namespace corral::models::internal
