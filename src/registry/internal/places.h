// Where a model may be had. Pure. Thread-safe.
#pragma once

#include <vector>

#include "core/result.h"
#include "models/name.h"
#include "registry/internal/url.h"
#include "registry/registry.h"

namespace corral::registry::internal {

// The registry that the name means; plain HTTP if `is_insecure`. The scheme in the name does not
// count, as with Ollama's API. Errors: kInvalidArgument (no address comes of the host).
Result<Url> RegistryOf(const models::ModelName& name, bool is_insecure);
// Whether a setting lets us talk to the name's registry.
bool IsAllowed(const models::ModelName& name, const Options& options);
// The registries to ask for the model, in order: the mirror, if the name means the default
// registry, then the registry itself, if it is allowed. Errors: kInvalidArgument, kForbidden (none
// is left).
Result<std::vector<Url>> PlacesOf(const models::ModelName& name, bool is_insecure,
                                  const Options& options);

}  // namespace corral::registry::internal
