// A model while `create` makes it: layers and config, blobs written, no manifest yet.
//
// One thread at a time. Blocking (disk). The store's lock is held, shared, from Begin to the end:
// what a draft uses stays.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "models/internal/blobs.h"
#include "models/store.h"

namespace corral::models::internal {

// A GGUF file that a client uploaded, looked at before the store is locked.
struct UploadedFile {
  std::string path;  // as the client named it
  Digest digest;
  std::string kind;  // "model", "projector", "adapter", "draft"
  gguf::Info info;
};
// Errors: kInvalidArgument (not there, not GGUF, hostile, of a kind that cannot be imported), kIo.
Result<UploadedFile> CheckUpload(const Blobs& blobs, const std::string& path, const Digest& digest);

class Draft {
 public:
  Draft(Blobs& blobs, const StoreLock::Held& shared) : blobs_(blobs), shared_(shared) {}

  // Errors of all: kInvalidArgument, kCorrupt, kForbidden, kIo.
  // `weights`, if not null, in the place of the base's own.
  Status TakeBase(const Model& base, const UploadedFile* weights);
  // The base's draft models are not wanted.
  void DropDrafts();
  Status TakeFile(const UploadedFile& file);
  // Template, renderer, parser and stop words that go with a file's architecture or Jinja text.
  Status TakeDefaultsOf(const UploadedFile& file, const CreateSpec& spec);
  // What the request says over all that.
  Status TakeSpec(const CreateSpec& spec);
  // Writes the config. Nothing may be taken after it.
  Result<Layer> WriteConfig();

  std::vector<Layer> Layers() const;
  // The status line of each layer, in order.
  std::vector<std::string> StatusLines() const;
  // Blobs that were not there before.
  const std::set<Digest>& new_blobs() const { return new_blobs_; }

 private:
  struct Part {
    Layer layer;
    std::string status;
  };

  Result<Part> Write(std::string_view bytes, std::string_view kind);
  void RemoveKind(std::string_view kind);
  void TakeFacts(const gguf::Info& info);

  Blobs& blobs_;
  const StoreLock::Held& shared_;
  std::vector<Part> parts_;
  std::set<Digest> new_blobs_;
  Params params_;          // as in the params layer, if there is one
  ModelConfig inherited_;  // of the base
  ModelConfig config_;
};

}  // namespace corral::models::internal
