// One push: the blobs that the registry does not have, then the manifest.
//
// One thread; waits.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/stop.h"
#include "models/store.h"
#include "registry/internal/remote.h"
#include "registry/registry.h"

namespace corral::registry::internal {

class Push {
 public:
  // All must outlive it.
  Push(models::Store& store, const Options& options, const TransferRequest& request,
       const StopToken& stop, const Registry::OnProgress& on_progress);

  // As Registry::Push. Once only.
  Status Run();

 private:
  Status PushBlob(const models::Layer& layer);
  Status Upload(const models::Layer& layer, Url upload);
  // Asks where the registry stands, after an error, and waits before; gives up after too many.
  // True: it has the blob.
  Result<bool> Recover(const models::Layer& layer, Error error, Url* upload, std::int64_t* offset);
  void Report(const models::Layer& layer, std::int64_t completed, bool is_passing);

  models::Store& store_;
  const Options& options_;
  const TransferRequest& request_;
  const StopToken& stop_;
  const Registry::OnProgress& on_progress_;
  std::unique_ptr<Remote> remote_;
  int n_failures_ = 0;  // since the last part that went through
};

}  // namespace corral::registry::internal
