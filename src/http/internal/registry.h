// The open connections, which of them are at work, and the phases of a graceful stop.
//
//   kServing ──Drain──▶ kDraining ──grace over, Hasten──▶ kStopping ──time over──▶ kClosed
//   kDraining  requests are served, each with Connection: close; idle connections stay until
//   nothing runs kStopping  running requests are stopped (kShutdown), new ones get 503 kClosed what
//   is left is cut
//
// Thread-safe. Connections are told outside the lock; they must come to their own strand before
// they act.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "core/mutex.h"
#include "core/stop.h"

namespace corral::http {

enum class Phase { kServing, kDraining, kStopping, kClosed };

// What the registry asks of a connection. Called from any thread; must not wait and must not call
// back at once.
class Drainable {
 public:
  virtual ~Drainable() = default;
  virtual void OnStopping() = 0;  // the grace is over
  virtual void CloseIfIdle() = 0;
  virtual void Cut() = 0;  // close now, whatever runs
};

class Registry {
 public:
  explicit Registry(std::size_t max_connections) : max_connections_(max_connections) {}

  Phase phase() const { return phase_.load(); }

  // A new, idle connection. When full, the one that has been idle longest is closed for it; false:
  // none is idle.
  bool Add(const std::shared_ptr<Drainable>& connection);
  void Remove(Drainable* connection);
  // From the first byte of a request to the end of its answer.
  void MarkBusy(Drainable* connection);
  void MarkIdle(Drainable* connection);

  std::size_t n_connections() const;
  std::size_t n_busy() const;

  // kServing becomes kDraining: from here every answer says Connection: close. Once; later calls do
  // nothing.
  void BeginDrain(std::chrono::milliseconds grace);
  // Goes through the phases; returns when no connection is left, at the latest the grace +
  // kStopTime after BeginDrain.
  void AwaitDrain();
  // Ends the grace.
  void Hasten();

  static constexpr std::chrono::milliseconds kStopTime{2000};

 private:
  struct Entry {
    std::weak_ptr<Drainable> connection;
    bool is_busy = false;
    std::list<Drainable*>::iterator idle_place;  // valid while not busy
  };
  using Order = void (Drainable::*)();

  std::vector<std::shared_ptr<Drainable>> Connections() const CORRAL_REQUIRES(mutex_);
  // Moves the phase on if it is time; what all connections must be told now, or nullptr.
  Order NextOrder(Deadline now) CORRAL_REQUIRES(mutex_);

  const std::size_t max_connections_;
  std::atomic<Phase> phase_{Phase::kServing};  // written under mutex_
  mutable Mutex mutex_;
  CondVar changed_;
  std::unordered_map<Drainable*, Entry> entries_ CORRAL_GUARDED_BY(mutex_);
  std::list<Drainable*> idle_ CORRAL_GUARDED_BY(mutex_);  // the longest idle first
  std::size_t n_busy_ CORRAL_GUARDED_BY(mutex_) = 0;
  bool is_hastened_ CORRAL_GUARDED_BY(mutex_) = false;
  // Something became idle or was added since the last sweep.
  bool must_close_idle_ CORRAL_GUARDED_BY(mutex_) = false;
  Deadline next_phase_at_ CORRAL_GUARDED_BY(mutex_) = kNoDeadline;
};

}  // namespace corral::http
