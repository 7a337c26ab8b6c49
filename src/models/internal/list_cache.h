// What List found out of each model, kept between two starts of a server: reading the headers of a
// thousand models takes seconds, this file milliseconds.
//
// `.corral/list`, JSON; written when a list finds models that it does not know. Manifests by their
// paths and by what the file system says of the file, so that those that have not changed need not
// be read; summaries by the key of a model's files (manifest digest, device, inode, size and time
// of its GGUF files). So an entry is right or is not found. Not precious: one that does not read,
// or that another version wrote, is as none. Thread-safe (no state). Blocking (disk).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/internal/layout.h"
#include "models/store.h"

namespace corral::models::internal {

// By key. Without names and times, which the manifests say.
using Summaries = std::map<std::string, std::shared_ptr<const ModelSummary>>;

// What the key of a model is made of, as of when its manifest was read.
struct KnownManifest {
  FileFacts facts;
  std::string digest;
  std::vector<Digest> weights;  // its GGUF layers
};
using KnownManifests = std::map<std::string, KnownManifest>;  // by absolute path

struct ListCache {
  Summaries summaries;
  KnownManifests manifests;
};

// `go_template`: the setting that the capabilities depend on; summaries of another are not taken.
ListCache ReadListCache(FileSystem& files, const Layout& layout, std::optional<bool> go_template);

// Best effort.
void WriteListCache(FileSystem& files, const Layout& layout, std::optional<bool> go_template,
                    const ListCache& cache);

}  // namespace corral::models::internal
