#include "registry/internal/remote.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "core/log.h"
#include "core/text.h"
#include "models/manifest.h"

namespace corral::registry::internal {
namespace {

constexpr std::size_t kMaxErrorBytes = 8U << 10;
constexpr std::size_t kMaxTokenBytes = 256U << 10;
constexpr std::size_t kProbeBytes = 64U << 10;
constexpr int kMaxRedirects = 10;  // Go's http.Client

constexpr std::string_view kOciManifestMediaType = "application/vnd.oci.image.manifest.v1+json";

Error Refused() { return {Code::kUnauthorized, "unauthorized: access denied"}; }

// `503: service unavailable`, as Ollama's makeRequestWithRetry.
Error StatusError(const Reply& reply) {
  if (reply.head.status == 404) return {Code::kNotFound, "file does not exist"};
  if (reply.head.status == 401) return Refused();
  const std::string body =
      ReplaceInvalidUtf8(std::string_view(reply.body).substr(0, kMaxErrorBytes));
  return {Code::kUpstream, std::to_string(reply.head.status) + ": " + std::string(TrimSpace(body))};
}

// The size of the whole in "bytes 0-99/1234"; nullopt if it does not begin at 0 or is not known.
std::optional<std::uint64_t> WholeSize(std::string_view content_range) {
  constexpr std::string_view kBegin = "bytes 0-";
  const std::size_t slash = content_range.rfind('/');
  if (!content_range.starts_with(kBegin) || slash == std::string_view::npos) return std::nullopt;
  return ParseUint(content_range.substr(slash + 1));
}

}  // namespace

Remote::Remote(const Options& options, Url base, const models::ModelName& name)
    : session_(options, std::move(base)), repository_(name.name_space() + "/" + name.model()) {}

Result<Url> Remote::Address(const std::string& path) const {
  std::string base = session_.named().text;
  while (base.ends_with('/')) base.pop_back();
  return ParseUrl(base + "/v2/" + repository_ + "/" + path);
}

Result<Url> Remote::Follow(const Url& from, std::string_view location) {
  CORRAL_TRY(Url next, ResolveUrl(from, location));
  if (from.scheme == "https" && next.scheme != "https") {
    return Fail(Code::kForbidden, "the registry leads from https to " + next.scheme + "://" +
                                      next.authority + ", which is not followed");
  }
  return next;
}

Result<Reply> Remote::SendOnce(Request request, std::size_t max_body_bytes, const StopToken& stop,
                               bool is_cut, Url* last) {
  for (int n_redirects = 0;; ++n_redirects) {
    Request hop = request;
    if (!authorization_.empty() && hop.url.HasSameOrigin(session_.named()))
      hop.headers.push_back("Authorization: " + authorization_);
    CORRAL_TRY(Reply reply, session_.Send(std::move(hop), max_body_bytes, stop, is_cut));
    const bool is_read = request.method == "GET" || request.method == "HEAD";
    if (!reply.head.IsRedirect() || !is_read) {
      *last = request.url;
      return reply;
    }
    if (n_redirects == kMaxRedirects)
      return Fail(Code::kUpstream, "stopped after " + std::to_string(kMaxRedirects) + " redirects");
    CORRAL_TRY(request.url, Follow(request.url, reply.head.Header("location")));
  }
}

Result<Reply> Remote::Send(Request request, std::size_t max_body_bytes, const StopToken& stop,
                           bool is_cut, Url* last) {
  CORRAL_TRY(Reply reply, SendOnce(request, max_body_bytes, stop, is_cut, last));
  // Only the registry itself may ask for something, not where it sends us.
  if (reply.head.status == 401 && last->HasSameOrigin(session_.named())) {
    CORRAL_TRY_STATUS(Authorize(reply.head, stop));
    CORRAL_TRY(reply, SendOnce(std::move(request), max_body_bytes, stop, is_cut, last));
  }
  if (reply.head.status >= 400) return Fail(StatusError(reply));
  return reply;
}

Status Remote::Authorize(const Head& refusal, const StopToken& stop) {
  const auto challenge = ParseChallenge(refusal.Header("www-authenticate"));
  authorization_.clear();
  if (!challenge) return Fail(Refused());
  if (challenge->scheme == Challenge::Scheme::kBearer) {
    CORRAL_TRY(const std::string token, FetchToken(*challenge, stop));
    authorization_ = "Bearer " + token;
    return {};
  }
  const Credentials credentials = LoadCredentials(session_.options().auth_file);
  const auto known = credentials.find(session_.named().authority);
  if (known == credentials.end()) return Fail(Refused());
  authorization_ = known->second;
  return {};
}

Result<std::string> Remote::FetchToken(const Challenge& challenge, const StopToken& stop) {
  const Options& options = session_.options();
  const Url& registry = session_.named();
  Request request;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  CORRAL_TRY(request.url, TokenUrl(challenge, MakeNonce(),
                                   std::chrono::duration_cast<std::chrono::seconds>(now).count()));
  const Url& realm = request.url;
  if (registry.scheme == "https" && realm.scheme != "https")
    return Fail(Code::kForbidden, "the registry asks for a token by plain http, which is not sent");
  // CVE-2025-51471: what is ours goes to the registry that the user named, or to the host that a
  // password was given for. Others are asked as anybody would ask them.
  const bool is_own = realm.authority == registry.authority && realm.scheme == registry.scheme;
  const Credentials credentials = LoadCredentials(options.auth_file);
  if (const auto known = credentials.find(realm.authority); known != credentials.end()) {
    request.headers.push_back("Authorization: " + known->second);
  } else if (is_own && !options.key_file.empty()) {
    const Result<SigningKey> key = SigningKey::LoadOrCreate(options.key_file);
    if (key) {
      request.headers.push_back("Authorization: " + SignedAuthorization(*key, realm));
    } else {
      Log(LogLevel::kWarn, "asking the registry for a token without a key",
          {{"error", key.error().message}});
    }
  }
  const bool is_anonymous = request.headers.empty();
  const std::string authority = realm.authority;
  CORRAL_TRY(const Reply reply,
             session_.Send(std::move(request), kMaxTokenBytes, stop, /*is_cut=*/true));
  if (reply.head.status == 200) return ParseToken(reply.body);
  if (is_anonymous && !is_own) {
    return Fail(Code::kUnauthorized, "realm host " + GoQuote(authority) +
                                         " does not match original host " +
                                         GoQuote(registry.authority));
  }
  if (reply.head.status >= 500) return Fail(StatusError(reply));
  return Fail(Refused());
}

Result<std::string> Remote::FetchManifest(const std::string& tag, const StopToken& stop) {
  Request request;
  CORRAL_TRY(request.url, Address("manifests/" + tag));
  request.headers = {"Accept: " + std::string(models::kManifestMediaType) + ", " +
                     std::string(kOciManifestMediaType)};
  Url last;
  CORRAL_TRY(Reply reply,
             Send(std::move(request), models::kMaxManifestBytes, stop, /*is_cut=*/false, &last));
  return std::move(reply.body);
}

Result<BlobSource> Remote::FindBlob(const models::Digest& digest, std::int64_t size_bytes,
                                    const StopToken& stop) {
  Request request;
  CORRAL_TRY(request.url, Address("blobs/" + digest.ToString()));
  const std::int64_t n_probed = std::min<std::int64_t>(size_bytes, kProbeBytes);
  if (n_probed > 0) request.headers = {"Range: bytes=0-" + std::to_string(n_probed - 1)};
  BlobSource source;
  const auto n_kept = static_cast<std::size_t>(n_probed);
  CORRAL_TRY(Reply reply, Send(std::move(request), std::max(n_kept, kMaxErrorBytes), stop,
                               /*is_cut=*/true, &source.url));
  source.has_ranges = reply.head.status == 206;
  const std::optional<std::uint64_t> size = source.has_ranges
                                                ? WholeSize(reply.head.Header("content-range"))
                                                : ParseUint(reply.head.Header("content-length"));
  if (source.has_ranges && !size)
    return Fail(Code::kUpstream, "the registry answers a range request with another range");
  if (size && *size != static_cast<std::uint64_t>(size_bytes)) {
    return Fail(Code::kCorrupt, "blob " + digest.ToString() + " has " + std::to_string(*size) +
                                    " bytes, its manifest says " + std::to_string(size_bytes));
  }
  if (!source.has_ranges && reply.head.status != 200)
    return Fail(Code::kUpstream, "unexpected status code " + std::to_string(reply.head.status));
  if (!authorization_.empty() && source.url.HasSameOrigin(session_.named()))
    source.headers.push_back("Authorization: " + authorization_);
  source.first_bytes = std::move(reply.body);
  if (source.first_bytes.size() > n_kept) source.first_bytes.resize(n_kept);
  return source;
}

}  // namespace corral::registry::internal
