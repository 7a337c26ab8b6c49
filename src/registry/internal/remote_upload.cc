// Remote: uploads. Source: the OCI distribution specification 1.1, section "Push"; Ollama's
// server/upload.go for its own registry (X-Redirect-Uploads, Docker-Upload-Location, etag).
#include <utility>

#include "core/text.h"
#include "models/manifest.h"
#include "registry/internal/remote.h"

namespace corral::registry::internal {
namespace {

constexpr int kCommitPatience = 20;  // a registry may copy and hash all of a blob at its end
constexpr std::size_t kMaxAnswerBytes = 64U << 10;

// Where an upload goes on. Ollama's registry says so in a header of its own.
std::string_view UploadLocation(const Head& head) {
  const std::string_view own = head.Header("docker-upload-location");
  return own.empty() ? head.Header("location") : own;
}

Error Unexpected(const Head& head) {
  return {Code::kUpstream, "unexpected status code " + std::to_string(head.status)};
}

}  // namespace

Result<bool> Remote::HasBlob(const models::Digest& digest, const StopToken& stop) {
  Request request{.method = "HEAD"};
  CORRAL_TRY(request.url, Address("blobs/" + digest.ToString()));
  Url last;
  const Result<Reply> reply =
      Send(std::move(request), kMaxAnswerBytes, stop, /*is_cut=*/true, &last);
  if (reply) return true;
  if (reply.error().code == Code::kNotFound) return false;
  return Fail(reply.error());
}

Result<std::optional<Url>> Remote::StartUpload(const models::Digest& digest,
                                               const std::string& from, const StopToken& stop) {
  Request request{.method = "POST"};
  std::string path = "blobs/uploads/";
  if (!from.empty())
    path += "?from=" + EncodeQuery(from) + "&mount=" + EncodeQuery(digest.ToString());
  CORRAL_TRY(request.url, Address(path));
  Url last;
  CORRAL_TRY(const Reply reply,
             Send(std::move(request), kMaxAnswerBytes, stop, /*is_cut=*/true, &last));
  if (reply.head.status == 201) return std::nullopt;
  if (reply.head.status != 202 || UploadLocation(reply.head).empty())
    return Fail(Unexpected(reply.head));
  CORRAL_TRY(Url upload, Follow(last, UploadLocation(reply.head)));
  return upload;
}

Result<std::int64_t> Remote::UploadedBytes(Url* upload, const StopToken& stop) {
  Request request;
  request.url = *upload;
  Url last;
  CORRAL_TRY(const Reply reply,
             Send(std::move(request), kMaxAnswerBytes, stop, /*is_cut=*/true, &last));
  // "0-499", or "0-0" and none at all for nothing.
  std::string_view range = reply.head.Header("range");
  if (range.starts_with("bytes=")) range.remove_prefix(6);
  std::int64_t n_bytes = 0;
  if (range.starts_with("0-")) {
    const auto end = ParseUint(range.substr(2));
    if (end && *end > 0 && *end < static_cast<std::uint64_t>(INT64_MAX))
      n_bytes = static_cast<std::int64_t>(*end) + 1;
  }
  if (const std::string_view next = UploadLocation(reply.head); !next.empty()) {
    CORRAL_TRY(*upload, Follow(last, next));
  }
  return n_bytes;
}

Status Remote::SendPart(Url* upload, std::int64_t offset, BodySource& body, const StopToken& stop) {
  Request request{.method = "PATCH"};
  request.url = *upload;
  request.headers = {
      "Content-Type: application/octet-stream",
      "Content-Range: " + std::to_string(offset) + "-" + std::to_string(offset + body.size() - 1),
      "X-Redirect-Uploads: 1"};
  request.body_source = &body;
  Url last;
  CORRAL_TRY(const Reply reply,
             Send(std::move(request), kMaxAnswerBytes, stop, /*is_cut=*/true, &last));
  const std::string_view next = UploadLocation(reply.head);
  if (reply.head.status == 307) {
    // The bytes go to a storage, whose address is all that it wants to know.
    CORRAL_TRY(const Url storage, Follow(last, reply.head.Header("location")));
    has_storage_ = true;
    Request put{.method = "PUT"};
    put.url = storage;
    put.body_source = &body;
    CORRAL_TRY(const Reply stored,
               session_.Send(std::move(put), kMaxAnswerBytes, stop, /*is_cut=*/true));
    if (stored.head.status < 200 || stored.head.status >= 300) return Fail(Unexpected(stored.head));
  } else if (reply.head.status < 200 || reply.head.status >= 300) {
    return Fail(Unexpected(reply.head));
  }
  if (next.empty()) return Fail(Code::kUpstream, "the registry does not say where to go on");
  CORRAL_TRY(*upload, Follow(last, next));
  return {};
}

Status Remote::FinishUpload(const Url& upload, const models::Digest& digest,
                            const std::string& etag, const StopToken& stop) {
  Request request{.method = "PUT"};
  const bool has_query = upload.text.find('?') != std::string::npos;
  std::string address =
      upload.text + (has_query ? "&" : "?") + "digest=" + EncodeQuery(digest.ToString());
  if (!etag.empty()) address += "&etag=" + EncodeQuery(etag);
  CORRAL_TRY(request.url, ParseUrl(address));
  request.patience = kCommitPatience;
  Url last;
  CORRAL_TRY(const Reply reply,
             Send(std::move(request), kMaxAnswerBytes, stop, /*is_cut=*/true, &last));
  if (reply.head.status >= 300) return Fail(Unexpected(reply.head));
  return {};
}

Status Remote::PutManifest(const std::string& tag, std::string manifest,
                           const std::string& media_type, const StopToken& stop) {
  Request request{.method = "PUT"};
  CORRAL_TRY(request.url, Address("manifests/" + tag));
  request.headers = {"Content-Type: " + media_type};
  request.body = std::move(manifest);
  Url last;
  CORRAL_TRY(const Reply reply,
             Send(std::move(request), kMaxAnswerBytes, stop, /*is_cut=*/true, &last));
  if (reply.head.status >= 300) return Fail(Unexpected(reply.head));
  return {};
}

}  // namespace corral::registry::internal
