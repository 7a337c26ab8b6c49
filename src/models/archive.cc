#include "models/archive.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "core/files.h"
#include "core/text.h"
#include "models/internal/tar.h"

namespace corral::models {
namespace {

using internal::kTarBlock;
using internal::TarHeader;
using internal::TarPadding;

constexpr std::size_t kChunkBytes = 1U << 20U;
constexpr std::uint64_t kMostRecordBytes = 1U << 20U;    // pax records, long names
constexpr std::uint64_t kMostManifestBytes = 4U << 20U;  // as a store's own (docs/formats/store.md)
constexpr std::size_t kMostManifests = 16'384;
constexpr std::uint64_t kMostMemberBytes = 16ULL << 40U;  // as a blob in a registry's manifest

tl::unexpected<Error> Refuse(std::string why) {
  return Fail(Code::kInvalidArgument, std::move(why));
}

std::int64_t SecondsOf(std::chrono::system_clock::time_point time) {
  return std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
}

// ---- saving

Status SaveBlob(const std::filesystem::path& file, const Layer& layer, std::int64_t mtime_s,
                const ArchiveSink& sink, const StopToken& stop) {
  const auto size = static_cast<std::uint64_t>(std::max<std::int64_t>(layer.size, 0));
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_valid())
    return Fail(Code::kCorrupt, "layer " + layer.digest.ToString() + " is missing");
  CORRAL_TRY_STATUS(
      sink(internal::EncodeTarHeader({"blobs/" + layer.digest.FileName(), size, '0'}, mtime_s)));
  std::string chunk(kChunkBytes, '\0');
  std::uint64_t left = size;
  while (left > 0) {
    if (stop.StopRequested()) return Fail(stop.ToError());
    const ssize_t n = ::read(fd.get(), chunk.data(), std::min<std::uint64_t>(left, chunk.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Fail(ErrnoError(errno, "read layer " + layer.digest.ToString()));
    if (n == 0) return Fail(Code::kCorrupt, "layer " + layer.digest.ToString() + " is too short");
    CORRAL_TRY_STATUS(sink({chunk.data(), static_cast<std::size_t>(n)}));
    left -= static_cast<std::uint64_t>(n);
  }
  return sink(std::string(TarPadding(size), '\0'));
}

}  // namespace

Status SaveModels(Store& store, const std::vector<ModelName>& models, const ArchiveSink& sink,
                  const StopToken& stop) {
  std::vector<std::shared_ptr<const Model>> loaded;
  for (const ModelName& name : models) {
    CORRAL_TRY(auto model, store.Load(name));
    loaded.push_back(std::move(model));
  }
  std::set<Digest> written;
  for (const auto& model : loaded) {
    const std::int64_t mtime_s = SecondsOf(model->modified_at);
    std::vector<Layer> layers = model->manifest.layers;
    if (model->manifest.config) layers.push_back(*model->manifest.config);
    for (const Layer& layer : layers) {
      if (!written.insert(layer.digest).second) continue;
      CORRAL_TRY_STATUS(SaveBlob(store.BlobPath(layer.digest), layer, mtime_s, sink, stop));
    }
    const std::string& raw = model->manifest.raw;
    const std::string path = "manifests/" + model->name.Path().generic_string();
    CORRAL_TRY_STATUS(sink(internal::EncodeTarHeader({path, raw.size(), '0'}, mtime_s)));
    CORRAL_TRY_STATUS(sink(raw + std::string(TarPadding(raw.size()), '\0')));
  }
  return sink(std::string(2 * kTarBlock, '\0'));
}

// ---- loading

namespace {

class Loader {
 public:
  Loader(Store& store, const ArchiveSource& source, const StopToken& stop)
      : store_(store), source_(source), stop_(stop) {}

  Result<LoadedModels> Load() {
    for (;;) {
      CORRAL_TRY(std::optional<TarHeader> header, NextHeader());
      if (!header) break;
      CORRAL_TRY_STATUS(TakeMember(*header));
    }
    if (!has_members_) return Refuse("the archive is empty");
    std::vector<ModelName> names;
    for (auto& [name, manifest] : manifests_) {
      const auto missing = store_.CommitPull(name, manifest, {});
      if (!missing) {
        NoteProblem(missing.error());
      } else if (!missing->empty()) {
        NoteProblem({Code::kCorrupt, "the archive has model '" + name.Short() +
                                         "' without its layer " +
                                         missing->front().digest.ToString()});
      } else {
        names.push_back(name);
      }
    }
    if (problem_ && names.empty()) return Fail(*std::move(problem_));
    return LoadedModels{std::move(names), std::move(problem_)};
  }

 private:
  // Exactly so many bytes.
  Status Read(std::span<char> buffer) {
    if (stop_.StopRequested()) return Fail(stop_.ToError());
    while (!buffer.empty()) {
      CORRAL_TRY(const std::size_t n, source_(buffer));
      if (n == 0) return Refuse("the archive ends in the middle");
      buffer = buffer.subspan(n);
    }
    return {};
  }

