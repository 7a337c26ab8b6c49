// What List found out of each model, kept between two starts of a server: reading the headers of a
// thousand models takes seconds, this file milliseconds.
//
// `.corral/list`, JSON; written when a list finds models that it does not know. By the key of a
// model's files (manifest digest, device, inode, size and time of its GGUF files), so that an entry
// is right or is not found. Not precious: one that does not read, or that another version wrote, is
// as none. Thread-safe (no state). Blocking (disk).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "models/internal/layout.h"
#include "models/store.h"

namespace corral::models::internal {

// By key. Without names and times, which the manifests say.
using Summaries = std::map<std::string, std::shared_ptr<const ModelSummary>>;

// `go_template`: the setting that the capabilities depend on; entries of another are not taken.
Summaries ReadListCache(FileSystem& files, const Layout& layout, std::optional<bool> go_template);

// Best effort.
void WriteListCache(FileSystem& files, const Layout& layout, std::optional<bool> go_template,
                    const Summaries& summaries);

}  // namespace corral::models::internal
