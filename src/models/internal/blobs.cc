#include "models/internal/blobs.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "core/log.h"
#include "core/sha256.h"
#include "core/text.h"

namespace corral::models::internal {

class Blobs::Writer final : public BlobWriter {
 public:
  Writer(Blobs& blobs, std::unique_ptr<PendingFile> pending)
      : blobs_(blobs),
        pending_(std::move(pending)),
        alive_(HoldAlive(pending_->temporary_path())) {}

  Status Append(std::string_view bytes) override {
    hash_.Update(bytes);
    size_bytes_ += bytes.size();
    if (const Status status = pending_->Append(bytes); !status)
      return Fail(AsStoreError(status.error()));
    return {};
  }

  Status Commit(const Digest& expected) override {
    const Digest actual = Digest::OfHash(hash_.Finish());
    if (actual != expected) {
      return Fail(Code::kCorrupt, "digest mismatch, expected \"" + expected.ToString() +
                                      "\", got \"" + actual.ToString() + "\"");
    }
    auto shared = blobs_.lock_.Share();
    if (!shared) return Fail(AsStoreError(std::move(shared).error()));
    if (const Status status = blobs_.Commit(*shared, *pending_, expected, size_bytes_); !status) {
      return Fail(AsStoreError(status.error()));
    }
    blobs_.Mark(*shared, expected);
    return {};
  }

