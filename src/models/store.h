// The model store: Ollama's layout under one folder, so that a volume goes back and forth (docs/formats/store.md).
//
// Thread-safe; several processes may share the folder. Blocking (disk, hashing): call from a blocking pool only.
// A blob or manifest is absent or whole: writers fill a temporary file, fsync, rename, fsync the folder. What another request
// or process may be using is not deleted: a lock for the store (shared: uses and creates; exclusive: deletes, prunes) and
// one a blob (docs/formats/store.md, Locks).
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/job.h"
#include "core/result.h"
#include "core/stop.h"
#include "gguf/reader.h"
#include "models/manifest.h"
#include "models/name.h"

namespace corral::models {

// A parameter of a model or a request: JSON scalars, or a list of strings (stop).
using ParamValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>>;
using Params = std::map<std::string, ParamValue>;  // sorted, as on disk

struct StoredMessage {
  std::string role, content;
};

// A model with its small layers read: what a request needs. Immutable, shared by requests.
struct Model {
  ModelName name;
  Manifest manifest;
  ModelConfig config;
  std::chrono::system_clock::time_point modified_at;  // manifest's mtime
  std::filesystem::path gguf;                         // empty: no weights (remote stub)
  std::vector<std::filesystem::path> projectors, adapters;
  std::optional<std::string> template_text;  // Go template
  std::string system;
  Params params;
  std::vector<StoredMessage> messages;
  std::vector<std::string> licenses;
  std::shared_ptr<const gguf::Info> info;  // header of `gguf`; null if it cannot be read

  // Which template renders (http-api.md section 2.14) given OLLAMA_GO_TEMPLATE (unset, true, false).
  bool UsesGoTemplate(std::optional<bool> go_template_setting) const;
  // Section 2.15, for the template that is used.
  std::vector<Capability> Capabilities(std::optional<bool> go_template_setting) const;
  bool Has(Capability capability, std::optional<bool> go_template_setting) const;
};

// One row of /api/tags.
struct ModelSummary {
  ModelName name;
  std::string digest;
  std::int64_t size_bytes = 0;
  std::chrono::system_clock::time_point modified_at;
  ModelConfig config;
  std::vector<Capability> capabilities;
  std::int64_t context_length = 0, embedding_length = 0;
};

// What `create` was asked for. Files are blobs that were uploaded before.
struct CreateSpec {
  ModelName name;
  std::optional<ModelName> from;                              // base model in the store
  std::vector<std::pair<std::string, Digest>> files;          // GGUF only, here
  std::vector<std::pair<std::string, Digest>> adapters;
  std::optional<std::string> template_text, system;           // nullopt or empty: the base's
  std::string renderer, parser, requires_version;
  std::vector<std::string> licenses;                          // appended
  Params params;                                              // merged over the base's
  std::vector<StoredMessage> messages;                        // replace the base's if any
  // info overrides
  std::vector<std::string> capabilities;
  std::string model_family, base_name, quantization_level, parameter_size;
  std::optional<std::int64_t> context_length, embedding_length;
};

struct StoreOptions {
  bool is_prune_enabled = true;  // OLLAMA_NOPRUNE unset
  std::optional<bool> go_template;
};

class BlobWriter;

class Store {
 public:
  // Opens, and if need be creates, the store. A folder that cannot be written opens too; writers then answer kForbidden.
  // Renames blobs of the old form, and prunes at start (unless disabled, or a manifest is corrupt: logged).
  // Errors: kIo (cannot create or read).
  static Result<std::unique_ptr<Store>> Open(std::filesystem::path root, StoreOptions options);
  ~Store();

  const std::filesystem::path& root() const;

  // All models whose manifest reads, newest first. Bad ones are logged once and skipped.
  Result<std::vector<ModelSummary>> List();

  // Resolves without regard to case, as a whole name (docs/formats/store.md). Errors: kNotFound (no text: callers have their
  // own), kCorrupt. Cached by manifest digest, checked against the file on each call.
  Result<std::shared_ptr<const Model>> Load(const ModelName& name);
  // The stored spelling of `name`, or `name` itself.
  ModelName Existing(const ModelName& name);

  // Errors: kNotFound, kForbidden, kIo.
  Status Copy(const ModelName& source, const ModelName& destination);
  // The manifest, then the blobs that no other manifest uses. Errors: kNotFound, kForbidden, kIo.
  Status Delete(const ModelName& name);

  // Status lines ("using existing layer sha256:...", "writing manifest") go to `progress`. Files are checked as GGUF.
  // Errors: kInvalidArgument, kNotFound, kForbidden, kIo, kCancelled.
  Status Create(const CreateSpec& spec, const std::function<void(std::string)>& progress, StopToken stop);

  bool HasBlob(const Digest& digest);
  std::filesystem::path BlobPath(const Digest& digest) const;
  // Streams a new blob in: Append..., then Commit. Errors: kForbidden, kIo.
  Result<std::unique_ptr<BlobWriter>> NewBlob();

 private:
  struct State;
  explicit Store(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// A blob on its way in; destroyed without Commit: nothing is left behind. One thread at a time.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;
  virtual Status Append(std::string_view bytes) = 0;
  // Hashes are compared; then fsync and rename. Errors: kCorrupt `digest mismatch, expected "sha256:a", got "sha256:b"`, kIo.
  virtual Status Commit(const Digest& expected) = 0;
};

// `modelfile` of /api/show.
std::string ShowModelfile(const Model& model);
// `parameters` of /api/show: name padded to 30 columns, a space, the value; sorted.
std::string ShowParameters(const Params& params);

}  // namespace corral::models
