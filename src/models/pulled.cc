// Store: what a registry sends.
#include <unistd.h>

#include <fstream>

#include "gguf/reader.h"
#include "models/internal/layout.h"
#include "models/internal/state.h"
#include "models/store.h"

namespace corral::models {

using internal::AsStoreError;
using internal::LookThrough;

namespace {

bool IsWhole(const internal::Layout& layout, const Layer& layer) {
  const auto facts = LookThrough(layout.BlobPath(layer.digest));
  return facts && facts->is_regular && static_cast<std::int64_t>(facts->size_bytes) == layer.size;
}

// CVE-2026-7482 and its like: a file whose header lies is refused before a model names it. What is
// no GGUF is left to whoever loads it.
Status CheckWeights(const internal::Layout& layout, const Layer& layer) {
  const std::string_view kind = layer.Kind();
  if (kind != "model" && kind != "projector" && kind != "adapter") return {};
  const std::filesystem::path blob = layout.BlobPath(layer.digest);
  std::string magic(4, '\0');
  std::ifstream file(blob, std::ios::binary);
  if (!file.read(magic.data(), 4) || magic != "GGUF") return {};
  const auto info = gguf::Read(blob);
  if (info || info.error().code != Code::kCorrupt) return {};
  return Fail(Error(info.error()).Within("layer " + layer.digest.ToString()));
}

}  // namespace

bool Store::HasLayer(const Layer& layer) {
  return IsWhole(state_->layout, layer) && state_->blobs.Accept(layer.digest);
}

Result<std::unique_ptr<PartialBlob>> Store::OpenPartial(const Digest& digest,
                                                        std::int64_t size_bytes) {
  return state_->blobs.OpenPartial(digest, size_bytes);
}

std::int64_t Store::PartialBytes(const Digest& digest) const {
  return state_->blobs.PartialBytes(digest);
}

Result<Manifest> Store::LoadManifest(const ModelName& name) {
  const auto place = state_->Find(name);
  CORRAL_TRY(internal::StoredManifest stored,
             internal::ReadManifest(state_->files, place ? *place->layout : state_->layout,
                                    place ? place->name : name));
  return std::move(stored.manifest);
}

Status Store::CheckWritable() const {
  if (state_->options.is_read_only) return Fail(AsStoreError({Code::kForbidden, {}}));
  for (const auto& folder : {state_->layout.blobs, state_->layout.manifests}) {
    if (::access(folder.c_str(), F_OK) == 0 && ::access(folder.c_str(), W_OK) != 0)
      return Fail(AsStoreError({Code::kForbidden, {}}));
  }
  if (::access(state_->layout.root.c_str(), W_OK) != 0)
    return Fail(AsStoreError({Code::kForbidden, {}}));
  return {};
}

Result<std::vector<Layer>> Store::CommitPull(const ModelName& name, const Manifest& manifest,
                                             const std::function<void()>& on_removing) {
  State& state = *state_;
  std::set<Digest> used;
  std::set<Digest> replaced;
  internal::AddDigests(manifest, &used);
  const auto write = [&]() -> Result<std::vector<Layer>> {
    CORRAL_TRY(const auto shared, state.blobs.lock().Share());
    std::vector<Layer> missing;
    for (const Layer& layer : manifest.layers) {
      if (!IsWhole(state.layout, layer)) missing.push_back(layer);
    }
    if (manifest.config && !IsWhole(state.layout, *manifest.config))
      missing.push_back(*manifest.config);
    if (!missing.empty()) return missing;
    for (const Layer& layer : manifest.layers) CORRAL_TRY_STATUS(CheckWeights(state.layout, layer));
    const ModelName stored_name = Existing(name);
    CORRAL_TRY(const auto turn, state.blobs.OwnName(shared, stored_name));
    if (const auto old = internal::ReadManifest(state.files, state.layout, stored_name))
      internal::AddDigests(old->manifest, &replaced);
    CORRAL_TRY_STATUS(state.WriteManifest(shared, stored_name, manifest.raw));
    return missing;
  };
  Result<std::vector<Layer>> result = write();
  if (!result) return Fail(AsStoreError(std::move(result).error()));
  if (!result->empty()) return result;
  state.blobs.Forget(used);
  state.blobs.RemoveStrayStates(used);
  for (const Digest& digest : used) replaced.erase(digest);
  if (state.options.is_prune_enabled) state.RemoveReplaced(replaced, on_removing);
  return result;
}

}  // namespace corral::models
