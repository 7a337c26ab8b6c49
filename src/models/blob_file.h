// A new blob whose bytes another process writes: a worker that quantises or converts.
#pragma once

#include <filesystem>

#include "core/result.h"
#include "core/stop.h"
#include "models/name.h"

namespace corral::models {

// Destroyed without Commit, or after one that failed: nothing is left behind. One thread at a time.
class BlobFile {
 public:
  virtual ~BlobFile() = default;
  // Empty at first; open for reading and writing. As long as this.
  virtual int fd() const = 0;
  // Where it lies until Commit: to read it back by the rooms that take a path.
  virtual const std::filesystem::path& path() const = 0;
  // Reads the file through for its hash, then fsync and rename. Once only; the other process has
  // ended. Keeps the blob as Store::HasBlob does. Looks at `stop` every MiB. Errors: kForbidden,
  // kIo, kCancelled (or what `stop` says).
  virtual Result<Digest> Commit(const StopToken& stop) = 0;
};

}  // namespace corral::models
