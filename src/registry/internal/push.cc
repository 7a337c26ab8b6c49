#include "registry/internal/push.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "core/files.h"
#include "core/log.h"
#include "core/mutex.h"
#include "core/text.h"
#include "models/manifest.h"
#include "registry/internal/places.h"

namespace corral::registry::internal {
namespace {

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

// MD5, because the registry's storage names parts so; nothing is trusted to it. Empty if this
// OpenSSL has none.
std::string Md5(const std::function<Status(const std::function<void(std::string_view)>&)>& feed,
                Status* status) {
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  if (!context || EVP_DigestInit_ex(context.get(), EVP_md5(), nullptr) != 1) return {};
  *status = feed([&context](std::string_view bytes) {
    EVP_DigestUpdate(context.get(), bytes.data(), bytes.size());
  });
  std::string hash(EVP_MAX_MD_SIZE, '\0');
  unsigned size = 0;
  if (EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(hash.data()), &size) != 1)
    return {};
  hash.resize(size);
  return hash;
}

// Bytes [begin, end) of a file.
class FilePart final : public BodySource {
 public:
  FilePart(int fd, std::int64_t begin, std::int64_t end, std::function<void(std::int64_t)> on_sent)
      : fd_(fd), begin_(begin), end_(end), position_(begin), on_sent_(std::move(on_sent)) {}

  std::int64_t size() const override { return end_ - begin_; }
  void Rewind() override { position_ = begin_; }
  Result<std::size_t> Read(std::span<char> buffer) override {
    const auto n_wanted =
        std::min<std::int64_t>(static_cast<std::int64_t>(buffer.size()), end_ - position_);
    if (n_wanted == 0) return 0U;
    ssize_t n_read = 0;
    do {
      n_read = ::pread(fd_, buffer.data(), static_cast<std::size_t>(n_wanted), position_);
    } while (n_read < 0 && errno == EINTR);
    if (n_read < 0) return Fail(ErrnoError(errno, "read a blob"));
    if (n_read == 0) return Fail(Code::kCorrupt, "a blob is shorter than its manifest says");
    position_ += n_read;
    if (on_sent_) on_sent_(position_);
    return static_cast<std::size_t>(n_read);
  }

 private:
  const int fd_;
  const std::int64_t begin_, end_;
  std::int64_t position_;
  const std::function<void(std::int64_t)> on_sent_;
};

// hex(md5 of the parts' md5s)-<count>.
Result<std::string> EtagOf(int fd, std::int64_t size_bytes) {
  const auto parts = models::PlanParts(size_bytes);
  std::string hashes;
  Status status;
  std::vector<char> buffer(1U << 20);
  for (const models::ByteRanges::Range& range : parts) {
    FilePart part(fd, range.begin, range.end, nullptr);
    hashes += Md5(
        [&](const std::function<void(std::string_view)>& take) -> Status {
          for (;;) {
            CORRAL_TRY(const std::size_t n_read, part.Read(buffer));
            if (n_read == 0) return {};
            take({buffer.data(), n_read});
          }
        },
        &status);
    CORRAL_TRY_STATUS(status);
  }
  const std::string all = Md5(
      [&](const std::function<void(std::string_view)>& take) -> Status {
        take(hashes);
        return {};
      },
      &status);
  return HexEncode(all) + "-" + std::to_string(parts.size());
}

// What a retry cannot change.
bool IsFinal(Code code) {
  return code == Code::kUnauthorized || code == Code::kForbidden || code == Code::kCorrupt ||
         code == Code::kIo || code == Code::kCancelled || code == Code::kBusy;
}

// False: stopped.
bool WaitFor(std::chrono::milliseconds time, const StopToken& stop) {
  Mutex mutex;
  CondVar stopped;
  const StopCallback wake(stop, [&] {
    const MutexLock lock(mutex);
    stopped.NotifyAll();
  });
  const Deadline deadline = Clock::now() + time;
  const MutexLock lock(mutex);
  while (!stop.StopRequested() && stopped.WaitUntil(mutex, deadline)) {
  }
  return !stop.StopRequested();
}

}  // namespace

Push::Push(models::Store& store, const Options& options, const TransferRequest& request,
           const StopToken& stop, const Registry::OnProgress& on_progress)
    : store_(store), options_(options), request_(request), stop_(stop), on_progress_(on_progress) {}

Status Push::Run() {
  on_progress_({.status = "retrieving manifest"});
  Result<models::Manifest> manifest = store_.LoadManifest(request_.name);
  if (!manifest) {
    on_progress_({.status = "couldn't retrieve manifest"});
    if (manifest.error().code == Code::kNotFound)
      return Fail(Code::kNotFound, "model " + GoQuote(request_.name.Short()) + " not found");
    return Fail(std::move(manifest).error());
  }
  if (!IsAllowed(request_.name, options_))
    return Fail(Code::kForbidden, "registry " + GoQuote(request_.name.host()) +
                                      " is not allowed here (CORRAL_REGISTRIES)");
  CORRAL_TRY(Url registry, RegistryOf(request_.name, request_.is_insecure));
  remote_ = std::make_unique<Remote>(options_, std::move(registry), request_.name);
  std::vector<models::Layer> layers = manifest->layers;
  if (manifest->config) layers.push_back(*manifest->config);
  std::set<models::Digest> seen;
  for (const models::Layer& layer : layers) {
    if (stop_.StopRequested()) return Fail(stop_.ToError());
    if (seen.insert(layer.digest).second) CORRAL_TRY_STATUS(PushBlob(layer));
  }
  on_progress_({.status = "pushing manifest"});
  // What create wrote goes without its line end, as Ollama sends it; what was pulled goes as it
  // came.
  std::string raw = manifest->raw;
  if (manifest->config && raw == models::EncodeManifest(*manifest->config, manifest->layers))
    raw.pop_back();
  const std::string media_type =
      manifest->media_type.empty() ? std::string(models::kManifestMediaType) : manifest->media_type;
  CORRAL_TRY_STATUS(remote_->PutManifest(request_.name.tag(), std::move(raw), media_type, stop_));
  on_progress_({.status = "success"});
  return {};
}

