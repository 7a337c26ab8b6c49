// A mutex that is served in the order of asking. With std::mutex the engine thread, which lets go
// and asks again at once, would keep the embedder from computing for as long as a stream runs.
// Lockable by std::lock_guard. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace corral::engine {

class TurnLock {
 public:
  void lock() {
    std::unique_lock lock(mutex_);
    const std::uint64_t ticket = next_ticket_++;
    turn_.wait(lock, [&] { return serving_ == ticket; });
  }
  void unlock() {
    {
      const std::lock_guard lock(mutex_);
      ++serving_;
    }
    turn_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable turn_;
  std::uint64_t next_ticket_ = 0, serving_ = 0;  // guarded by mutex_
};

}  // namespace corral::engine
