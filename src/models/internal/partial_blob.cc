// Blobs::OpenPartial: the partial file of a download, its lock and its state files.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <map>

#include "core/log.h"
#include "core/text.h"
#include "models/internal/blobs.h"
#include "models/internal/partial_files.h"

namespace corral::models::internal {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kMaxStateBytes = 1U << 20;
constexpr std::int64_t kMaxBlobBytes = 16LL << 40;  // whatever the disk says that it has
constexpr std::int64_t kStatBlockBytes = 512;       // st_blocks, stat(2)

// A state file is a hint: it is written in one step and not synced.
Status WriteState(const fs::path& file, std::string_view text) {
  fs::path temporary =
      file.parent_path() / (std::string(kTemporaryBlobPrefix) + file.filename().native().substr(7));
  const UniqueFd fd(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd.is_valid()) return Fail(ErrnoError(errno, "write the state of a download"));
  Status written = WriteAll(fd.get(), text);
  if (written && ::rename(temporary.c_str(), file.c_str()) != 0)
    written = Fail(ErrnoError(errno, "write the state of a download"));
  if (!written) ::unlink(temporary.c_str());  // the disk may be full
  return written;
}

}  // namespace

class Blobs::Partial final : public PartialBlob {
 public:
  Partial(Blobs& blobs, Digest digest, std::int64_t size_bytes, fs::path path, UniqueFd file,
          std::optional<LeaseKeeper::Lease> lease)
      : lease_(std::move(lease)),
        blobs_(blobs),
        digest_(std::move(digest)),
        size_bytes_(size_bytes),
        path_(std::move(path)),
        file_(std::move(file)) {}

  // Leaves nothing behind where nothing has arrived.
  ~Partial() override {
    if (is_named_ || has_bytes_) return;
    RemoveStates();
    (void)blobs_.files_.Remove(path_);
  }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;

  // What earlier downloads left; makes the file as long as the blob.
  Status Prepare() {
    struct stat facts {};
    if (::fstat(file_.get(), &facts) != 0)
      return Fail(ErrnoError(errno, "look at a partial download"));
    CORRAL_TRY_STATUS(CheckSpace(facts.st_blocks * kStatBlockBytes));
    parts_ = PlanParts(size_bytes_);
    ByteRanges said;
    for (const auto& [n, path] : StateFiles(path_)) {
      const Result<std::string> text = blobs_.files_.Read(path, kMaxStateBytes);
      if (text) AddPart(*text, size_bytes_, &said);
      if (n >= parts_.size()) (void)blobs_.files_.Remove(path);
    }
    for (const ByteRanges::Range& range : said.ranges())
      found_.Add(range.begin, std::min<std::int64_t>(range.end, facts.st_size));
    has_bytes_ = found_.TotalBytes() > 0;
    if (facts.st_size != size_bytes_ && ::ftruncate(file_.get(), size_bytes_) != 0)
      return Fail(ErrnoError(errno, "make a partial download"));
    return {};
  }

  const ByteRanges& found() const override { return found_; }

