// What happens to the files of a store when it is opened.
#pragma once

#include "models/internal/blobs.h"

namespace corral::models::internal {

// Renames blobs of the old form ("sha256:<x>" to "sha256-<x>"), removes our own stray temporary
// files, and, if `is_prune_enabled`, what an hour ago was in blobs/ and no manifest names. Needs
// nobody to be writing: if somebody is, or the store is read-only, nothing happens. All results are
// logged.
void TidyAtStart(Blobs& blobs, bool is_prune_enabled);

}  // namespace corral::models::internal
