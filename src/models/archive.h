// Models as a tar file, for machines without a network: `corral save` and `corral load`.
//
// The members are a store's own files under their own paths, blobs before the manifests that name
// them: blobs/sha256-<hex>, manifests/<host>/<namespace>/<model>/<tag>. So a tar of a whole store,
// made by hand, loads too, and `tar -x` in a store's folder does what loading does, less the
// checks. Format: POSIX ustar with pax records where a path or a size needs them; GNU long names
// and sizes are read.
//
// Blocking. Thread-safe as far as the store is.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/stop.h"
#include "models/name.h"
#include "models/store.h"

namespace corral::models {

// Takes the next bytes. An error ends the save and becomes its own.
using ArchiveSink = std::function<Status(std::string_view bytes)>;
// Fills the buffer from its front; less than all only at the end, then 0.
using ArchiveSource = std::function<Result<std::size_t>(std::span<char> buffer)>;

// Blobs that several models share are written once. Errors: kNotFound (a model), kCorrupt (a model
// that is not whole), kIo, those of `sink`.
Status SaveModels(Store& store, const std::vector<ModelName>& models, const ArchiveSink& sink,
                  const StopToken& stop);

struct LoadedModels {
  std::vector<ModelName> names;  // in the order of the archive
  std::optional<Error> problem;  // of the first model that is not whole (in a tar of a live store)
};

// Every blob is hashed before it gets its name, and a model appears when all its blobs are there.
// Members with other names are passed over; an archive with links, devices, absolute paths or ".."
// is refused (S03). What came before an error stays, as uploads do, and a model that is not whole
// does not keep the others out. Errors: kInvalidArgument (not a tar, or refused), kCorrupt (a blob
// whose bytes are others; no model is whole), kForbidden, kIo.
Result<LoadedModels> LoadModels(Store& store, const ArchiveSource& source, const StopToken& stop);

}  // namespace corral::models
