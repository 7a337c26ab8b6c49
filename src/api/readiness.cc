#include "api/readiness.h"

#include <utility>

namespace corral::api {

void Readiness::WaitFor(const std::string& what, std::string state) {
  const MutexLock lock(mutex_);
  waited_for_[what] = std::move(state);
}

void Readiness::Have(const std::string& what) {
  const MutexLock lock(mutex_);
  waited_for_.erase(what);
}

void Readiness::StartDraining() {
  const MutexLock lock(mutex_);
  is_draining_ = true;
}

bool Readiness::IsDraining() const {
  const MutexLock lock(mutex_);
  return is_draining_;
}

std::optional<std::string> Readiness::WhyNot() const {
  const MutexLock lock(mutex_);
  if (is_draining_) return "server is shutting down";
  if (waited_for_.empty()) return std::nullopt;
  std::string text = "not ready: ";
  bool is_first = true;
  for (const auto& [what, state] : waited_for_) {
    if (!is_first) text += "; ";
    is_first = false;
    text.append(what).append(": ").append(state);
  }
  return text;
}

}  // namespace corral::api
