#include "models/internal/layout.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "core/text.h"

namespace corral::models::internal {

namespace fs = std::filesystem;

namespace {

FileTime TimeOf(const timespec& time) {
  return FileTime(std::chrono::duration_cast<FileTime::duration>(
      std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec)));
}

FileFacts FactsOf(const struct stat& st) {
  FileFacts facts;
  facts.is_regular = S_ISREG(st.st_mode);
  facts.is_folder = S_ISDIR(st.st_mode);
  facts.is_link = S_ISLNK(st.st_mode);
  facts.device = st.st_dev;
  facts.inode = st.st_ino;
  facts.size_bytes = st.st_size > 0 ? static_cast<std::uint64_t>(st.st_size) : 0;
  facts.modified_at = TimeOf(st.st_mtim);
  facts.changed_at = TimeOf(st.st_ctim);
  return facts;
}

// Names in a folder, sorted; empty if it cannot be read.
std::vector<std::string> NamesIn(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().native());
  }
  std::sort(names.begin(), names.end());
  return names;
}

constexpr int kLevels = 4;  // host, namespace, model, tag

// An open folder. Thousands of entries are looked at by its descriptor, which spares the system the
// way through all the folders above them.
class Folder {
 public:
  Folder(int parent_fd, const char* name, bool follows_links) {
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follows_links ? 0 : O_NOFOLLOW);
    UniqueFd fd(::openat(parent_fd, name, flags));
    if (fd.is_valid()) stream_.reset(::fdopendir(fd.get()));
    if (stream_) {
      (void)fd.Release();
    } else {
      // Gone meanwhile, no folder, or a link that is not followed: there is nothing to read.
      is_readable_ = errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
    }
  }

  int fd() const { return ::dirfd(stream_.get()); }

  struct Entry {
    std::string name;
    unsigned char type;  // DT_DIR and so on; DT_UNKNOWN: the file system does not say
    bool operator<(const Entry& other) const { return name < other.name; }
  };
  // Sorted by name; empty if the folder cannot be read.
  std::vector<Entry> Entries() {
    std::vector<Entry> entries;
    if (!stream_) return entries;
    errno = 0;
    while (const dirent* entry = ::readdir(stream_.get())) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") entries.push_back({std::string(name), entry->d_type});
      errno = 0;
    }
    if (errno != 0 && errno != ENOENT) is_readable_ = false;
    std::sort(entries.begin(), entries.end());
    return entries;
  }

  std::optional<FileFacts> Look(const std::string& name, bool follows_link) {
    struct stat st {};
    if (::fstatat(fd(), name.c_str(), &st, follows_link ? 0 : AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) is_readable_ = false;
      return std::nullopt;
    }
    return FactsOf(st);
  }

  // False once something in it could not be looked at: what was found is not all there is.
  bool is_readable() const { return is_readable_; }

 private:
  struct Close {
    void operator()(DIR* stream) const { ::closedir(stream); }
  };
  std::unique_ptr<DIR, Close> stream_;
  bool is_readable_ = true;
};

void Walk(const Layout& layout, Folder& folder, const fs::path& relative, int level,
          bool follows_links, std::vector<ManifestFile>* found,
          std::vector<std::string>* unreadable) {
  for (const Folder::Entry& entry : folder.Entries()) {
    if (entry.type == DT_LNK && !follows_links) continue;
    const bool may_be_folder = entry.type != DT_REG;
    const bool may_be_file = entry.type != DT_DIR;
    if (level < kLevels && may_be_folder) {
      Folder below(folder.fd(), entry.name.c_str(), follows_links);
      Walk(layout, below, relative / entry.name, level + 1, follows_links, found, unreadable);
    } else if (level == kLevels && may_be_file) {
      const auto facts = folder.Look(entry.name, follows_links);
      if (!facts || !facts->is_regular) continue;
      fs::path path = relative / entry.name;
      auto name = ModelName::FromPath(path);
      found->push_back({layout.manifests / path, std::move(path), std::move(name), *facts});
    }
  }
  if (unreadable != nullptr && !folder.is_readable())
    unreadable->push_back((fs::path("manifests") / relative).native());
}

bool EqualsFolded(const std::string& a, const std::string& b) {
  return a.size() == b.size() && ToLowerAscii(a) == ToLowerAscii(b);
}

// Depth first through the entries that equal the name's parts without regard to case.
std::optional<ModelName> FindFolded(const Layout& layout, const std::vector<std::string>& parts,
                                    const fs::path& relative, std::size_t level) {
  if (level == parts.size()) return ModelName::FromPath(relative);
  const bool is_last = level + 1 == parts.size();
  for (const std::string& entry : NamesIn(layout.manifests / relative)) {
    if (!EqualsFolded(entry, parts[level])) continue;
    const auto facts = Look(layout.manifests / relative / entry);
    if (!facts || !(is_last ? facts->is_regular : facts->is_folder)) continue;
    if (auto found = FindFolded(layout, parts, relative / entry, level + 1)) return found;
  }
  return std::nullopt;
}

}  // namespace

