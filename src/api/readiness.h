// What /readyz says: ready once everything that the server was told to have at start is there, and
// until SIGTERM.
//
// Thread-safe: those who bring things report, requests ask.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "core/mutex.h"

namespace corral::api {

class Readiness {
 public:
  // `what` is waited for; `state` says how far it is, for people ("waiting", "pulling: 34%").
  // Again: a new state.
  void WaitFor(const std::string& what, std::string state);
  void Have(const std::string& what);

  // From now on never ready.
  void StartDraining();
  bool IsDraining() const;

  // nullopt: ready. Else why not: "server is shutting down", or what is waited for, each with its
  // state.
  std::optional<std::string> WhyNot() const;

 private:
  mutable Mutex mutex_;
  std::map<std::string, std::string> waited_for_ CORRAL_GUARDED_BY(mutex_);
  bool is_draining_ CORRAL_GUARDED_BY(mutex_) = false;
};

}  // namespace corral::api
