#include "api/request_metrics.h"

#include <memory>

namespace corral::api {
namespace {

constexpr std::string_view kRoutes[] = {
    "/",           "/api/version",  "/api/status", "/api/tags",  "/api/ps",
    "/api/show",   "/api/generate", "/api/chat",   "/api/embed", "/api/embeddings",
    "/api/create", "/api/pull",     "/api/push",   "/api/copy",  "/api/delete",
    "/healthz",    "/readyz",       "/metrics"};

// From a version answer to a long generation on a small machine.
const std::vector<double>& DurationBounds() {
  static const std::vector<double> kBounds = {0.001, 0.005, 0.02, 0.1, 0.5, 1,   2.5,
                                              5,     10,    30,   60,  120, 300, 600};
  return kBounds;
}

}  // namespace

std::string_view RouteOf(std::string_view path) {
  for (const std::string_view route : kRoutes) {
    if (path == route) return route;
  }
  return path.starts_with("/api/blobs/") ? "/api/blobs/{digest}" : "other";
}

void RequestMetrics::Observe(std::string_view path, int status, std::chrono::nanoseconds took) {
  const std::string_view route = RouteOf(path);
  const std::lock_guard lock(mutex_);
  auto count = counts_.find({route, status});
  if (count == counts_.end()) {
    const MetricLabels labels = {{"route", std::string(route)}, {"status", std::to_string(status)}};
    count = counts_
                .emplace(std::pair(route, status),
                         metrics_.GetCounter("corral_requests_total", "Requests answered.", labels))
                .first;
  }
  count->second.Add();
  auto duration = durations_.find(route);
  if (duration == durations_.end()) {
    const MetricLabels labels = {{"route", std::string(route)}};
    duration = durations_
                   .emplace(route, metrics_.GetHistogram(
                                       "corral_request_duration_seconds",
                                       "Time from a request's head to the end of its answer.",
                                       DurationBounds(), labels))
                   .first;
  }
  duration->second.Observe(std::chrono::duration<double>(took).count());
}

void WatchScheduler(Metrics& metrics, scheduler::Scheduler& scheduler) {
  struct Watched {
    Counter evaluated, reused, generated, guessed, guessed_right, encoded, encoding_reused;
    Gauge loaded, waiting, parked;
    std::mutex mutex;  // two readers of /metrics must not add the same difference twice
  };
  const std::shared_ptr<Watched> watched(new Watched{
      metrics.GetCounter("corral_prompt_tokens_evaluated_total",
                         "Prompt tokens that went through the model."),
      metrics.GetCounter("corral_prompt_tokens_reused_total",
                         "Prompt tokens taken from a shared or parked prefix."),
      metrics.GetCounter("corral_tokens_generated_total", "Tokens generated."),
      metrics.GetCounter("corral_tokens_guessed_total", "Tokens that prompt_lookup guessed."),
      metrics.GetCounter("corral_guesses_right_total",
                         "Guessed tokens that were the ones generated."),
      metrics.GetCounter("corral_media_encoded_total",
                         "Images and sounds that went through an encoder."),
      metrics.GetCounter("corral_media_reused_total",
                         "Images and sounds that were found encoded already."),
      metrics.GetGauge("corral_loaded_models", "Models loaded."),
      metrics.GetGauge("corral_waiting_requests", "Requests that wait for a model."),
      metrics.GetGauge("corral_prefix_cache_bytes",
                       "Memory that finished prompts take, of all loaded models."),
      {}});
  metrics.OnCollect([watched, &scheduler] {
    const std::lock_guard lock(watched->mutex);
    const EngineCounters totals = scheduler.TotalCounters();
    const auto raise = [](const Counter& counter, std::int64_t total) {
      counter.Add(static_cast<double>(total) - counter.Value());
    };
    raise(watched->evaluated, totals.prompt_tokens_evaluated);
    raise(watched->reused, totals.prompt_tokens_reused);
    raise(watched->generated, totals.tokens_generated);
    raise(watched->guessed, totals.tokens_guessed);
    raise(watched->guessed_right, totals.guesses_right);
    raise(watched->encoded, totals.media_encoded);
    raise(watched->encoding_reused, totals.media_reused);
    watched->loaded.Set(static_cast<double>(scheduler.Loaded().size()));
    watched->waiting.Set(scheduler.WaitingRequests());
    watched->parked.Set(static_cast<double>(totals.parked_bytes));
  });
}

}  // namespace corral::api