  Result<std::string> ReadText(std::uint64_t size) {
    std::string text(size, '\0');
    CORRAL_TRY_STATUS(Read(text));
    CORRAL_TRY_STATUS(Skip(TarPadding(size)));
    return text;
  }

  Status Skip(std::uint64_t size) {
    while (size > 0) {
      const std::size_t n = std::min<std::uint64_t>(size, chunk_.size());
      CORRAL_TRY_STATUS(Read({chunk_.data(), n}));
      size -= n;
    }
    return {};
  }

  // Of the next file or folder, with what pax and GNU say in front of it. nullopt: the end.
  Result<std::optional<TarHeader>> NextHeader() {
    internal::PaxRecords records;
    for (;;) {
      std::array<char, kTarBlock> block{};
      // Some programs leave out the blocks of zeros.
      CORRAL_TRY(const std::size_t n, source_(block));
      if (n == 0) return std::optional<TarHeader>();
      CORRAL_TRY_STATUS(Read(std::span(block).subspan(n)));
      CORRAL_TRY(std::optional<TarHeader> header, internal::DecodeTarHeader(block));
      if (!header) return header;
      has_members_ = true;
      if (header->type != 'x' && header->type != 'g' && header->type != 'L') {
        if (records.path) header->path = *records.path;
        if (records.size) header->size = *records.size;
        if (header->size > kMostMemberBytes) return Refuse("a member of the archive is too large");
        return header;
      }
      if (header->size > kMostRecordBytes) return Refuse("a record in the archive is too long");
      CORRAL_TRY(const std::string text, ReadText(header->size));
      if (header->type == 'L') {
        records.path = text.substr(0, text.find('\0'));
      } else if (header->type == 'x') {
        CORRAL_TRY(internal::PaxRecords more, internal::DecodePax(text));
        if (more.path) records.path = std::move(more.path);
        if (more.size) records.size = more.size;
      }
    }
  }

  Status TakeMember(const TarHeader& header) {
    std::string_view path = header.path;
    if (path.starts_with('/')) return Unsafe(header, "is absolute");
    for (const std::string_view part : Split(path, '/')) {
      if (part == "..") return Unsafe(header, "leads out of its folder");
    }
    if (header.type == '5') return Skip(header.size + TarPadding(header.size));
    if (header.type != '0' && header.type != '7') return Unsafe(header, "is no plain file");
    while (path.starts_with("./")) path.remove_prefix(2);
    if (path.starts_with("blobs/")) {
      if (const auto digest = Digest::Parse(path.substr(6)); digest && path.substr(6).size() == 71)
        return TakeBlob(*digest, header.size);
    } else if (path.starts_with("manifests/")) {
      const auto name = ModelName::FromPath(std::filesystem::path(path.substr(10)));
      if (name) return TakeManifest(*name, header.size);
    }
    return Skip(header.size + TarPadding(header.size));
  }

  static Status Unsafe(const TarHeader& header, std::string_view why) {
    return Refuse("the archive was not made by `corral save`: its member " + GoQuote(header.path) +
                  " " + std::string(why));
  }

  Status TakeBlob(const Digest& digest, std::uint64_t size) {
    if (store_.HasBlob(digest)) return Skip(size + TarPadding(size));
    CORRAL_TRY(const auto blob, store_.NewBlob());
    for (std::uint64_t left = size; left > 0;) {
      const std::size_t n = std::min<std::uint64_t>(left, chunk_.size());
      CORRAL_TRY_STATUS(Read({chunk_.data(), n}));
      CORRAL_TRY_STATUS(blob->Append({chunk_.data(), n}));
      left -= n;
    }
    CORRAL_TRY_STATUS(Skip(TarPadding(size)));
    return blob->Commit(digest);
  }

  Status TakeManifest(const ModelName& name, std::uint64_t size) {
    if (size > kMostManifestBytes) return Refuse("a manifest in the archive is too large");
    if (manifests_.size() == kMostManifests) return Refuse("the archive has too many models");
    CORRAL_TRY(std::string raw, ReadText(size));
    auto manifest = ParseManifest(std::move(raw));
    if (!manifest) {  // of a live store: it was just being written
      NoteProblem(std::move(manifest).error().Within("manifest of " + name.Short()));
      return {};
    }
    manifests_.emplace_back(name, *std::move(manifest));
    return {};
  }

  // Of one model: the others are loaded all the same.
  void NoteProblem(Error error) {
    if (!problem_) problem_ = std::move(error);
  }

  Store& store_;
  const ArchiveSource& source_;
  const StopToken& stop_;
  std::optional<Error> problem_;  // the first one
  std::string chunk_ = std::string(kChunkBytes, '\0');
  std::vector<std::pair<ModelName, Manifest>> manifests_;
  bool has_members_ = false;
};

}  // namespace

Result<LoadedModels> LoadModels(Store& store, const ArchiveSource& source, const StopToken& stop) {
  CORRAL_TRY_STATUS(store.CheckWritable());
  return Loader(store, source, stop).Load();
}

}  // namespace corral::models
