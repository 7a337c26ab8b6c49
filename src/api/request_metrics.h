// What /metrics says of requests and of the engine. The names are part of the interface
// (docs/formats/api.md):
//   corral_requests_total{route,status}, corral_request_duration_seconds{route}          by
//   RequestMetrics corral_prompt_tokens_evaluated_total, corral_prompt_tokens_reused_total,
//   corral_tokens_generated_total, corral_tokens_guessed_total, corral_guesses_right_total,
//   corral_media_encoded_total, corral_media_reused_total,
//   corral_loaded_models, corral_waiting_requests, corral_prefix_cache_bytes by WatchScheduler
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "core/metrics.h"
#include "scheduler/scheduler.h"

namespace corral::api {

// Counts answered requests. Thread-safe; never waits for long. `metrics` must outlive it.
//   options.on_access = [&](const http::Request& request, int status, std::chrono::nanoseconds
//   took) {
//     request_metrics.Observe(request.path, status, took);
//   };
class RequestMetrics {
 public:
  explicit RequestMetrics(Metrics& metrics) : metrics_(metrics) {}
  void Observe(std::string_view path, int status, std::chrono::nanoseconds took);

 private:
  Metrics& metrics_;
  std::mutex mutex_;
  std::map<std::pair<std::string_view, int>, Counter> counts_;  // guarded by mutex_
  std::map<std::string_view, Histogram> durations_;             // guarded by mutex_
};

// The route a path belongs to, from a fixed list; "other" for the rest, so that strangers cannot
// make new series.
std::string_view RouteOf(std::string_view path);

// Reads the scheduler's counters each time /metrics is asked for. Both must outlive the last
// Metrics::Text().
void WatchScheduler(Metrics& metrics, scheduler::Scheduler& scheduler);

}  // namespace corral::api
