// Whether the files of a store are what their names say.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/name.h"

namespace corral::models {

struct BrokenBlob {
  Digest digest;
  std::string what;               // "is missing", "has 3 of 10 bytes", "has other bytes"
  std::vector<ModelName> models;  // that need it
};

struct VerifyReport {
  std::size_t n_models = 0, n_blobs = 0;
  std::uint64_t n_bytes = 0;               // read
  std::vector<BrokenBlob> broken;          // by digest
  std::vector<std::string> bad_manifests;  // paths below manifests/ that do not read
};

}  // namespace corral::models
