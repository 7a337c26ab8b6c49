// The model store: Ollama's layout under one folder, so that a volume goes back and forth
// (docs/formats/store.md).
//
// Thread-safe; several processes may share the folder. Blocking (disk, hashing): call from a
// blocking pool only. A blob or manifest is absent or whole: writers fill a temporary file, fsync,
// rename, fsync the folder. What another request or process may be using is not deleted: a lock for
// the store (shared: uses and creates; exclusive: deletes, prunes) and one a blob
// (docs/formats/store.md, Locks). Reading takes no lock.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/files.h"
#include "core/result.h"
#include "core/stop.h"
#include "models/manifest.h"
#include "models/model.h"
#include "models/name.h"
#include "models/partial.h"
#include "models/verify.h"

namespace corral::models {

// One row of /api/tags.
struct ModelSummary {
  ModelName name;
  std::string digest;
  std::int64_t size_bytes = 0;
  std::chrono::system_clock::time_point modified_at = {};
  ModelConfig config = {};
  std::vector<Capability> capabilities = {};
  std::int64_t context_length = 0,
               embedding_length = 0;  // of the GGUF, else of the config; 0: unknown
};

// What `create` was asked for. Files are blobs that were uploaded before.
struct CreateSpec {
  ModelName name;
  std::optional<ModelName> from = {};  // base model in the store; goes before `files`
  // The client's path and the blob; GGUF only, and whole ones (no parts of a split model).
  std::vector<std::pair<std::string, Digest>> files = {}, adapters = {};
  std::vector<std::pair<std::string, Digest>> drafts = {};  // replace the base's if any
  // In the place of the weights of `from`: those quantized.
  std::optional<Digest> weights = {};
  std::optional<std::string> template_text = {}, system = {};     // nullopt or empty: the base's
  std::string renderer = {}, parser = {}, requires_version = {};  // empty: the base's
  std::vector<std::string> licenses = {};                         // appended
  Params params = {};  // merged over the base's, key by key ("stop" as a whole)
  std::vector<StoredMessage> messages = {};  // replace the base's if any
  // info overrides
  std::vector<std::string> capabilities = {};
  std::string model_family = {}, base_name = {}, quantization_level = {}, parameter_size = {};
  std::optional<std::int64_t> context_length = {}, embedding_length = {};
};

// How servers that share a folder keep out of each other's way.
enum class StoreLocks {
  kAutomatic,  // leases on NFS and SMB and where there is no flock, else flock
  kFlock,
  kLeases,  // files with a heartbeat: reach every host that sees the folder
};

struct StoreOptions {
  bool is_prune_enabled = true;          // OLLAMA_NOPRUNE unset
  std::optional<bool> go_template = {};  // OLLAMA_GO_TEMPLATE, for the capabilities in List
  StoreLocks locks = StoreLocks::kAutomatic;
  bool is_read_only = false;  // writers are refused, whatever the file system allows
  // Absolute paths of stores whose models are served too, after those of the first folder. They are
  // only read: what is made of their models is written to the first, with links to their blobs.
  std::vector<std::filesystem::path> more_folders = {};
  FileSystem* files = nullptr;  // for tests; null: the real one. Must outlive the store
};

class BlobWriter;
class BlobFile;

class Store {
 public:
  // Opens, and if need be creates, the store. A folder that cannot be written opens too; writers
  // then answer kForbidden. Renames blobs of the old form, and prunes at start (unless disabled, a
  // manifest is corrupt, or another process is writing: logged). Errors: kIo (cannot create or
  // read).
  static Result<std::unique_ptr<Store>> Open(std::filesystem::path root, StoreOptions options);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  const std::filesystem::path& root() const;

  // All models whose manifest reads, newest first (by whole seconds, then by name). Bad ones are
  // logged once and skipped. Reads every manifest, and the GGUF headers of those that are new.
  // Errors: none today.
  Result<std::vector<ModelSummary>> List();

  // Resolves without regard to case, as a whole name (docs/formats/store.md). Errors: kNotFound
  // (callers have their own texts), kCorrupt, kIo. Cached by manifest digest, checked against the
  // files on each call.
  Result<std::shared_ptr<const Model>> Load(const ModelName& name);
  // The stored spelling of `name`, or `name` itself.
  ModelName Existing(const ModelName& name);

