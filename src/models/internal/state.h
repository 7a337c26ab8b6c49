// The state behind Store, shared by store.cc and create.cc.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "models/internal/blobs.h"
#include "models/internal/list_cache.h"
#include "models/store.h"

namespace corral::models {

struct Store::State {
  State(std::filesystem::path root, const StoreOptions& store_options)
      : options(store_options),
        files(options.files ? *options.files : RealFileSystem()),
        layout(std::move(root)),
        others(Layouts(store_options)),
        blobs(layout, files,
              {.with_leases =
                   options.locks == StoreLocks::kLeases ||
                   (options.locks == StoreLocks::kAutomatic && internal::NeedsLeases(layout.root)),
               .is_read_only = options.is_read_only,
               .others = others}) {}

  static std::vector<internal::Layout> Layouts(const StoreOptions& options) {
    std::vector<internal::Layout> layouts;
    for (const auto& folder : options.more_folders) layouts.emplace_back(folder);
    return layouts;
  }

  // The first folder that has a model of this name, and how it is spelled there.
  struct Place {
    const internal::Layout* layout;
    ModelName name;
  };
  std::optional<Place> Find(const ModelName& name) const;

  struct Listing {
    std::vector<ModelSummary> models;
    std::set<std::string> names;  // of `models`, in lower case
    internal::ListCache kept;
    bool has_new = false;  // something in `kept` was not known before
  };
  // Takes in what was kept from before this start, once.
  void ReadKnown();
  void ListFolder(const internal::Layout& folder, Listing* listing);
  // Of what is kept, if it is of these files as they are now; null if not. Also puts the manifest
  // into `listing`.
  std::shared_ptr<const ModelSummary> FindKept(const internal::Layout& folder,
                                               const internal::ManifestFile& file,
                                               Listing* listing);

  // Writes `raw` as the manifest of `name`, in one step. Errors: kForbidden, kIo.
  Status WriteManifest(const internal::StoreLock::Held& shared, const ModelName& name,
                       std::string_view raw);
  // Removes what only a manifest that was replaced used; takes the store's lock. Best effort.
  // `on_removing` is called before the first removal, if there is one.
  void RemoveReplaced(const std::set<Digest>& candidates,
                      const std::function<void()>& on_removing = {});
  // True the first time that `what` is said.
  bool IsFirst(const std::string& what);

  const StoreOptions options;
  FileSystem& files;
  const internal::Layout layout;
  const std::vector<internal::Layout> others;  // folders that are only read
  internal::Blobs blobs;

  Mutex mutex;  // never held over disk I/O
  struct Cached {
    std::shared_ptr<const Model> model;
    std::uint64_t last_use = 0;
  };
  std::map<std::string, Cached> models
      CORRAL_GUARDED_BY(mutex);  // at most kMaxCachedModels, by ModelKey
  std::uint64_t n_uses CORRAL_GUARDED_BY(mutex) = 0;
  bool has_read_list CORRAL_GUARDED_BY(mutex) = false;  // list_cache.h, into `kept`
  internal::ListCache kept CORRAL_GUARDED_BY(mutex);    // of the last List
  std::set<std::string> said CORRAL_GUARDED_BY(mutex);  // at most kMaxSaid
};

}  // namespace corral::models
