// What the handlers of all dialects work with. Made by app, outlives the HTTP server.
#pragma once

#include <atomic>
#include <memory>

#include "api/readiness.h"
#include "core/metrics.h"
#include "core/settings.h"
#include "models/store.h"
#include "registry/registry.h"
#include "scheduler/scheduler.h"
#include "worker/task.h"

namespace corral::api {

struct Services {
  models::Store& store;
  scheduler::Scheduler& scheduler;
  registry::Registry& registry;
  const Settings& settings;
  Metrics& metrics;
  Readiness& readiness;
  worker::TaskRunner& tasks;  // quantises and converts for create
  // Creates that run, of all connections: each has a thread of its own.
  std::shared_ptr<std::atomic<int>> n_creates = std::make_shared<std::atomic<int>>(0);
};

}  // namespace corral::api