std::optional<FileFacts> Look(const fs::path& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return std::nullopt;
  return FactsOf(st);
}

std::optional<FileFacts> LookThrough(const fs::path& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return std::nullopt;
  return FactsOf(st);
}

Layout::Layout(fs::path store_root)
    : root(std::move(store_root)),
      manifests(root / "manifests"),
      blobs(root / "blobs"),
      own(root / ".corral"),
      accepted(own / "accepted") {}

std::vector<ManifestFile> WalkManifests(const Layout& layout, bool follows_links,
                                        std::vector<std::string>* unreadable) {
  std::vector<ManifestFile> found;
  // manifests/ itself may be a link.
  Folder manifests(AT_FDCWD, layout.manifests.c_str(), /*follows_links=*/true);
  Walk(layout, manifests, {}, 1, follows_links, &found, unreadable);
  return found;
}

bool IsPlainPath(const Layout& layout, const ModelName& name) {
  const fs::path relative = name.Path();
  fs::path path = layout.manifests;
  int level = 0;
  for (const fs::path& part : relative) {
    path /= part;
    ++level;
    const auto facts = Look(path);
    if (!facts) return true;  // nothing there yet
    if (!(level == kLevels ? facts->is_regular : facts->is_folder)) return false;
  }
  return true;
}

std::optional<ModelName> FindName(const Layout& layout, const ModelName& name) {
  const auto exact = Look(layout.ManifestPath(name));
  if (exact && exact->is_regular && IsPlainPath(layout, name)) return name;
  return FindFolded(layout, {name.host(), name.name_space(), name.model(), name.tag()}, {}, 0);
}

Result<Manifest> ReadManifestFile(FileSystem& files, const fs::path& path) {
  auto raw = files.Read(path, kMaxManifestBytes);
  if (!raw) {
    if (raw.error().code == Code::kTooLarge) return Fail(Code::kCorrupt, "manifest is too large");
    return Fail(std::move(raw).error());
  }
  return ParseManifest(std::move(*raw));
}

Result<StoredManifest> ReadManifest(FileSystem& files, const Layout& layout,
                                    const ModelName& name) {
  const fs::path path = layout.ManifestPath(name);
  const auto facts = Look(path);
  if (!facts || !facts->is_regular || !IsPlainPath(layout, name)) {
    return Fail(Code::kNotFound, "model '" + name.Short() + "' not found");
  }
  auto manifest = ReadManifestFile(files, path);
  if (!manifest) return Fail(std::move(manifest).error().Within("manifest of " + name.Short()));
  return StoredManifest{std::move(*manifest), facts->modified_at};
}

void AddDigests(const Manifest& manifest, std::set<Digest>* digests) {
  for (const Layer& layer : manifest.layers) digests->insert(layer.digest);
  if (manifest.config) digests->insert(manifest.config->digest);
}

References CollectReferences(FileSystem& files, const Layout& layout) {
  References references;
  for (const ManifestFile& file :
       WalkManifests(layout, /*follows_links=*/true, &references.unreadable)) {
    const auto manifest = ReadManifestFile(files, file.path);
    if (manifest) {
      AddDigests(*manifest, &references.digests);
    } else if (file.name && manifest.error().code == Code::kCorrupt) {
      references.corrupt.push_back(file.relative.native());
    } else if (file.name && manifest.error().code != Code::kNotFound) {
      references.unreadable.push_back((fs::path("manifests") / file.relative).native());
    }
  }
  return references;
}

void RemoveEmptyFolders(const Layout& layout, fs::path folder) {
  // rmdir refuses a folder that is not empty, and a link.
  for (int level = 0; level < kLevels; ++level) {
    if (::rmdir(folder.c_str()) != 0 || folder == layout.manifests) return;
    folder = folder.parent_path();
  }
}

namespace {
void RemoveEmptyBelow(const fs::path& folder, int level) {
  if (level < kLevels) {
    for (const std::string& entry : NamesIn(folder)) {
      const auto facts = Look(folder / entry);
      if (facts && facts->is_folder) RemoveEmptyBelow(folder / entry, level + 1);
    }
  }
  ::rmdir(folder.c_str());
}
}  // namespace

void RemoveAllEmptyFolders(const Layout& layout) {
  const auto facts = Look(layout.manifests);
  if (facts && facts->is_folder) RemoveEmptyBelow(layout.manifests, 0);
}

Error AsStoreError(Error error) {
  if (error.code == Code::kForbidden)
    error.message = "the model store cannot be written: permission denied or read-only";
  return error;
}

}  // namespace corral::models::internal