Status Push::PushBlob(const models::Layer& layer) {
  CORRAL_TRY(const bool is_there, remote_->HasBlob(layer.digest, stop_));
  if (!is_there) {
    // `from` may also be a file's name, which is no repository.
    const auto from = models::ModelName::Parse(layer.from);
    const bool may_mount = from && from->host() == request_.name.host();
    CORRAL_TRY(std::optional<Url> upload,
               remote_->StartUpload(
                   layer.digest, may_mount ? from->name_space() + "/" + from->model() : "", stop_));
    if (upload) CORRAL_TRY_STATUS(Upload(layer, *std::move(upload)));
  }
  Report(layer, layer.size, /*is_passing=*/false);
  return {};
}

Status Push::Upload(const models::Layer& layer, Url upload) {
  const UniqueFd file(::open(store_.BlobPath(layer.digest).c_str(), O_RDONLY | O_CLOEXEC));
  struct stat facts {};
  if (!file.is_valid() || ::fstat(file.get(), &facts) != 0)
    return Fail(ErrnoError(errno, "open blob " + layer.digest.ToString()));
  if (facts.st_size != layer.size)
    return Fail(Code::kCorrupt, "blob " + layer.digest.ToString() +
                                    " is not whole: pull or create the model again");
  n_failures_ = 0;
  std::int64_t offset = 0;
  Clock::time_point reported;
  const std::function<void(std::int64_t)> on_sent = [&](std::int64_t n_sent) {
    if (Clock::now() - reported < options_.progress_interval) return;
    reported = Clock::now();
    Report(layer, n_sent, /*is_passing=*/true);
  };
  Report(layer, 0, /*is_passing=*/true);
  for (;;) {
    if (stop_.StopRequested()) return Fail(stop_.ToError());
    Status status;
    if (offset < layer.size) {
      std::int64_t end = layer.size;
      for (const models::ByteRanges::Range& range : models::PlanParts(layer.size))
        if (offset >= range.begin && offset < range.end) end = range.end;
      FilePart part(file.get(), offset, end, on_sent);
      status = remote_->SendPart(&upload, offset, part, stop_);
      if (status) {
        offset = end;
        n_failures_ = 0;
        continue;
      }
    } else {
      std::string etag;
      if (remote_->has_storage()) {
        CORRAL_TRY(etag, EtagOf(file.get(), layer.size));
      }
      status = remote_->FinishUpload(upload, layer.digest, etag, stop_);
      if (status) return status;
    }
    CORRAL_TRY(const bool is_there, Recover(layer, std::move(status).error(), &upload, &offset));
    if (is_there) return {};
  }
}

Result<bool> Push::Recover(const models::Layer& layer, Error error, Url* upload,
                           std::int64_t* offset) {
  if (stop_.StopRequested()) return Fail(stop_.ToError());
  if (IsFinal(error.code)) return Fail(std::move(error));
  Log(LogLevel::kInfo, "a part of an upload failed and is tried again",
      {{"digest", layer.digest.ToString()}, {"error", error.message}});
  const std::int64_t before = *offset;
  for (;;) {
    if (++n_failures_ >= options_.max_tries)
      return Fail(std::move(error).Within("max retries exceeded"));
    if (!WaitFor(options_.retry_delay * (1 << std::min(n_failures_ - 1, 10)), stop_))
      return Fail(stop_.ToError());
    Result<std::int64_t> n_there = remote_->UploadedBytes(upload, stop_);
    if (n_there && *n_there <= layer.size) {
      *offset = *n_there;
      if (*offset > before) n_failures_ = 0;
      return false;
    }
    // The registry has forgotten the upload; or all came through, and only the answer did not.
    const auto begin_anew = [&]() -> Result<bool> {
      CORRAL_TRY(const bool is_there, remote_->HasBlob(layer.digest, stop_));
      if (is_there) return true;
      CORRAL_TRY(std::optional<Url> anew, remote_->StartUpload(layer.digest, "", stop_));
      if (!anew) return true;
      *upload = *std::move(anew);
      *offset = 0;
      return false;
    };
    Result<bool> is_there = begin_anew();
    if (is_there) return is_there;
    error = std::move(is_there).error();
    if (IsFinal(error.code)) return Fail(std::move(error));
  }
}

void Push::Report(const models::Layer& layer, std::int64_t completed, bool is_passing) {
  on_progress_({.status = "pushing " + layer.digest.hex().substr(0, 12),
                .digest = layer.digest.ToString(),
                .total = layer.size,
                .completed = completed,
                .is_passing = is_passing});
}

}  // namespace corral::registry::internal
