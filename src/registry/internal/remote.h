// One repository of one registry: manifests and blobs, with whatever the registry wants of us
// first.
//
// Source of the requests: Ollama's server/images.go, the OCI distribution specification 1.1. A
// credential goes to the registry's own origin only, never along a redirect. One thread at a time;
// calls wait. Errors of all calls: kNotFound `file does not exist`, kUnauthorized `unauthorized:
// access denied`, kUpstream (`503: body`, or Go's text of a connection that failed), kForbidden,
// and what `stop` says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/result.h"
#include "core/stop.h"
#include "models/name.h"
#include "registry/internal/auth.h"
#include "registry/internal/session.h"
#include "registry/internal/url.h"

namespace corral::registry::internal {

// Where a blob's bytes are.
struct BlobSource {
  Url url;
  std::vector<std::string> headers;  // what to send there
  bool has_ranges = false;           // it answers range requests
  std::string first_bytes;           // the blob's first ones, which came along
};

class Remote {
 public:
  // `base`: the registry, without a path. `options` must outlive it. The files with passwords and
  // the key are read when the registry asks.
  Remote(const Options& options, Url base, const models::ModelName& name);

  // As it was sent. Errors also: kCorrupt (no manifest of a model).
  Result<std::string> FetchManifest(const std::string& tag, const StopToken& stop);
  // Follows redirects to where the blob lies. Errors also: kCorrupt (another size than
  // `size_bytes`).
  Result<BlobSource> FindBlob(const models::Digest& digest, std::int64_t size_bytes,
                              const StopToken& stop);

  // ---- uploads (remote_upload.cc) ----

  Result<bool> HasBlob(const models::Digest& digest, const StopToken& stop);
  // Where to send a blob; nullopt: the registry has taken it from `from`, another repository of its
  // own ("library/m"; empty: none).
  Result<std::optional<Url>> StartUpload(const models::Digest& digest, const std::string& from,
                                         const StopToken& stop);
  // How many bytes the registry has of an upload; `*upload` becomes where to go on.
  Result<std::int64_t> UploadedBytes(Url* upload, const StopToken& stop);
  // Sends bytes from `offset` on; `*upload` becomes where to go on.
  Status SendPart(Url* upload, std::int64_t offset, BodySource& body, const StopToken& stop);
  Status FinishUpload(const Url& upload, const models::Digest& digest, const std::string& etag,
                      const StopToken& stop);
  Status PutManifest(const std::string& tag, std::string manifest, const std::string& media_type,
                     const StopToken& stop);

  // Whether uploads went to a storage behind the registry, which wants an etag at the end.
  bool has_storage() const { return has_storage_; }

  Session& session() { return session_; }

 private:
  // Gets what a 401 asks for into authorization_.
  Status Authorize(const Head& refusal, const StopToken& stop);
  Result<std::string> FetchToken(const Challenge& challenge, const StopToken& stop);
  // With authorization, and again with a new one if the registry asks for it; follows the redirects
  // of GET and HEAD.
  // `*last` is the address that answered.
  Result<Reply> Send(Request request, std::size_t max_body_bytes, const StopToken& stop,
                     bool is_cut, Url* last);
  Result<Reply> SendOnce(Request request, std::size_t max_body_bytes, const StopToken& stop,
                         bool is_cut, Url* last);
  // Where a header of a reply from `from` leads. Errors: kForbidden (from https to http).
  static Result<Url> Follow(const Url& from, std::string_view location);
  // The URL of what is below /v2/<repository>/.
  Result<Url> Address(const std::string& path) const;

  Session session_;
  const std::string repository_;  // "library/llama3.2"
  bool has_storage_ = false;
  std::string authorization_ = {};  // the header's value; empty: none
};

}  // namespace corral::registry::internal
