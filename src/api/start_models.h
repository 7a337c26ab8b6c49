// Brings the models that the server was told to have at start (CORRAL_PRELOAD), and tells Readiness
// how far it is.
//
// It takes the way of a request: the store finds the model, the scheduler loads it. Whatever goes
// wrong is logged and tried again, with growing pauses, until it works or the server stops: a
// sidecar may still be pulling the model, a volume may come late. Only a name that is no name is
// given up, and then the server never gets ready.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "api/readiness.h"
#include "api/services.h"
#include "core/result.h"
#include "core/stop.h"

namespace corral::api {

class StartModels {
 public:
  // Waits this long, or until the token stops. For tests, which do not wait.
  using Pause = std::function<void(std::chrono::nanoseconds, const StopToken&)>;

  // From here on `services.readiness` waits for the models; nothing is done yet. `services` is
  // copied; what it refers to must outlive this.
  explicit StartModels(const Services& services, Pause pause = nullptr);

  // Returns when all are there or `stop` is requested. Blocks (disk, loads): on a thread of its
  // own. Once.
  void Run(const StopToken& stop);

 private:
  struct Job {
    std::string name;  // as the setting has it
    std::string what;  // for Readiness
    std::string last_error = {};
  };

  // One attempt. Errors: those of Store::Load and Scheduler::Acquire.
  Status Load(const Job& job, const StopToken& stop);
  void Report(Job& job, const Error& error, std::chrono::seconds pause);

  const Services services_;
  const Pause pause_;
  std::vector<Job> jobs_;
};

}  // namespace corral::api