  Status WriteAt(std::int64_t offset, std::string_view bytes) override {
    if (!bytes.empty()) has_bytes_ = true;
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(file_.get(), bytes.data(), bytes.size(), offset);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Fail(ErrnoError(errno, "write a download"));
      bytes.remove_prefix(static_cast<std::size_t>(n));
      offset += n;
    }
    return {};
  }

  Result<std::size_t> ReadAt(std::int64_t offset, std::span<char> buffer) override {
    for (;;) {
      const ssize_t n = ::pread(file_.get(), buffer.data(), buffer.size(), offset);
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) return Fail(ErrnoError(errno, "read a partial download"));
    }
  }

  Status Save(const ByteRanges& present) override {
    // The data first: a state that promises bytes which a power cut took would cost the whole blob.
    if (::fdatasync(file_.get()) != 0) return Fail(ErrnoError(errno, "write a download"));
    for (std::size_t n = 0; n < parts_.size(); ++n) {
      std::string text = EncodePart(n, parts_[n], present);
      std::string& saved = saved_[n];
      if (text == saved) continue;
      CORRAL_TRY_STATUS(WriteState(StatePath(n), text));
      saved = std::move(text);
    }
    return {};
  }

  Status Commit(const Sha256::Hash& hash) override {
    const Digest actual = Digest::OfHash(hash);
    if (actual != digest_) {
      has_bytes_ = false;  // and so the files go
      return Fail(Code::kCorrupt, "digest mismatch, file must be downloaded again: want " +
                                      digest_.ToString() + ", got " + actual.ToString());
    }
    if (::fsync(file_.get()) != 0) return Fail(ErrnoError(errno, "write a download"));
    auto shared = blobs_.lock_.Share();
    if (!shared) return Fail(AsStoreError(std::move(shared).error()));
    {
      CORRAL_TRY(const auto held, blobs_.blob_locks_.Own(digest_));
      CORRAL_TRY_STATUS(blobs_.files_.Rename(path_, blobs_.layout_.BlobPath(digest_)));
    }
    is_named_ = true;
    blobs_.Mark(*shared, digest_);
    RemoveStates();
    return {};
  }

 private:
  fs::path StatePath(std::size_t n) const {
    fs::path path = path_;
    path += "-" + std::to_string(n);
    return path;
  }

  void RemoveStates() {
    saved_.clear();
    for (const auto& [n, path] : StateFiles(path_)) (void)blobs_.files_.Remove(path);
  }

  Status CheckSpace(std::int64_t allocated_bytes) const {
    if (size_bytes_ > kMaxBlobBytes)
      return Fail(Code::kTooLarge, "the manifest has a layer of " + HumanBytes(size_bytes_));
    struct statvfs facts {};
    if (::fstatvfs(file_.get(), &facts) != 0) return {};
    const auto free_bytes = static_cast<double>(facts.f_bavail) *
                            static_cast<double>(facts.f_frsize);  // may be more than int64 holds
    const auto needed_bytes = static_cast<double>(size_bytes_ - allocated_bytes);
    if (needed_bytes <= free_bytes) return {};
    return Fail(Code::kIo, "no space left on device: the download needs " +
                               HumanBytes(size_bytes_ - allocated_bytes) + " and " +
                               HumanBytes(static_cast<std::int64_t>(free_bytes)) + " are free");
  }

  const std::optional<LeaseKeeper::Lease> lease_;  // instead of the lock, where leases are used
  Blobs& blobs_;
  const Digest digest_;
  const std::int64_t size_bytes_;
  const fs::path path_;
  UniqueFd file_;  // with the lock
  std::vector<ByteRanges::Range> parts_;
  ByteRanges found_;
  std::atomic<bool> has_bytes_{false};  // WriteAt comes from any thread
  bool is_named_ = false;
  std::map<std::size_t, std::string> saved_;  // N -> what its state file says
};

Result<std::unique_ptr<PartialBlob>> Blobs::OpenPartial(const Digest& digest,
                                                        std::int64_t size_bytes) {
  const fs::path path = layout_.PartialPath(digest);
  auto shared = lock_.Share();  // a prune stays out until the file is locked
  if (!shared) return Fail(AsStoreError(std::move(shared).error()));
  if (const Status status = files_.MakeFolders(layout_.blobs); !status)
    return Fail(AsStoreError(status.error()));
  std::optional<LeaseKeeper::Lease> lease;
  if (leases_ != nullptr) {
    CORRAL_TRY(std::optional<LeaseKeeper::Lease> taken,
               leases_->TryTake("partial-" + digest.hex()));
    if (!taken) return std::unique_ptr<PartialBlob>();
    lease.emplace(*std::move(taken));
  }
  for (;;) {
    UniqueFd file(
        ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644));
    if (!file.is_valid()) return Fail(AsStoreError(ErrnoError(errno, "open a partial download")));
    struct stat opened {};
    if (::fstat(file.get(), &opened) != 0 || !S_ISREG(opened.st_mode))
      return Fail(Code::kIo, "a partial download is no plain file: remove " +
                                 path.filename().native() + " from the model store");
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno == EWOULDBLOCK) return std::unique_ptr<PartialBlob>();
      if (errno != ENOLCK && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
        return Fail(ErrnoError(errno, "lock a partial download"));
    }
    // Who held it before may have renamed or removed it.
    struct stat named {};
    if (::lstat(path.c_str(), &named) != 0 || named.st_ino != opened.st_ino ||
        named.st_dev != opened.st_dev) {
      continue;
    }
    auto partial = std::make_unique<Partial>(*this, digest, size_bytes, path, std::move(file),
                                             std::move(lease));
    CORRAL_TRY_STATUS(partial->Prepare());
    return std::unique_ptr<PartialBlob>(std::move(partial));
  }
}

void Blobs::RemoveStrayStates(const std::set<Digest>& whole) {
  std::error_code error;
  std::vector<fs::path> stray;
  for (fs::directory_iterator at(layout_.blobs, error), end; !error && at != end;
       at.increment(error)) {
    const auto group = PartialGroup(at->path().filename().native());
    if (!group || *group == at->path().filename().native() || Look(layout_.blobs / *group))
      continue;
    const auto digest = Digest::Parse(group->substr(0, group->find("-partial")));
    if (digest && whole.count(*digest) != 0) stray.push_back(at->path());
  }
  for (const fs::path& file : stray) (void)files_.Remove(file);
}

std::int64_t Blobs::PartialBytes(const Digest& digest) const {
  struct stat facts {};
  if (::lstat(layout_.PartialPath(digest).c_str(), &facts) != 0) return 0;
  return std::min<std::int64_t>(facts.st_blocks * kStatBlockBytes, facts.st_size);
}

}  // namespace corral::models::internal
