#include "models/store.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/log.h"
#include "core/text.h"
#include "models/blob_file.h"
#include "models/internal/layout.h"
#include "models/internal/list_cache.h"
#include "models/internal/model_reader.h"
#include "models/internal/prune.h"
#include "models/internal/random_name.h"
#include "models/internal/state.h"

namespace corral::models {

using internal::AsStoreError;
using internal::LookThrough;
using internal::StoredManifest;
using internal::StoreLock;

namespace {

constexpr std::size_t kMaxCachedModels = 16;
constexpr std::size_t kMaxSaid = 1024;

std::vector<Digest> WeightsOf(const Manifest& manifest) {
  std::vector<Digest> weights;
  for (const Layer& layer : manifest.layers) {
    const std::string_view kind = layer.Kind();
    if (kind == "model" || kind == "projector") weights.push_back(layer.digest);
  }
  return weights;
}

// What a model's small layers and GGUF headers depend on: its manifest's bytes, and the files that
// are not named by their hash to us (a blob may be replaced by hand, or lie behind a link).
std::string ModelKey(const internal::Layout& layout, const std::string& manifest_digest,
                     const std::vector<Digest>& weights) {
  std::string key = manifest_digest;
  for (const Digest& digest : weights) {
    const auto facts = LookThrough(layout.BlobPath(digest));
    if (!facts) {
      key.append("/-");
      continue;
    }
    for (const std::int64_t part :
         {static_cast<std::int64_t>(facts->device), static_cast<std::int64_t>(facts->inode),
          static_cast<std::int64_t>(facts->size_bytes),
          static_cast<std::int64_t>(facts->modified_at.time_since_epoch().count())}) {
      key.append("/").append(std::to_string(part));
    }
  }
  return key;
}

// A file that was changed just now may change again without its times telling: a file system's
// clock ticks every few milliseconds, or (whole seconds) every second or two.
bool IsSettled(const internal::FileFacts& facts) {
  const auto age = std::chrono::system_clock::now() - facts.changed_at;
  const bool is_coarse =
      facts.changed_at == std::chrono::floor<std::chrono::seconds>(facts.changed_at);
  return age > (is_coarse ? std::chrono::milliseconds(2500) : std::chrono::milliseconds(50));
}

std::int64_t CountOf(const gguf::Info* info, std::string_view key, std::int64_t otherwise) {
  const auto value = info ? info->ArchUint(key) : std::nullopt;
  return value && *value > 0 && *value <= 0x7FFF'FFFF'FFFF'FFFFU ? static_cast<std::int64_t>(*value)
                                                                 : otherwise;
}

ModelSummary Summarize(const Model& model, std::optional<bool> go_template) {
  return {
      .name = model.name,
      .digest = model.manifest.digest,
      .size_bytes = model.manifest.TotalBytes(),
      .modified_at = model.modified_at,
      .config = model.config,
      .capabilities = model.Capabilities(go_template),
      .context_length = CountOf(model.info.get(), "context_length", model.config.context_length),
      .embedding_length =
          CountOf(model.info.get(), "embedding_length", model.config.embedding_length)};
}

std::int64_t WholeSeconds(std::chrono::system_clock::time_point time) {
  return std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
}

}  // namespace

Store::Store(std::unique_ptr<State> state) : state_(std::move(state)) {}
Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::Open(std::filesystem::path root, StoreOptions options) {
  if (root.has_relative_path() && root.filename().empty()) root = root.parent_path();  // "models/"
  for (auto& folder : options.more_folders) {
    if (folder.has_relative_path() && folder.filename().empty()) folder = folder.parent_path();
    if (const auto facts = LookThrough(folder); !facts || !facts->is_folder)
      Log(LogLevel::kWarn, "a folder of models is not there", {{"folder", folder.native()}});
  }
  auto state = std::make_unique<State>(std::move(root), options);
  const auto made = [&]() -> Status {
    if (options.is_read_only) return {};
    CORRAL_TRY_STATUS(state->files.MakeFolders(state->layout.blobs));
    return state->files.MakeFolders(state->layout.manifests);
  }();
  if (!made && made.error().code != Code::kForbidden) {
    return Fail(Code::kIo, "cannot create the model store in " + state->layout.root.string() +
                               ": " + made.error().message +
                               ": ensure path elements are traversable");
  }
  const auto facts = LookThrough(state->layout.root);
  if (!facts || !facts->is_folder || ::access(state->layout.root.c_str(), R_OK | X_OK) != 0) {
    const std::string why = made ? "permission denied" : made.error().message;
    return Fail(Code::kIo, "cannot open the model store in " + state->layout.root.string() + ": " +
                               why + ": ensure path elements are traversable");
  }
  internal::TidyAtStart(state->blobs, options.is_prune_enabled);
  return std::unique_ptr<Store>(new Store(std::move(state)));
}

const std::filesystem::path& Store::root() const { return state_->layout.root; }
std::filesystem::path Store::BlobPath(const Digest& digest) const {
  const std::filesystem::path path = state_->blobs.PathOf(digest);
  return path.empty() ? state_->layout.BlobPath(digest) : path;
}
bool Store::HasBlob(const Digest& digest) { return state_->blobs.Accept(digest); }
Result<std::unique_ptr<BlobWriter>> Store::NewBlob() { return state_->blobs.New(); }
Result<std::unique_ptr<BlobFile>> Store::NewBlobFile() { return state_->blobs.NewFile(); }

std::string Store::ClaimUploads(const std::vector<Digest>& digests) {
  std::string claim = internal::RandomName();
  if (const auto shared = state_->blobs.lock().Share()) {
    for (const Digest& digest : digests) state_->blobs.Claim(*shared, digest, claim);
  }
  return claim;
}

void Store::DropUploads(const std::vector<Digest>& digests, const std::string& claim) {
  if (!state_->options.is_prune_enabled || digests.empty()) return;
  const std::set<Digest> candidates(digests.begin(), digests.end());
  const auto owned = state_->blobs.lock().Own();
  if (!owned) return;
  for (const Digest& digest : candidates) state_->blobs.ForgetClaimed(*owned, digest, claim);
  state_->blobs.RemoveUnused(*owned, candidates);
}

bool Store::State::IsFirst(const std::string& what) {
  const MutexLock lock(mutex);
  if (said.size() >= kMaxSaid) said.clear();
  return said.insert(what).second;
}

std::optional<Store::State::Place> Store::State::Find(const ModelName& name) const {
  if (auto found = internal::FindName(layout, name)) return Place{&layout, *std::move(found)};
  for (const internal::Layout& other : others) {
    if (auto found = internal::FindName(other, name)) return Place{&other, *std::move(found)};
  }
  return std::nullopt;
}

ModelName Store::Existing(const ModelName& name) {
  const auto place = state_->Find(name);
  return place ? place->name : name;
}

void Store::State::ListFolder(const internal::Layout& folder, Listing* listing) {
  State& state = *this;
  for (const internal::ManifestFile& file :
       internal::WalkManifests(folder, /*follows_links=*/false)) {
    const std::string& path = file.relative.native();
    if (!file.name) {
      if (state.IsFirst("name " + path))
        Log(LogLevel::kWarn, "bad manifest name", {{"path", path}});
      continue;
    }
    // A model of an earlier folder hides it.
    if (!listing->names.insert(ToLowerAscii(file.name->Full())).second) continue;
    auto summary = FindKept(folder, file, listing);
    if (!summary) {
      const bool is_settled = IsSettled(file.facts);  // before it is read
      auto manifest = internal::ReadManifestFile(state.files, file.path);
      if (!manifest) {
        const Error& error = manifest.error();
        const bool is_gone = error.code == Code::kNotFound;  // deleted since the walk
        if (!is_gone && state.IsFirst("manifest " + path + error.message)) {
          Log(LogLevel::kWarn, "bad manifest", {{"path", path}, {"error", error.message}});
        }
        continue;
      }
      internal::KnownManifest known{file.facts, manifest->digest, WeightsOf(*manifest)};
      const std::string key = ModelKey(folder, known.digest, known.weights);
      {
        const MutexLock lock(state.mutex);
        const auto found = state.kept.summaries.find(key);
        if (found != state.kept.summaries.end()) summary = found->second;
      }
      if (!summary) {
        auto model = internal::ReadModel(state.files, folder, *file.name,
                                         {*manifest, file.facts.modified_at});
        if (!model) {
          if (state.IsFirst("layers " + key)) {
            Log(LogLevel::kWarn, "bad model",
                {{"model", file.name->Short()}, {"error", model.error().message}});
          }
          // It is listed, so that it can be seen and removed, and not kept: it may be repaired.
          listing->models.push_back(Summarize(Model{.name = *file.name,
                                                    .manifest = *std::move(manifest),
                                                    .modified_at = file.facts.modified_at},
                                              state.options.go_template));
          continue;
        }
        summary =
            std::make_shared<const ModelSummary>(Summarize(*model, state.options.go_template));
        listing->has_new = true;
      }
      if (is_settled) {
        listing->kept.manifests.insert_or_assign(file.path.native(), std::move(known));
        listing->has_new = true;
      }
      listing->kept.summaries.emplace(key, summary);
    }
    listing->models.push_back(*summary);
    listing->models.back().name = *file.name;
    listing->models.back().modified_at = file.facts.modified_at;
  }
}

std::shared_ptr<const ModelSummary> Store::State::FindKept(const internal::Layout& folder,
                                                           const internal::ManifestFile& file,
                                                           Listing* listing) {
  internal::KnownManifest known;
  {
    const MutexLock lock(mutex);
    const auto found = kept.manifests.find(file.path.native());
    if (found == kept.manifests.end() || found->second.facts != file.facts) return nullptr;
    known = found->second;
  }
  const std::string key = ModelKey(folder, known.digest, known.weights);
  std::shared_ptr<const ModelSummary> summary;
  {
    const MutexLock lock(mutex);
    const auto found = kept.summaries.find(key);
    if (found == kept.summaries.end()) return nullptr;
    summary = found->second;
  }
  listing->kept.manifests.emplace(file.path.native(), std::move(known));
  listing->kept.summaries.emplace(key, summary);
  return summary;
}

void Store::State::ReadKnown() {
  {
    const MutexLock lock(mutex);
    if (has_read_list) return;
  }
  auto known = internal::ReadListCache(files, layout, options.go_template);
  const MutexLock lock(mutex);
  if (std::exchange(has_read_list, true)) return;
  kept.summaries.merge(known.summaries);
  kept.manifests.merge(known.manifests);
}

Result<std::vector<ModelSummary>> Store::List() {
  State& state = *state_;
  state.ReadKnown();
  State::Listing listing;
  state.ListFolder(state.layout, &listing);
  for (const internal::Layout& other : state.others) state.ListFolder(other, &listing);
  if (listing.has_new && !state.options.is_read_only) {
    internal::WriteListCache(state.files, state.layout, state.options.go_template, listing.kept);
  }
  {
    const MutexLock lock(state.mutex);
    state.kept = std::move(listing.kept);
  }
  std::vector<ModelSummary> list = std::move(listing.models);
  std::sort(list.begin(), list.end(), [](const ModelSummary& a, const ModelSummary& b) {
    const std::int64_t time_a = WholeSeconds(a.modified_at);
    const std::int64_t time_b = WholeSeconds(b.modified_at);
    return time_a != time_b ? time_a > time_b : a.name < b.name;
  });
  return list;
}

Result<std::shared_ptr<const Model>> Store::Load(const ModelName& name) {
  State& state = *state_;
  // A model that is replaced or deleted between the reads of its manifest and its layers is looked
  // at again.
  for (int attempt = 0;; ++attempt) {
    const auto place = state.Find(name);
    const ModelName stored_name = place ? place->name : name;
    const internal::Layout& folder = place ? *place->layout : state.layout;
    CORRAL_TRY(StoredManifest stored, internal::ReadManifest(state.files, folder, stored_name));
    const std::string key = folder.root.native() + "/" + stored_name.Full() + "/" +
                            std::to_string(stored.modified_at.time_since_epoch().count()) + "/" +
                            ModelKey(folder, stored.manifest.digest, WeightsOf(stored.manifest));
    {
      const MutexLock lock(state.mutex);
      if (const auto found = state.models.find(key); found != state.models.end()) {
        found->second.last_use = ++state.n_uses;
        return found->second.model;
      }
    }
    const std::string digest = stored.manifest.digest;
    auto read = internal::ReadModel(state.files, folder, stored_name, std::move(stored));
    if (!read) {
      const auto again = internal::ReadManifest(state.files, folder, stored_name);
      const bool has_changed = !again || again->manifest.digest != digest;
      if (has_changed && attempt < 3) continue;
      return Fail(std::move(read).error());
    }
    auto model = std::make_shared<const Model>(std::move(*read));
    const MutexLock lock(state.mutex);
    if (state.models.size() >= kMaxCachedModels) {
      const auto oldest = std::min_element(
          state.models.begin(), state.models.end(),
          [](const auto& a, const auto& b) { return a.second.last_use < b.second.last_use; });
      state.models.erase(oldest);
    }
    state.models[key] = {model, ++state.n_uses};
    return model;
  }
}

Status Store::State::WriteManifest(const StoreLock::Held&, const ModelName& name,
                                   std::string_view raw) {
  if (!internal::IsPlainPath(layout, name)) {
    return Fail(
        Code::kInvalidArgument,
        "'" + name.Short() + "' cannot be stored: its place is taken by a link or a folder");
  }
  const std::filesystem::path path = layout.ManifestPath(name);
  CORRAL_TRY_STATUS(files.MakeFolders(path.parent_path()));
  CORRAL_TRY(const auto pending,
             files.Create(layout.manifests, internal::kTemporaryManifestPrefix));
  CORRAL_TRY_STATUS(pending->Append(raw));
  // First whole on the disk where nobody looks, then to its name: a commit syncs one folder, a
  // rename both.
  std::filesystem::path whole = pending->temporary_path();
  whole += ".whole";
  CORRAL_TRY_STATUS(pending->Commit(whole));
  Status renamed = files.Rename(whole, path);
  if (!renamed) (void)files.Remove(whole);  // it may have got its name, and only a sync failed
  return renamed;
}

void Store::State::RemoveReplaced(const std::set<Digest>& candidates,
                                  const std::function<void()>& on_removing) {
  if (candidates.empty()) return;
  if (const auto owned = blobs.lock().Own()) blobs.RemoveUnused(*owned, candidates, on_removing);
}

Status Store::Copy(const ModelName& source, const ModelName& destination) {
  State& state = *state_;
  std::set<Digest> replaced;
  {
    const auto place = state.Find(source);
    const internal::Layout& folder = place ? *place->layout : state.layout;
    const ModelName from = place ? place->name : source;
    const ModelName to = internal::FindName(state.layout, destination).value_or(destination);
    CORRAL_TRY_STATUS(internal::ReadManifest(state.files, folder, from).map([](const auto&) {}));
    if (&folder == &state.layout && from.Path() == to.Path()) return {};
    auto shared = state.blobs.lock().Share();
    if (!shared) return Fail(AsStoreError(std::move(shared).error()));
    CORRAL_TRY(const StoredManifest stored, internal::ReadManifest(state.files, folder, from));
    if (&folder != &state.layout) {
      std::set<Digest> digests;
      internal::AddDigests(stored.manifest, &digests);
      for (const Digest& digest : digests) {
        if (auto used = state.blobs.Use(*shared, digest, "", ""); !used)
          return Fail(AsStoreError(std::move(used).error()));
      }
    }
    auto turn = state.blobs.OwnName(*shared, to);
    if (!turn) return Fail(AsStoreError(std::move(turn).error()));
    if (const auto old = internal::ReadManifest(state.files, state.layout, to)) {
      internal::AddDigests(old->manifest, &replaced);
    }
    if (const Status status = state.WriteManifest(*shared, to, stored.manifest.raw); !status) {
      return Fail(AsStoreError(status.error()));
    }
  }
  if (state.options.is_prune_enabled) state.RemoveReplaced(replaced);
  return {};
}

Status Store::Delete(const ModelName& name) {
  State& state = *state_;
  const auto not_found = [&name] {
    return Fail(Code::kNotFound, "model '" + name.Short() + "' not found");
  };
  // Before the lock: a store that cannot be written still says what it does not have.
  const auto place = state.Find(name);
  if (!place) return not_found();
  if (place->layout != &state.layout) {
    return Fail(Code::kForbidden, "model '" + place->name.Short() +
                                      "' is in a folder that is only read: it cannot be deleted");
  }
  auto owned = state.blobs.lock().Own();
  if (!owned) return Fail(AsStoreError(std::move(owned).error()));
  const auto stored_name = internal::FindName(state.layout, name);
  if (!stored_name) return not_found();
  std::set<Digest> candidates;
  const std::filesystem::path path = state.layout.ManifestPath(*stored_name);
  if (const auto manifest = internal::ReadManifestFile(state.files, path)) {
    internal::AddDigests(*manifest, &candidates);
  } else {
    Log(LogLevel::kWarn, "deleting a corrupt manifest",
        {{"model", stored_name->Short()}, {"error", manifest.error().message}});
  }
  if (Status status = state.files.Remove(path); !status)
    return Fail(AsStoreError(std::move(status).error()));
  internal::RemoveEmptyFolders(state.layout, path.parent_path());
  state.blobs.RemoveUnused(*owned, candidates);
  return {};
}

}  // namespace corral::models
