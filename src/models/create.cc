// Store::Create: from a request to a manifest, in the order of the status lines.
#include "models/internal/draft.h"
#include "models/internal/state.h"
#include "models/store.h"

namespace corral::models {

using internal::AsStoreError;
using internal::Draft;
using internal::UploadedFile;

namespace {

using Progress = std::function<void(std::string)>;

Status Check(const StopToken& stop) {
  if (stop.StopRequested()) return Fail(stop.ToError());
  return {};
}

Result<std::vector<UploadedFile>> CheckFiles(const CreateSpec& spec, const internal::Blobs& blobs,
                                             const StopToken& stop) {
  std::vector<UploadedFile> files;
  std::size_t n_models = 0;
  if (!spec.from) {
    for (const auto& [path, digest] : spec.files) {
      CORRAL_TRY_STATUS(Check(stop));
      CORRAL_TRY(UploadedFile file, internal::CheckUpload(blobs, path, digest));
      if (file.kind == "model") ++n_models;
      files.push_back(std::move(file));
    }
    if (n_models == 0) return Fail(Code::kInvalidArgument, "no base model was found");
    if (n_models > 1) return Fail(Code::kInvalidArgument, "only one GGUF file may hold a model");
  }
  for (const auto& [path, digest] : spec.drafts) {
    CORRAL_TRY_STATUS(Check(stop));
    CORRAL_TRY(UploadedFile file, internal::CheckUpload(blobs, path, digest));
    if (file.kind != "model")
      return Fail(Code::kInvalidArgument, "file \"" + path + "\" is no draft model");
    file.kind = "draft";
    files.push_back(std::move(file));
  }
  for (const auto& [path, digest] : spec.adapters) {
    CORRAL_TRY_STATUS(Check(stop));
    CORRAL_TRY(UploadedFile file, internal::CheckUpload(blobs, path, digest));
    if (file.kind != "adapter")
      return Fail(Code::kInvalidArgument, "file \"" + path + "\" is no adapter");
    files.push_back(std::move(file));
  }
  return files;
}

}  // namespace

Status Store::Create(const CreateSpec& spec, const Progress& progress, StopToken stop) {
  State& state = *state_;
  if (!spec.from && spec.files.empty())
    return Fail(Code::kInvalidArgument, "neither 'from' or 'files' was specified");
  if (spec.adapters.size() > 1)
    return Fail(Code::kInvalidArgument, "only one adapter is currently supported");
  CORRAL_TRY(const auto files, CheckFiles(spec, state.blobs, stop));
  std::optional<UploadedFile> weights;
  if (spec.from && spec.weights) {
    CORRAL_TRY(weights, internal::CheckUpload(state.blobs, "", *spec.weights));
    if (weights->kind != "model")
      return Fail(Code::kInvalidArgument, "the new weights are no model");
  }

  std::set<Digest> used;
  std::set<Digest> unused;  // of the model that is replaced, or of a create that failed
  Status result = [&]() -> Status {
    CORRAL_TRY(const auto shared, state.blobs.lock().Share());
    Draft draft(state.blobs, shared);
    const auto make = [&]() -> Status {
      if (spec.from) {
        CORRAL_TRY(const auto base, Load(*spec.from));
        CORRAL_TRY_STATUS(draft.TakeBase(*base, weights ? &*weights : nullptr));
      }
      if (!spec.drafts.empty()) draft.DropDrafts();
      for (const UploadedFile& file : files) CORRAL_TRY_STATUS(draft.TakeFile(file));
      for (const UploadedFile& file : files) {
        if (file.kind == "model") CORRAL_TRY_STATUS(draft.TakeDefaultsOf(file, spec));
      }
      CORRAL_TRY_STATUS(Check(stop));
      CORRAL_TRY_STATUS(draft.TakeSpec(spec));
      CORRAL_TRY(const Layer config, draft.WriteConfig());
      CORRAL_TRY_STATUS(Check(stop));

      for (std::string& line : draft.StatusLines()) progress(std::move(line));
      progress("writing manifest");
      const std::vector<Layer> layers = draft.Layers();
      CORRAL_TRY(const auto turn, state.blobs.OwnName(shared, spec.name));
      const ModelName name = Existing(spec.name);
      if (const auto old = internal::ReadManifest(state.files, state.layout, name)) {
        internal::AddDigests(old->manifest, &unused);
      }
      CORRAL_TRY_STATUS(state.WriteManifest(shared, name, EncodeManifest(config, layers)));
      for (const Layer& layer : layers) used.insert(layer.digest);
      used.insert(config.digest);
      return {};
    };
    Status made = make();
    // What a failed create wrote is of no use to anybody.
    if (!made) unused = draft.new_blobs();
    return made;
  }();
  state.blobs.Forget(used);
  if (!result || state.options.is_prune_enabled) state.RemoveReplaced(unused);
  if (!result) return Fail(AsStoreError(std::move(result).error()));
  return {};
}

}  // namespace corral::models
