#include "component/registry/toy_registry.h"

#include <cstdlib>
#include <utility>

#include "core/text.h"

namespace corral::testing {

ToyRegistry::ToyRegistry() {
  http::Router router;
  const auto handler = [this](http::Exchange& exchange) { return Answer(exchange); };
  router.Add({"GET", "HEAD", "POST", "PATCH", "PUT"}, "/{path...}", handler);
  http::ServerOptions options;
  options.port = 0;
  options.allowed_hosts = {"public.test", "inner.test"};
  auto started = http::Start(std::move(options), std::move(router));
  if (!started) std::abort();
  server_ = *std::move(started);
}

models::Layer ToyRegistry::AddBlob(std::string_view bytes, std::string_view kind,
                                   std::optional<std::string> served) {
  const models::Digest digest = models::Digest::OfBytes(bytes);
  const std::lock_guard lock(mutex_);
  blobs_[digest.ToString()] = served ? *std::move(served) : std::string(bytes);
  return {std::string(models::kMediaPrefix) + std::string(kind),
          digest,
          static_cast<std::int64_t>(bytes.size()),
          {},
          {}};
}

std::string ToyRegistry::AddModel(const std::string& name,
                                  const std::vector<models::Layer>& layers) {
  models::Layer config = AddBlob("{\"model_format\":\"gguf\"}\n");
  config.media_type = models::kConfigMediaType;
  std::string text = models::EncodeManifest(config, layers);
  AddManifest(name, text);
  return text;
}

void ToyRegistry::AddManifest(const std::string& name, std::string text) {
  const std::lock_guard lock(mutex_);
  manifests_["library/" + name + "/latest"] = std::move(text);
}

void ToyRegistry::SetRule(Rule rule) {
  const std::lock_guard lock(mutex_);
  rule_ = std::move(rule);
}

std::vector<ToyRegistry::Seen> ToyRegistry::seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

std::optional<std::string> ToyRegistry::BlobOf(const models::Digest& digest) const {
  const std::lock_guard lock(mutex_);
  const auto found = blobs_.find(digest.ToString());
  return found == blobs_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::string> ToyRegistry::ManifestOf(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = manifests_.find("library/" + name + "/latest");
  return found == manifests_.end() ? std::nullopt : std::optional(found->second);
}

void ToyRegistry::SetUploads(const std::string& bytes) {
  const std::lock_guard lock(mutex_);
  for (auto& [path, upload] : uploads_) upload = bytes;
}

http::Task<void> ToyRegistry::Answer(http::Exchange& exchange) {
  const Result<std::string> body = co_await exchange.ReadBody();
  http::Response response =
      body ? AnswerTo(exchange.request(), *body) : http::Response(400, "text/plain", "no body");
  (void)co_await exchange.Send(std::move(response));
}

http::Response ToyRegistry::AnswerTo(const http::Request& request, const std::string& body) {
  Rule rule;
  {
    const std::lock_guard lock(mutex_);
    seen_.push_back(
        {request.method, request.path, request.query, std::string(request.Header("authorization")),
         std::string(request.Header("range")), std::string(request.Header("user-agent")),
         std::string(request.Header("content-range")), body});
    rule = rule_;
  }
  if (rule) {
    if (auto response = rule(request)) return *std::move(response);
  }
  const std::lock_guard lock(mutex_);
  const std::vector<std::string_view> parts = Split(request.path, '/');  // "", v2, ns, model, ...
  if (parts.size() == 7 && parts[5] == "uploads") return Upload(request, body);
  if (parts.size() != 6 || parts[1] != "v2") return http::Response(404);
  if (parts[4] == "blobs") return Blob(request);
  const std::string name =
      std::string(parts[2]) + "/" + std::string(parts[3]) + "/" + std::string(parts[5]);
  if (request.method == "PUT") {
    manifests_[name] = body;
    return http::Response(201);
  }
  const auto found = manifests_.find(name);
  if (found == manifests_.end()) return http::Response(404, "application/json", "{}");
  return http::Response(200, std::string(models::kManifestMediaType), found->second);
}

// As the OCI distribution specification has it: a part at a time, from where the last one ended.
http::Response ToyRegistry::Upload(const http::Request& request, const std::string& body) {
  if (request.method == "POST") {
    const std::string path = request.path + std::to_string(uploads_.size());
    uploads_[path];
    http::Response response(202);
    response.headers = {{"Location", path}};
    return response;
  }
  const auto found = uploads_.find(request.path);
  if (found == uploads_.end()) return http::Response(404, "application/json", "{}");
  std::string& bytes = found->second;
  if (request.method == "PATCH") {
    if (!request.Header("content-range").starts_with(std::to_string(bytes.size()) + "-"))
      return http::Response(416);
    bytes += body;
  } else if (request.method == "PUT") {
    const models::Digest digest = models::Digest::OfBytes(bytes);
    if (request.query.find(digest.hex()) == std::string::npos) return http::Response(400);
    blobs_[digest.ToString()] = std::move(bytes);
    uploads_.erase(found);
    return http::Response(201);
  }
  http::Response response(request.method == "GET" ? 204 : 202);
  response.headers = {{"Location", request.path}};
  if (!bytes.empty())
    response.headers.emplace_back("Range", "0-" + std::to_string(bytes.size() - 1));
  return response;
}

http::Response ToyRegistry::Blob(const http::Request& request) {
  const auto found = blobs_.find(request.path.substr(request.path.rfind('/') + 1));
  if (found == blobs_.end()) return http::Response(404, "application/json", "{}");
  const std::string& bytes = found->second;
  http::Response response(200, "application/octet-stream");
  std::string_view range = request.Header("range");
  if (ignores_ranges_ || !range.starts_with("bytes=")) {
    response.body = bytes;
  } else {
    range.remove_prefix(6);
    const std::size_t dash = range.find('-');
    const std::size_t begin = ParseUint(range.substr(0, dash)).value_or(0);
    const std::size_t end =
        std::min<std::size_t>(ParseUint(range.substr(dash + 1)).value_or(0) + 1, bytes.size());
    response.status = 206;
    response.body = bytes.substr(begin, end - begin);
    response.headers = {{"Content-Range", "bytes " + std::to_string(begin) + "-" +
                                              std::to_string(end - 1) + "/" +
                                              std::to_string(bytes.size())}};
  }
  n_served_ += response.body.size();
  return response;
}

}  // namespace corral::testing
