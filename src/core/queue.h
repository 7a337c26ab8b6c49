// A bounded queue between threads. Full: TryPush says so, Push waits until a deadline; a waiting
// producer also wakes on Close and when its token stops. Closed: pushes are refused; what is inside
// is still popped; then Pop returns nullopt.
//
// Thread-safe; any number of producers and consumers; first in, first out. With capacity 0 it is
// always full.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "core/mutex.h"
#include "core/stop.h"

namespace corral {

enum class PushResult { kPushed, kFull, kClosed, kCancelled };

template <class T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  // Never waits. `value` is moved from only when pushed.
  PushResult TryPush(T&& value) {
    {
      const MutexLock lock(mutex_);
      if (is_closed_) return PushResult::kClosed;
      if (values_.size() >= capacity_) return PushResult::kFull;
      values_.push_back(std::move(value));
    }
    not_empty_.NotifyOne();
    return PushResult::kPushed;
  }

  // kFull once the deadline has passed, kCancelled once `stop` has stopped. `value` is moved from
  // only when pushed.
  PushResult Push(T&& value, Deadline deadline = kNoDeadline, const StopToken& stop = {}) {
    const StopCallback wake(
        stop, [this] { WakeAll(); });  // made and ended without the lock, which it takes
    {
      const MutexLock lock(mutex_);
      for (bool is_late = false;;) {
        if (is_closed_) return PushResult::kClosed;
        if (stop.StopRequested()) return PushResult::kCancelled;
        if (values_.size() < capacity_) break;
        if (is_late) return PushResult::kFull;
        is_late = !not_full_.WaitUntil(mutex_, deadline);
      }
      values_.push_back(std::move(value));
    }
    not_empty_.NotifyOne();
    return PushResult::kPushed;
  }

  // nullopt: closed and empty, the deadline has passed, or `stop` has stopped (whatever is inside
  // stays inside).
  std::optional<T> Pop(Deadline deadline = kNoDeadline, const StopToken& stop = {}) {
    const StopCallback wake(stop, [this] { WakeAll(); });
    std::optional<T> value;
    {
      const MutexLock lock(mutex_);
      for (bool is_late = false;;) {
        if (stop.StopRequested()) return std::nullopt;
        if (!values_.empty()) break;
        if (is_closed_ || is_late) return std::nullopt;
        is_late = !not_empty_.WaitUntil(mutex_, deadline);
      }
      value.emplace(std::move(values_.front()));
      values_.pop_front();
    }
    not_full_.NotifyOne();
    return value;
  }

  void Close() {
    {
      const MutexLock lock(mutex_);
      is_closed_ = true;
    }
    not_empty_.NotifyAll();
    not_full_.NotifyAll();
  }

  std::size_t Size() const {
    const MutexLock lock(mutex_);
    return values_.size();
  }
  bool IsClosed() const {
    const MutexLock lock(mutex_);
    return is_closed_;
  }

 private:
  void WakeAll() {
    // The lock: else the wake-up could fall between a waiter's look at its token and its sleep.
    const MutexLock lock(mutex_);
    not_empty_.NotifyAll();
    not_full_.NotifyAll();
  }

  const std::size_t capacity_;
  mutable Mutex mutex_;
  CondVar not_empty_, not_full_;
  std::deque<T> values_ CORRAL_GUARDED_BY(mutex_);
  bool is_closed_ CORRAL_GUARDED_BY(mutex_) = false;
};

}  // namespace corral
