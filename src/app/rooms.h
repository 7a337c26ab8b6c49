// The rooms behind the API, made from the settings and connected: what `corral serve` and the
// command line's own server (local_server.h) share.
#pragma once

#include <filesystem>
#include <memory>

#include "api/readiness.h"
#include "api/services.h"
#include "core/metrics.h"
#include "core/settings.h"
#include "models/store.h"
#include "registry/registry.h"
#include "scheduler/scheduler.h"
#include "worker/task.h"

namespace corral::app {

// The program that holds models: beside this one, or installed in ../lib/corral, unless a setting
// says otherwise. It need not be there.
std::filesystem::path WorkerProgram(const Settings& settings);

// Ends workers and transfers when it ends, in that order. Neither movable nor copyable: the
// services refer to it.
class Rooms {
 public:
  // Opens the store. `settings` must outlive the rooms. Errors: those of models::Store::Open.
  static Result<std::unique_ptr<Rooms>> Make(const Settings& settings);
  ~Rooms();
  Rooms(const Rooms&) = delete;
  Rooms& operator=(const Rooms&) = delete;

  api::Services services() {
    return {*store_, *scheduler_, *registry_, settings_, metrics_, readiness_, *tasks_};
  }
  Metrics& metrics() { return metrics_; }
  api::Readiness& readiness() { return readiness_; }
  // Stops the workers, within a grace of two seconds. Once; the destructor does it else.
  void StopWorkers();

 private:
  Rooms(const Settings& settings, std::unique_ptr<models::Store> store);

  const Settings& settings_;
  std::unique_ptr<models::Store> store_;
  Metrics metrics_;
  api::Readiness readiness_;
  std::unique_ptr<scheduler::Scheduler> scheduler_;
  std::unique_ptr<registry::Registry> registry_;
  std::unique_ptr<worker::TaskRunner> tasks_;
  bool has_stopped_ = false;
};

}  // namespace corral::app
