// Blobs::NewFile: a blob that another process fills.
#include "models/blob_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "core/sha256.h"
#include "models/internal/blobs.h"

namespace corral::models::internal {

class Blobs::File final : public BlobFile {
 public:
  File(Blobs& blobs, std::unique_ptr<PendingFile> pending, UniqueFd fd)
      : blobs_(blobs),
        pending_(std::move(pending)),
        fd_(std::move(fd)),
        alive_(HoldAlive(pending_->temporary_path())) {}

  int fd() const override { return fd_.get(); }
  const std::filesystem::path& path() const override { return pending_->temporary_path(); }

  Result<Digest> Commit(const StopToken& stop) override {
    constexpr std::size_t kChunkBytes = 1U << 20U;
    Sha256 hash;
    std::vector<char> chunk(kChunkBytes);
    std::uint64_t size_bytes = 0;
    for (;;) {
      if (stop.StopRequested()) return Fail(stop.ToError());
      const ssize_t n =
          ::pread(fd_.get(), chunk.data(), chunk.size(), static_cast<off_t>(size_bytes));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Fail(ErrnoError(errno, "read a new blob"));
      if (n == 0) break;
      hash.Update({chunk.data(), static_cast<std::size_t>(n)});
      size_bytes += static_cast<std::uint64_t>(n);
    }
    const Digest digest = Digest::OfHash(hash.Finish());
    auto shared = blobs_.lock_.Share();
    if (!shared) return Fail(AsStoreError(std::move(shared).error()));
    if (const Status status = blobs_.Commit(*shared, *pending_, digest, size_bytes); !status)
      return Fail(AsStoreError(status.error()));
    blobs_.Mark(*shared, digest);
    return digest;
  }

 private:
  Blobs& blobs_;
  std::unique_ptr<PendingFile> pending_;
  UniqueFd fd_;
  UniqueFd alive_;
};

Result<std::unique_ptr<BlobFile>> Blobs::NewFile() {
  auto pending = [this]() -> Result<std::unique_ptr<PendingFile>> {
    if (options_.is_read_only) return Fail(Code::kForbidden, "read-only");
    CORRAL_TRY_STATUS(files_.MakeFolders(layout_.blobs));
    return files_.Create(layout_.blobs, kTemporaryBlobPrefix);
  }();
  if (!pending) return Fail(AsStoreError(std::move(pending).error()));
  UniqueFd fd(::open((*pending)->temporary_path().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.is_valid()) return Fail(ErrnoError(errno, "open a new blob"));
  return std::make_unique<File>(*this, std::move(*pending), std::move(fd));
}

}  // namespace corral::models::internal
