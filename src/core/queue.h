// A bounded queue between threads. Full: TryPush says so, Push waits until a deadline; a waiting
// producer also wakes on Close. Closed: pushes are refused; what is inside is still popped; then
// Pop returns nullopt.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "core/stop.h"

namespace corral {

enum class PushResult { kPushed, kFull, kClosed };

template <class T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  // Never waits. `value` is moved from only when pushed.
  PushResult TryPush(T&& value) {
    {
      const std::lock_guard lock(mutex_);
      if (is_closed_) return PushResult::kClosed;
      if (values_.size() >= capacity_) return PushResult::kFull;
      values_.push_back(std::move(value));
    }
    not_empty_.notify_one();
    return PushResult::kPushed;
  }

  // kFull once the deadline has passed.
  PushResult Push(T&& value, Deadline deadline = kNoDeadline) {
    {
      std::unique_lock lock(mutex_);
      const auto has_room = [this] { return is_closed_ || values_.size() < capacity_; };
      if (!WaitFor(not_full_, lock, deadline, has_room)) return PushResult::kFull;
      if (is_closed_) return PushResult::kClosed;
      values_.push_back(std::move(value));
    }
    not_empty_.notify_one();
    return PushResult::kPushed;
  }

  // nullopt: closed and empty, or the deadline has passed.
  std::optional<T> Pop(Deadline deadline = kNoDeadline) {
    std::optional<T> value;
    {
      std::unique_lock lock(mutex_);
      if (!WaitFor(not_empty_, lock, deadline, [this] { return is_closed_ || !values_.empty(); }))
        return std::nullopt;
      if (values_.empty()) return std::nullopt;
      value.emplace(std::move(values_.front()));
      values_.pop_front();
    }
    not_full_.notify_one();
    return value;
  }

  void Close() {
    {
      const std::lock_guard lock(mutex_);
      is_closed_ = true;
    }
    not_empty_.notify_all();
    not_full_.notify_all();
  }

  std::size_t Size() const {
    const std::lock_guard lock(mutex_);
    return values_.size();
  }
  bool IsClosed() const {
    const std::lock_guard lock(mutex_);
    return is_closed_;
  }

 private:
  template <class Predicate>
  static bool WaitFor(std::condition_variable& event, std::unique_lock<std::mutex>& lock,
                      Deadline deadline, Predicate predicate) {
    if (deadline == kNoDeadline) {
      event.wait(lock, predicate);
      return true;
    }
    return event.wait_until(lock, deadline, predicate);
  }

  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable not_empty_, not_full_;
  std::deque<T> values_;    // guarded by mutex_
  bool is_closed_ = false;  // guarded by mutex_
};

}  // namespace corral