 private:
  Blobs& blobs_;
  Sha256 hash_;
  std::uint64_t size_bytes_ = 0;
  std::unique_ptr<PendingFile> pending_;
  UniqueFd alive_;
};

Blobs::Blobs(Layout layout, FileSystem& files, Options options)
    : layout_(std::move(layout)),
      files_(files),
      options_(std::move(options)),
      leases_(options_.with_leases ? std::make_unique<LeaseKeeper>(layout_.own / "leases", files)
                                   : nullptr),
      lock_(layout_.own, files, leases_.get(), options_.is_read_only),
      blob_locks_(layout_.own / "blobs", files, leases_.get()) {}

bool Blobs::HasHere(const Digest& digest) const {
  const auto facts = LookThrough(layout_.BlobPath(digest));
  return facts && facts->is_regular;
}

std::filesystem::path Blobs::PathOf(const Digest& digest) const {
  if (HasHere(digest)) return layout_.BlobPath(digest);
  for (const Layout& other : options_.others) {
    const auto facts = LookThrough(other.BlobPath(digest));
    if (facts && facts->is_regular) return other.BlobPath(digest);
  }
  return {};
}

bool Blobs::Accept(const Digest& digest) {
  if (!HasHere(digest)) return Has(digest);
  // Without the lock the blob could go between the look and the mark.
  const auto shared = lock_.Share();
  if (!shared) return true;  // a store that cannot be written loses nothing either
  if (!HasHere(digest)) return false;
  Mark(*shared, digest);
  return true;
}

Result<Blobs::Put> Blobs::Write(const StoreLock::Held& shared, std::string_view bytes,
                                std::string media_type) {
  Put put{{std::move(media_type),
           Digest::OfBytes(bytes),
           static_cast<std::int64_t>(bytes.size()),
           {},
           {}}};
  const auto facts = LookThrough(layout_.BlobPath(put.layer.digest));
  if (facts && facts->is_regular && facts->size_bytes == bytes.size()) {
    (void)files_.Touch(layout_.BlobPath(put.layer.digest));  // of another user's file it may fail
    return put;
  }
  CORRAL_TRY_STATUS(files_.MakeFolders(layout_.blobs));
  CORRAL_TRY(const auto pending, files_.Create(layout_.blobs, kTemporaryBlobPrefix));
  CORRAL_TRY_STATUS(pending->Append(bytes));
  CORRAL_TRY_STATUS(Commit(shared, *pending, put.layer.digest, bytes.size()));
  put.is_new = true;
  return put;
}

Result<Layer> Blobs::Use(const StoreLock::Held&, const Digest& digest, std::string media_type,
                         std::string from) {
  const std::filesystem::path path = PathOf(digest);
  const auto facts = LookThrough(path);
  if (path.empty() || !facts)
    return Fail(Code::kNotFound, "blob " + digest.ToString() + " is not in the store");
  if (path == layout_.BlobPath(digest)) {
    (void)files_.Touch(path);
  } else {
    // A link carries no bytes that a power cut could take: it is made at once, and then named.
    CORRAL_TRY_STATUS(files_.MakeFolders(layout_.blobs));
    const std::filesystem::path link =
        layout_.blobs / (std::string(kTemporaryBlobPrefix) + "link-" + digest.hex());
    if (::symlink(path.c_str(), link.c_str()) != 0 && errno != EEXIST)
      return Fail(ErrnoError(errno, "link to a blob"));
    CORRAL_TRY_STATUS(files_.Rename(link, layout_.BlobPath(digest)));
  }
  return Layer{std::move(media_type),
               digest,
               static_cast<std::int64_t>(facts->size_bytes),
               std::move(from),
               {}};
}

Result<std::unique_ptr<BlobWriter>> Blobs::New() {
  auto pending = [this]() -> Result<std::unique_ptr<PendingFile>> {
    if (options_.is_read_only) return Fail(Code::kForbidden, "read-only");
    CORRAL_TRY_STATUS(files_.MakeFolders(layout_.blobs));
    return files_.Create(layout_.blobs, kTemporaryBlobPrefix);
  }();
  if (!pending) return Fail(AsStoreError(std::move(pending).error()));
  return std::make_unique<Writer>(*this, std::move(*pending));
}

Status Blobs::Commit(const StoreLock::Held&, PendingFile& pending, const Digest& digest,
                     std::uint64_t size_bytes) {
  CORRAL_TRY(const auto held, blob_locks_.Own(digest));
  const auto facts = LookThrough(layout_.BlobPath(digest));
  if (facts && facts->is_regular && facts->size_bytes == size_bytes) {
    (void)files_.Touch(layout_.BlobPath(digest));
    return {};
  }
  return pending.Commit(layout_.BlobPath(digest));
}

Result<BlobLocks::Held> Blobs::OwnName(const StoreLock::Held&, const ModelName& name) {
  return blob_locks_.Own(Digest::OfBytes(ToLowerAscii(name.Full())));
}

void Blobs::Mark(const StoreLock::Held&, const Digest& digest) {
  const std::filesystem::path mark = layout_.accepted / digest.FileName();
  if (const auto facts = Look(mark); facts && facts->size_bytes == 0) {
    (void)files_.Touch(mark);
    return;
  }
  if (files_.MakeFolders(layout_.accepted)) (void)files_.WriteAtomically(mark, "");
}

void Blobs::Forget(const std::set<Digest>& used) {
  for (const Digest& digest : used) {
    const std::filesystem::path mark = layout_.accepted / digest.FileName();
    if (Look(mark)) (void)files_.Remove(mark);
  }
}

void Blobs::Claim(const StoreLock::Held&, const Digest& digest, std::string_view claim) {
  const std::filesystem::path mark = layout_.accepted / digest.FileName();
  if (Look(mark)) (void)files_.WriteAtomically(mark, claim);
}

void Blobs::ForgetClaimed(const StoreLock::Held&, const Digest& digest, std::string_view claim) {
  const std::filesystem::path mark = layout_.accepted / digest.FileName();
  const auto text = files_.Read(mark, claim.size());
  if (text && *text == claim) (void)files_.Remove(mark);
}

bool Blobs::IsAccepted(const Digest& digest) const {
  const auto facts = Look(layout_.accepted / digest.FileName());
  return facts && facts->modified_at > std::chrono::system_clock::now() - kGrace;
}

std::size_t Blobs::RemoveUnused(const StoreLock::Held&, const std::set<Digest>& candidates,
                                const std::function<void()>& on_removing) {
  if (candidates.empty()) return 0;
  const References references = CollectReferences(files_, layout_);
  if (!references.unreadable.empty()) {
    Log(LogLevel::kWarn,
        "a part of the store cannot be read: unused blobs stay, as nobody knows that they are",
        {{"path", references.unreadable.front()}});
    return 0;
  }
  std::size_t n_removed = 0;
  bool is_first = true;
  for (const Digest& digest : candidates) {
    if (references.digests.count(digest) != 0 || IsAccepted(digest) ||
        !Look(layout_.BlobPath(digest)))
      continue;
    if (on_removing && std::exchange(is_first, false)) on_removing();
    if (const Status status = files_.Remove(layout_.BlobPath(digest)); !status) {
      Log(LogLevel::kWarn, "cannot remove an unused blob",
          {{"digest", digest.ToString()}, {"error", status.error().message}});
      continue;
    }
    ++n_removed;
  }
  return n_removed;
}

}  // namespace corral::models::internal
