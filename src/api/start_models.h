// Brings the models that the server was told to have at start, pulled (CORRAL_PULL) and loaded
// (CORRAL_PRELOAD), and tells Readiness how far it is.
//
// It takes the ways of requests: the registry pulls, the store finds the model, the scheduler loads
// it. Whatever goes wrong is logged and tried again, with growing pauses, until it works or the
// server stops (each cause once, and again every five minutes, so that it is in the end of a log):
// a registry may be away, a sidecar may still be pulling. Only a name that is no name is given up,
// and then the server never gets ready.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "api/readiness.h"
#include "api/services.h"
#include "core/result.h"
#include "core/stop.h"
#include "models/name.h"

namespace corral::api {

class StartModels {
 public:
  // What tests replace.
  struct Surroundings {
    // Brings the model into the store; says how far it is, for people. Null: Services::registry.
    std::function<Status(const models::ModelName&, const StopToken&,
                         const std::function<void(std::string)>& say)>
        pull;
    // Waits this long, or until the token stops. Null: by the clock.
    std::function<void(std::chrono::nanoseconds, const StopToken&)> pause;
  };

  // From here on `services.readiness` waits for the models; nothing is done yet. `services` is
  // copied; what it refers to must outlive this.
  explicit StartModels(const Services& services, Surroundings surroundings = {});

  // Returns when all are there or `stop` is requested. Blocks (network, disk, loads): on a thread
  // of its own. Once.
  void Run(const StopToken& stop);

 private:
  enum class Verb { kPull, kLoad };
  struct Job {
    Verb verb;
    models::ModelName name;
    std::string what;  // for Readiness: "pull llama3.2"
    std::string last_error = {};
    int n_silent_tries = 0;  // that failed like the one before, since the log said so
  };

  void Add(Verb verb, const std::string& name);
  // One attempt each. Errors: those of Registry::Pull, Store::Load and Scheduler::Acquire.
  Status Pull(const Job& job, const StopToken& stop);
  Status Load(const Job& job, const StopToken& stop);
  void Report(Job& job, const Error& error, std::chrono::seconds pause);

  const Services services_;
  Surroundings surroundings_;
  std::vector<Job> jobs_;  // pulls first: a model that is pulled may be one to load
};

}  // namespace corral::api
