#include "models/internal/prune.h"

#include <unistd.h>

#include <cerrno>

#include "core/log.h"
#include "models/internal/partial_files.h"

namespace corral::models::internal {

namespace fs = std::filesystem;

namespace {

bool IsOld(const FileFacts& facts) {
  return facts.modified_at < std::chrono::system_clock::now() - kGrace;
}

std::vector<fs::path> EntriesOf(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    entries.push_back(at->path());
  }
  return entries;
}

// Not synced, unlike other removals: thousands of files may go before a server answers, and what a
// power cut brings back goes at the next start.
void Remove(const fs::path& file, std::size_t* n_removed) {
  if (::unlink(file.c_str()) == 0) {
    ++*n_removed;
  } else if (errno != ENOENT) {
    Log(LogLevel::kWarn, "cannot remove a stray file",
        {{"file", file.filename().native()}, {"error", ErrnoError(errno, "remove file").message}});
  }
}

// Ollama's server/fixblobs.go: before 2024 a blob's name had the digest's colon.
void RenameOldBlobs(FileSystem& files, const fs::path& folder, int depth) {
  for (const fs::path& entry : EntriesOf(folder)) {
    const auto facts = Look(entry);
    if (!facts) continue;
    const std::string name = entry.filename().native();
    if (facts->is_folder) {
      if (depth < 8) RenameOldBlobs(files, entry, depth + 1);
    } else if (name.starts_with("sha256:")) {
      const fs::path target = folder / ("sha256-" + name.substr(7));
      if (const Status status = files.Rename(entry, target); !status) {
        Log(LogLevel::kWarn, "cannot rename a blob of the old form",
            {{"file", name}, {"error", status.error().message}});
      }
    }
  }
}

// Ours, of a server that was killed. Those that are being written are held alive.
void RemoveOwnTemporaries(const fs::path& folder, std::string_view prefix) {
  std::size_t n_removed = 0;
  for (const fs::path& entry : EntriesOf(folder)) {
    if (!entry.filename().native().starts_with(prefix)) continue;
    const auto facts = Look(entry);
    if (facts && facts->is_regular && IsOld(*facts) && !IsAlive(entry)) Remove(entry, &n_removed);
  }
}

void RemoveOldMarks(const Layout& layout) {
  std::size_t n_removed = 0;
  for (const fs::path& entry : EntriesOf(layout.accepted)) {
    const auto facts = Look(entry);
    if (facts && facts->is_regular && IsOld(*facts)) Remove(entry, &n_removed);
  }
}

// Downloads that run, or of which any file is young. A partial file and its state files stay or go
// together: some of them alone would make the next pull begin with wrong bytes.
std::set<std::string> LiveDownloads(const Layout& layout, const std::vector<fs::path>& entries) {
  std::set<std::string> live;
  for (const fs::path& entry : entries) {
    const auto group = PartialGroup(entry.filename().native());
    if (!group || live.count(*group) != 0) continue;
    const auto facts = Look(entry);
    if ((facts && !IsOld(*facts)) || IsAlive(layout.blobs / *group)) live.insert(*group);
  }
  return live;
}

// Ollama's PruneLayers (server/images.go).
void PruneBlobs(Blobs& blobs) {
  const Layout& layout = blobs.layout();
  const References references = CollectReferences(blobs.files(), layout);
  if (!references.corrupt.empty()) {
    Log(LogLevel::kWarn,
        "corrupt manifests detected, skipping prune operation.  Re-pull or delete to clear",
        {{"manifest", references.corrupt.front()}});
    return;
  }
  if (!references.unreadable.empty()) {
    Log(LogLevel::kWarn, "a part of the store cannot be read, skipping prune operation",
        {{"path", references.unreadable.front()}});
    return;
  }
  const std::vector<fs::path> entries = EntriesOf(layout.blobs);
  const std::set<std::string> downloads = LiveDownloads(layout, entries);
  std::size_t n_total = 0;
  std::size_t n_removed = 0;
  for (const fs::path& entry : entries) {
    const auto facts = Look(entry);
    if (!facts || facts->is_folder) continue;
    ++n_total;
    if (!IsOld(*facts)) continue;
    const std::string name = entry.filename().native();
    const auto digest = Digest::Parse(name);
    const auto group = PartialGroup(name);
    bool is_needed = false;
    if (digest) {
      is_needed = references.digests.count(*digest) != 0 || blobs.IsAccepted(*digest);
    } else if (group) {
      is_needed = downloads.count(*group) != 0;
    } else {
      is_needed = IsAlive(entry);
    }
    if (!is_needed) Remove(entry, &n_removed);
  }
  Log(LogLevel::kInfo, "total blobs: " + std::to_string(n_total));
  Log(LogLevel::kInfo, "total unused blobs removed: " + std::to_string(n_removed));
  RemoveAllEmptyFolders(layout);
}

}  // namespace

void TidyAtStart(Blobs& blobs, bool is_prune_enabled) {
  const auto owned = blobs.lock().TryOwn();
  if (!owned) {
    Log(LogLevel::kInfo, "the model store cannot be written: serving the models that it has",
        {{"error", owned.error().message}});
    return;
  }
  if (!owned->has_value()) {
    Log(LogLevel::kInfo, "another server is writing to the model store: not pruning");
    return;
  }
  const Layout& layout = blobs.layout();
  RenameOldBlobs(blobs.files(), layout.blobs, 0);
  RemoveOwnTemporaries(layout.blobs, kTemporaryBlobPrefix);
  RemoveOwnTemporaries(layout.manifests, kTemporaryManifestPrefix);
  RemoveOldMarks(layout);
  if (is_prune_enabled) PruneBlobs(blobs);
}

}  // namespace corral::models::internal
