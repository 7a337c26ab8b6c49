// One pull: a manifest, its blobs, and then the manifest's name.
//
// One thread; waits.
#pragma once

#include <memory>
#include <vector>

#include "core/result.h"
#include "core/stop.h"
#include "models/store.h"
#include "registry/internal/download.h"
#include "registry/internal/remote.h"
#include "registry/registry.h"

namespace corral::registry::internal {

class Pull {
 public:
  // All must outlive it.
  Pull(models::Store& store, Downloads& downloads, const Options& options,
       const TransferRequest& request, const StopToken& stop,
       const Registry::OnProgress& on_progress);

  // As Registry::Pull. Once only.
  Status Run();

 private:
  // From the first place that has the model; `remote_` is that place then.
  Result<models::Manifest> FindManifest();
  Result<models::Manifest> FindManifestAt(Url place);
  Status FetchLayers(const std::vector<models::Layer>& layers);
  Status FetchLayer(const models::Layer& layer);
  // Waits for the download, with a line now and then.
  Status Follow(Download& download, const models::Layer& layer);
  void Report(const models::Layer& layer, std::int64_t completed, bool is_passing);
  // Blobs that came long ago are promised again: a download can take longer than a promise lasts.
  void RenewPromises();

  models::Store& store_;
  Downloads& downloads_;
  const Options& options_;
  const TransferRequest& request_;
  const StopToken& stop_;
  const Registry::OnProgress& on_progress_;
  std::shared_ptr<Remote> remote_;  // shared with the downloads, which may outlive this pull
  std::vector<models::Layer> promised_;
  Clock::time_point renewed_;
};

}  // namespace corral::registry::internal
