// The state behind Store, shared by store.cc and create.cc.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "core/mutex.h"
#include "models/internal/blobs.h"
#include "models/store.h"

namespace corral::models {

struct Store::State {
  State(std::filesystem::path root, const StoreOptions& store_options)
      : options(store_options),
        files(options.files ? *options.files : RealFileSystem()),
        layout(std::move(root)),
        blobs(layout, files) {}

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
  internal::Blobs blobs;

  Mutex mutex;  // never held over disk I/O
  struct Cached {
    std::shared_ptr<const Model> model;
    std::uint64_t last_use = 0;
  };
  std::map<std::string, Cached> models
      CORRAL_GUARDED_BY(mutex);  // at most kMaxCachedModels, by ModelKey
  std::uint64_t n_uses CORRAL_GUARDED_BY(mutex) = 0;
  // By ModelKey; those of the last List. Without names and times: these are not in the key.
  std::map<std::string, std::shared_ptr<const ModelSummary>> summaries CORRAL_GUARDED_BY(mutex);
  std::set<std::string> said CORRAL_GUARDED_BY(mutex);  // at most kMaxSaid
};

}  // namespace corral::models
