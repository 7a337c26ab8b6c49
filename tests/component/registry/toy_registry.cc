#include "component/registry/toy_registry.h"

#include <cstdlib>
#include <utility>

#include "core/text.h"

namespace corral::testing {

ToyRegistry::ToyRegistry() {
  http::Router router;
  const auto handler = [this](http::Exchange& exchange) { return Answer(exchange); };
  router.Add({"GET", "HEAD"}, "/{path...}", handler);
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

http::Task<void> ToyRegistry::Answer(http::Exchange& exchange) {
  http::Response response = AnswerTo(exchange.request());
  (void)co_await exchange.Send(std::move(response));
}

http::Response ToyRegistry::AnswerTo(const http::Request& request) {
  const std::lock_guard lock(mutex_);
  seen_.push_back(
      {request.method, request.path, request.query, std::string(request.Header("authorization")),
       std::string(request.Header("range")), std::string(request.Header("user-agent"))});
  if (rule_) {
    if (auto response = rule_(request)) return *std::move(response);
  }
  const std::vector<std::string_view> parts = Split(request.path, '/');  // "", v2, ns, model, ...
  if (parts.size() != 6 || parts[1] != "v2") return http::Response(404);
  if (parts[4] == "blobs") return Blob(request);
  const auto found = manifests_.find(std::string(parts[2]) + "/" + std::string(parts[3]) + "/" +
                                     std::string(parts[5]));
  if (found == manifests_.end()) return http::Response(404, "application/json", "{}");
  return http::Response(200, std::string(models::kManifestMediaType), found->second);
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
