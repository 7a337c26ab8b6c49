// All routes of the API, put into a router.
#pragma once

#include "api/services.h"
#include "http/http.h"

namespace corral::api {

// The native dialect (/, /api/...), and ours: /healthz, /readyz and /metrics. `services` is copied;
// what it refers to must outlive the router and every exchange. Puts the scheduler's counters into
// `services.metrics` (WatchScheduler); requests are counted by a RequestMetrics, which the server's
// on_access calls (request_metrics.h).
void AddRoutes(http::Router& router, const Services& services);

}  // namespace corral::api
