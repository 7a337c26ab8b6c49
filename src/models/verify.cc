// Store::Verify and Store::RemoveBroken.
#include "models/verify.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <vector>

#include "core/sha256.h"
#include "models/internal/state.h"
#include "models/store.h"

namespace corral::models {

using internal::LookThrough;

namespace {

// Of a file's bytes; nullopt if it is gone. Errors: kIo, what `stop` says.
Result<std::optional<Digest>> HashFile(const std::filesystem::path& path, const StopToken& stop,
                                       const std::function<void(std::uint64_t)>& on_bytes) {
  constexpr std::size_t kChunkBytes = 1U << 20U;
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.is_valid() && errno == ENOENT) return std::optional<Digest>();
  if (!fd.is_valid()) return Fail(ErrnoError(errno, "read " + path.filename().native()));
  Sha256 hash;
  std::vector<char> chunk(kChunkBytes);
  for (;;) {
    if (stop.StopRequested()) return Fail(stop.ToError());
    const ssize_t n = ::read(fd.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Fail(ErrnoError(errno, "read " + path.filename().native()));
    if (n == 0) break;
    hash.Update({chunk.data(), static_cast<std::size_t>(n)});
    on_bytes(static_cast<std::uint64_t>(n));
  }
  return std::optional(Digest::OfHash(hash.Finish()));
}

struct Needed {
  std::filesystem::path path;
  std::int64_t size = 0;
  std::vector<ModelName> models;
};

}  // namespace

Result<VerifyReport> Store::Verify(
    const std::function<void(std::uint64_t done, std::uint64_t total)>& progress, StopToken stop) {
  State& state = *state_;
  VerifyReport report;
  std::map<Digest, Needed> needed;
  std::vector<const internal::Layout*> folders = {&state.layout};
  for (const internal::Layout& other : state.others) folders.push_back(&other);
  for (const internal::Layout* folder : folders) {
    for (const internal::ManifestFile& file : internal::WalkManifests(*folder, false)) {
      if (!file.name) continue;
      const auto stored = internal::ReadManifest(state.files, *folder, *file.name);
      if (!stored && stored.error().code == Code::kNotFound) continue;  // deleted meanwhile
      if (!stored) {
        report.bad_manifests.push_back(file.relative.native());
        continue;
      }
      ++report.n_models;
      std::vector<Layer> layers = stored->manifest.layers;
      if (stored->manifest.config) layers.push_back(*stored->manifest.config);
      for (const Layer& layer : layers) {
        Needed& blob = needed[layer.digest];
        if (blob.path.empty()) blob.path = folder->BlobPath(layer.digest);
        blob.size = layer.size;
        if (blob.models.empty() || !(blob.models.back() == *file.name))
          blob.models.push_back(*file.name);
      }
    }
  }
  std::uint64_t total = 0;
  for (const auto& [digest, blob] : needed)
    total += static_cast<std::uint64_t>(std::max<std::int64_t>(blob.size, 0));
  for (const auto& [digest, blob] : needed) {
    ++report.n_blobs;
    const auto facts = LookThrough(blob.path);
    std::string what;
    if (!facts || !facts->is_regular) {
      what = "is missing";
    } else if (static_cast<std::int64_t>(facts->size_bytes) != blob.size) {
      what = "has " + std::to_string(facts->size_bytes) + " of " + std::to_string(blob.size) +
             " bytes";
    } else {
      CORRAL_TRY(const std::optional<Digest> actual,
                 HashFile(blob.path, stop, [&](std::uint64_t n) {
                   report.n_bytes += n;
                   if (progress) progress(report.n_bytes, total);
                 }));
      if (!actual) {
        what = "is missing";
      } else if (*actual != digest) {
        what = "has other bytes";
      }
    }
    if (!what.empty()) report.broken.push_back({digest, std::move(what), blob.models});
  }
  return report;
}

Status Store::RemoveBroken(const Digest& digest) {
  State& state = *state_;
  auto owned = state.blobs.lock().Own();
  if (!owned) return Fail(internal::AsStoreError(std::move(owned).error()));
  const std::filesystem::path path = state.layout.BlobPath(digest);
  // It may have been written again since it was found to be broken.
  CORRAL_TRY(const std::optional<Digest> actual, HashFile(path, {}, [](std::uint64_t) {}));
  if (!actual || *actual == digest) return {};
  Status removed = state.files.Remove(path);
  if (!removed) return Fail(internal::AsStoreError(std::move(removed).error()));
  return {};
}

}  // namespace corral::models
