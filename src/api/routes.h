// All routes of the API, put into a router.
#pragma once

#include "api/services.h"
#include "http/http.h"

namespace corral::api {

// The native dialect (/, /api/...), and ours: /healthz and /metrics. `services` is copied; what it
// refers to must outlive the router and every exchange.
void AddRoutes(http::Router& router, const Services& services);

}  // namespace corral::api
