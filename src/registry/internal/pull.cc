#include "registry/internal/pull.h"

#include <set>
#include <utility>

#include "core/log.h"
#include "models/manifest.h"
#include "registry/internal/places.h"

namespace corral::registry::internal {
namespace {

constexpr int kMaxRounds = 3;
constexpr std::chrono::minutes kRenewal{10};

}  // namespace

Pull::Pull(models::Store& store, Downloads& downloads, const Options& options,
           const TransferRequest& request, const StopToken& stop,
           const Registry::OnProgress& on_progress)
    : store_(store),
      downloads_(downloads),
      options_(options),
      request_(request),
      stop_(stop),
      on_progress_(on_progress),
      renewed_(Clock::now()) {}

Status Pull::Run() {
  CORRAL_TRY_STATUS(store_.CheckWritable());
  on_progress_({.status = "pulling manifest"});
  Result<models::Manifest> manifest = FindManifest();
  if (!manifest) {
    Error error = std::move(manifest).error();
    if (stop_.StopRequested()) return Fail(std::move(error));
    return Fail(std::move(error).Within("pull model manifest"));
  }
  std::vector<models::Layer> layers = manifest->layers;
  if (manifest->config) layers.push_back(*manifest->config);
  for (int n_rounds = 0; !layers.empty(); ++n_rounds) {
    if (n_rounds == kMaxRounds)
      return Fail(Code::kIo, "the model's blobs were removed while it was pulled: pull it again");
    CORRAL_TRY_STATUS(FetchLayers(layers));
    on_progress_({.status = "verifying sha256 digest"});  // each was, on its way
    on_progress_({.status = "writing manifest"});
    CORRAL_TRY(layers, store_.CommitPull(request_.name, *manifest, [this] {
      on_progress_({.status = "removing unused layers"});
    }));
  }
  on_progress_({.status = "success"});
  return {};
}

Result<models::Manifest> Pull::FindManifest() {
  CORRAL_TRY(const std::vector<Url> places,
             PlacesOf(request_.name, request_.is_insecure, options_));
  for (std::size_t i = 0;; ++i) {
    Result<models::Manifest> manifest = FindManifestAt(places[i]);
    if (manifest || i + 1 == places.size() || stop_.StopRequested()) return manifest;
    Log(LogLevel::kInfo, "the mirror does not give the model, asking the registry",
        {{"model", request_.name.Short()}, {"error", manifest.error().message}});
  }
}

Result<models::Manifest> Pull::FindManifestAt(Url place) {
  remote_ = std::make_shared<Remote>(options_, std::move(place), request_.name);
  CORRAL_TRY(std::string raw, remote_->FetchManifest(request_.name.tag(), stop_));
  CORRAL_TRY(models::Manifest manifest, models::ParseManifest(std::move(raw)));
  if (manifest.layers.empty())
    return Fail(Code::kCorrupt, "the manifest has no layers: it is not a model's");
  return manifest;
}

Status Pull::FetchLayers(const std::vector<models::Layer>& layers) {
  std::set<models::Digest> seen;
  for (const models::Layer& layer : layers) {
    if (stop_.StopRequested()) return Fail(stop_.ToError());
    if (!seen.insert(layer.digest).second) continue;
    CORRAL_TRY_STATUS(FetchLayer(layer));
    promised_.push_back(layer);
  }
  return {};
}

Status Pull::FetchLayer(const models::Layer& layer) {
  for (;;) {
    if (store_.HasLayer(layer)) {
      Report(layer, layer.size, /*is_passing=*/false);
      return {};
    }
    const Downloads::Joined joined = downloads_.Join(store_, layer, remote_);
    Status status = Follow(*joined.download, layer);
    // Another pull's download fails with another pull's registry: then it is our turn.
    if (status || joined.is_new || stop_.StopRequested()) return status;
  }
}

Status Pull::Follow(Download& download, const models::Layer& layer) {
  std::int64_t reported = -1;
  for (;;) {
    const bool is_over = download.Wait(Clock::now() + options_.progress_interval, stop_);
    if (stop_.StopRequested()) return Fail(stop_.ToError());
    if (is_over) break;
    if (const std::int64_t completed = download.completed(); completed != reported) {
      reported = completed;
      Report(layer, completed, /*is_passing=*/true);
    }
    RenewPromises();
  }
  CORRAL_TRY_STATUS(download.status());
  Report(layer, layer.size, /*is_passing=*/false);
  return {};
}

void Pull::Report(const models::Layer& layer, std::int64_t completed, bool is_passing) {
  on_progress_({.status = "pulling " + layer.digest.hex().substr(0, 12),
                .digest = layer.digest.ToString(),
                .total = layer.size,
                .completed = completed,
                .is_passing = is_passing});
}

void Pull::RenewPromises() {
  if (Clock::now() - renewed_ < kRenewal) return;
  renewed_ = Clock::now();
  for (const models::Layer& layer : promised_) (void)store_.HasLayer(layer);
}

}  // namespace corral::registry::internal