  // Replaces `destination`. A no-op if both are the same. Errors: kNotFound, kCorrupt, kForbidden,
  // kIo.
  Status Copy(const ModelName& source, const ModelName& destination);
  // The manifest, then the blobs that no other manifest uses and no client was promised (HasBlob,
  // NewBlob). A corrupt manifest goes alone. Errors: kNotFound, kForbidden (also: it is in another
  // folder), kIo.
  Status Delete(const ModelName& name);

  // Status lines go to `progress`, on this thread, when all layers are there: "using existing layer
  // sha256:...", "creating new layer sha256:..." or "using autodetected template chatml" a layer,
  // and "writing manifest". What comes before them, and "success", is the caller's to say.
  // `progress` runs while the store is locked against deletes: it must not wait. Files are checked
  // as GGUF (kInvalidArgument with a clear text). On an error no model has changed. Errors:
  // kInvalidArgument, kNotFound (the base), kCorrupt (the base), kForbidden, kIo, kCancelled (or
  // what `stop` says).
  Status Create(const CreateSpec& spec, const std::function<void(std::string)>& progress,
                StopToken stop);

  // Whether the blob is there, whole. If so it stays for an hour at least, or until a create has
  // used it: the client that asks will not upload it.
  bool HasBlob(const Digest& digest);
  std::filesystem::path BlobPath(const Digest& digest) const;
  // Streams a new blob in: Append..., then Commit. The writer must end before the store. Errors:
  // kForbidden, kIo.
  Result<std::unique_ptr<BlobWriter>> NewBlob();
  // A new blob that another process fills (blob_file.h). It must end before the store. Errors:
  // kForbidden, kIo.
  Result<std::unique_ptr<BlobFile>> NewBlobFile();
  // A create that begins takes over the promises (HasBlob) of what it was given; they hold on. The
  // claim is for DropUploads. Best effort.
  std::string ClaimUploads(const std::vector<Digest>& digests);
  // Uploads that have served: removes those of `digests` that no model uses and that no client was
  // promised since they were claimed (another create may be about to use them). Best effort;
  // nothing if pruning is off.
  void DropUploads(const std::vector<Digest>& digests, const std::string& claim);

  // ---- what a registry sends (docs/formats/store.md, Downloads) ----

  // Whether this layer is there, of the size that it should have; if so promises it as HasBlob
  // does.
  bool HasLayer(const Layer& layer);
  // The partial file of a blob, to go on with it; null: somebody else has it open (another process,
  // or another caller here). Errors: kForbidden, kIo (no space for `size_bytes`),
  // kTooLarge (over 16 TiB).
  Result<std::unique_ptr<PartialBlob>> OpenPartial(const Digest& digest, std::int64_t size_bytes);
  // About how many bytes of a download are there, for showing: of anybody's.
  std::int64_t PartialBytes(const Digest& digest) const;
  // Stores what a registry sent as the manifest of `name`, byte for byte, if all its layers are
  // there. Those that are not (removed meanwhile) come back, and nothing has changed. What only the
  // manifest before used is removed then, unless pruning is off; `on_removing` is called if there
  // is any. Errors: kCorrupt (weights in GGUF whose header is wrong), kForbidden, kIo,
  // kInvalidArgument.
  Result<std::vector<Layer>> CommitPull(const ModelName& name, const Manifest& manifest,
                                        const std::function<void()>& on_removing);
  // kForbidden if models cannot be written here: before a pull begins.
  Status CheckWritable() const;
  // The manifest of a stored model, to push it. Errors: kNotFound, kCorrupt, kIo, kForbidden.
  Result<Manifest> LoadManifest(const ModelName& name);

  // Reads every file that a model needs, in all folders, and hashes it. `progress` (may be empty)
  // hears bytes on this thread. Errors: kIo, what `stop` says; what is broken is no error.
  Result<VerifyReport> Verify(
      const std::function<void(std::uint64_t done, std::uint64_t total)>& progress, StopToken stop);
  // Removes the file of a blob if its bytes are not those of its name, so that it can be fetched
  // again. Errors: kForbidden, kIo.
  Status RemoveBroken(const Digest& digest);

 private:
  struct State;
  explicit Store(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// A blob on its way in; destroyed without Commit, or after one that failed: nothing is left behind.
// One thread at a time.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;
  // Errors: kForbidden, kIo (disk full).
  virtual Status Append(std::string_view bytes) = 0;
  // Compares hashes; then fsync and rename. Once only. Keeps the blob as HasBlob does.
  // Errors: kCorrupt `digest mismatch, expected "sha256:a", got "sha256:b"`, kForbidden, kIo.
  virtual Status Commit(const Digest& expected) = 0;
};

}  // namespace corral::models
