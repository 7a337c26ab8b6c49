// What the handlers of all dialects work with. Made by app, outlives the HTTP server.
#pragma once

#include <functional>

#include "core/metrics.h"
#include "core/settings.h"
#include "models/store.h"
#include "scheduler/scheduler.h"

namespace corral::api {

struct Services {
  models::Store& store;
  scheduler::Scheduler& scheduler;
  const Settings& settings;
  Metrics& metrics;
  // False from SIGTERM on: /healthz then answers 503, so that a proxy goes elsewhere. Empty: always
  // ready. Thread-safe.
  std::function<bool()> is_ready;
};

}  // namespace corral::api
