// What tells about the server itself: /, /api/version, /api/status, /healthz, /readyz, /metrics;
// and the table of routes.
#include <utility>

#include "api/json_writer.h"
#include "api/native/handlers.h"
#include "api/native/serve.h"
#include "api/request_metrics.h"
#include "api/routes.h"
#include "api/version.h"

namespace corral::api {

http::Task<void> HandleRoot(const Services& /*services*/, http::Exchange& exchange) {
  co_await SendJson(exchange, "Ollama is running", "text/plain; charset=utf-8");
}

http::Task<void> HandleVersion(const Services& /*services*/, http::Exchange& exchange) {
  JsonWriter writer;
  writer.BeginObject().Field("version", kOllamaVersion).EndObject();
  co_await SendJson(exchange, writer.Take());
}

http::Task<void> HandleStatus(const Services& /*services*/, http::Exchange& exchange) {
  // There is no cloud behind this server: as Ollama under OLLAMA_NO_CLOUD=1.
  co_await SendJson(exchange, R"({"cloud":{"disabled":true,"source":"env"}})");
}

http::Task<void> HandleHealth(const Services& services, http::Exchange& exchange) {
  // A proxy goes elsewhere once the server is on its way out.
  if (services.readiness.IsDraining()) {
    co_await SendFailure(exchange, Failure(503, "server is shutting down"));
    co_return;
  }
  co_await SendJson(exchange, R"({"status":"ok"})");
}

http::Task<void> HandleReady(const Services& services, http::Exchange& exchange) {
  std::optional<std::string> why_not = services.readiness.WhyNot();
  if (why_not) {
    co_await SendFailure(exchange, Failure(503, *std::move(why_not)));
    co_return;
  }
  co_await SendJson(exchange, R"({"status":"ready"})");
}

http::Task<void> HandleMetrics(const Services& services, http::Exchange& exchange) {
  std::function<Result<std::string>()> write = [&services]() -> Result<std::string> {
    return services.metrics.Text();
  };
  Result<std::string> text = co_await OnBlockingPool<std::string>(exchange, std::move(write));
  if (!text) {
    co_await SendFailure(exchange, FailureOf(std::move(text).error(), exchange.stop()));
    co_return;
  }
  co_await SendJson(exchange, *std::move(text), "text/plain; version=0.0.4; charset=utf-8");
}

void AddRoutes(http::Router& router, const Services& services) {
  WatchScheduler(services.metrics, services.scheduler);
  const auto shared = std::make_shared<const Services>(services);
  using Function = http::Task<void> (*)(const Services&, http::Exchange&);
  const auto add = [&](std::vector<std::string> methods, std::string pattern, Function function) {
    router.Add(
        std::move(methods), std::move(pattern),
        [shared, function](http::Exchange& exchange) { return function(*shared, exchange); });
  };
  add({"GET", "HEAD"}, "/", &HandleRoot);
  add({"GET", "HEAD"}, "/api/version", &HandleVersion);
  add({"GET"}, "/api/status", &HandleStatus);
  add({"GET", "HEAD"}, "/api/tags", &HandleTags);
  add({"GET"}, "/api/ps", &HandlePs);
  add({"POST"}, "/api/show", &HandleShow);
  add({"POST"}, "/api/generate", &HandleGenerate);
  add({"POST"}, "/api/chat", &HandleChat);
  add({"POST"}, "/api/embed", &HandleEmbed);
  add({"POST"}, "/api/embeddings", &HandleEmbeddings);
  add({"POST"}, "/api/rerank", &HandleRerank);
  add({"POST"}, "/v1/rerank", &HandleV1Rerank);
  add({"POST"}, "/api/tokenize", &HandleTokenize);
  add({"POST"}, "/api/detokenize", &HandleDetokenize);
  add({"POST"}, "/api/pull", &HandlePull);
  add({"POST"}, "/api/push", &HandlePush);
  add({"POST"}, "/api/create", &HandleCreate);
  add({"POST"}, "/api/copy", &HandleCopy);
  add({"DELETE"}, "/api/delete", &HandleDelete);
  add({"HEAD", "POST"}, "/api/blobs/{digest}", &HandleBlob);
  add({"GET"}, "/healthz", &HandleHealth);
  add({"GET"}, "/readyz", &HandleReady);
  add({"GET"}, "/metrics", &HandleMetrics);
}

}  // namespace corral::api
