// What the handlers of all dialects work with. Made by app, outlives the HTTP server.
#pragma once

#include "api/readiness.h"
#include "core/metrics.h"
#include "core/settings.h"
#include "models/store.h"
#include "registry/registry.h"
#include "scheduler/scheduler.h"

namespace corral::api {

struct Services {
  models::Store& store;
  scheduler::Scheduler& scheduler;
  registry::Registry& registry;
  const Settings& settings;
  Metrics& metrics;
  Readiness& readiness;
};

}  // namespace corral::api
