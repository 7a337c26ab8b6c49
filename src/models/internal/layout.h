// Where things lie in a store, and the only walk through manifests/. See docs/formats/store.md.
//
// Names become paths by ModelName::Path() and Digest::FileName() alone, which hold no separator and
// no "..". Links below manifests/ are not followed (a manifest may be deleted; nothing outside the
// store may). Thread-safe. Blocking (disk).
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/result.h"
#include "models/manifest.h"
#include "models/name.h"

namespace corral::models::internal {

using FileTime = std::chrono::system_clock::time_point;

// What lstat or stat says of a path; nullopt if there is nothing, or nothing that can be looked at.
struct FileFacts {
  bool is_regular = false, is_folder = false, is_link = false;
  std::uint64_t device = 0, inode = 0, size_bytes = 0;
  FileTime modified_at;
  FileTime changed_at;  // of anything about it, by the system's clock: nobody can set it
  bool operator==(const FileFacts&) const = default;
};
std::optional<FileFacts> Look(const std::filesystem::path& path);         // of a link itself
std::optional<FileFacts> LookThrough(const std::filesystem::path& path);  // of what a link leads to

struct Layout {
  explicit Layout(std::filesystem::path store_root);

  std::filesystem::path root, manifests, blobs;
  std::filesystem::path own;       // .corral: locks and marks; Ollama never looks there
  std::filesystem::path accepted;  // .corral/accepted: blobs that a client has uploaded or asked
                                   // for, and no model uses yet

  std::filesystem::path ManifestPath(const ModelName& name) const {
    return manifests / name.Path();
  }
  std::filesystem::path BlobPath(const Digest& digest) const { return blobs / digest.FileName(); }
  std::filesystem::path PartialPath(const Digest& digest) const {
    return blobs / (digest.FileName() + "-partial");
  }
};

struct ManifestFile {
  std::filesystem::path path;      // absolute
  std::filesystem::path relative;  // to manifests/
  std::optional<ModelName> name;   // nullopt: an odd name (".DS_Store")
  FileFacts facts;
};
// Every file at the fourth level of manifests/, sorted by path. What lies behind links is listed
// only if `follows_links`: reading it keeps blobs alive, and no more is done with it. `unreadable`
// gets the folders (relative to the store) in which something may be that this process cannot see.
std::vector<ManifestFile> WalkManifests(const Layout& layout, bool follows_links,
                                        std::vector<std::string>* unreadable = nullptr);

// The stored name that equals `name`, exactly if there is one, else without regard to case.
std::optional<ModelName> FindName(const Layout& layout, const ModelName& name);

// True if no folder of the name's path, nor the manifest itself, is a link (or something odd).
bool IsPlainPath(const Layout& layout, const ModelName& name);

struct StoredManifest {
  Manifest manifest;
  FileTime modified_at;
};
// Errors: kNotFound, kCorrupt, kIo, kForbidden.
Result<StoredManifest> ReadManifest(FileSystem& files, const Layout& layout, const ModelName& name);
Result<Manifest> ReadManifestFile(FileSystem& files, const std::filesystem::path& path);

// Digests that some readable manifest names.
struct References {
  std::set<Digest> digests;
  std::vector<std::string> corrupt;  // manifests that are none, relative to manifests/
  // Folders and manifests that could not be read, relative to the store. Where there are any,
  // nobody knows which blobs are in use: none may be removed.
  std::vector<std::string> unreadable;
};
References CollectReferences(FileSystem& files, const Layout& layout);
void AddDigests(const Manifest& manifest, std::set<Digest>* digests);

// Removes a folder below manifests/ if it is empty, and then its parents, up to manifests/ itself.
void RemoveEmptyFolders(const Layout& layout, std::filesystem::path folder);
// All empty folders below manifests/.
void RemoveAllEmptyFolders(const Layout& layout);

// kForbidden as a clear text without a path; other errors as they are.
Error AsStoreError(Error error);

}  // namespace corral::models::internal
