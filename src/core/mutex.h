// A mutex whose use clang checks (-Wthread-safety): data says CORRAL_GUARDED_BY(mutex_), a function
// that needs the lock says CORRAL_REQUIRES(mutex_). std::mutex carries no such annotations.
//
//   mutable Mutex mutex_;
//   int n_ CORRAL_GUARDED_BY(mutex_) = 0;
//
//   const MutexLock lock(mutex_);
//   while (n_ == 0) changed_.Wait(mutex_);   // no lambda as predicate: the analysis doesn't look
//   into it
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "core/stop.h"

#if defined(__clang__)
#define CORRAL_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define CORRAL_THREAD_ANNOTATION(x)
#endif
#define CORRAL_GUARDED_BY(mutex) CORRAL_THREAD_ANNOTATION(guarded_by(mutex))
#define CORRAL_REQUIRES(...) CORRAL_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define CORRAL_EXCLUDES(...) CORRAL_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))

namespace corral {

class CORRAL_THREAD_ANNOTATION(capability("mutex")) Mutex {
 public:
  void Lock() CORRAL_THREAD_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  void Unlock() CORRAL_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class CORRAL_THREAD_ANNOTATION(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) CORRAL_THREAD_ANNOTATION(acquire_capability(mutex))
      : mutex_(mutex) {
    mutex_.Lock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  ~MutexLock() CORRAL_THREAD_ANNOTATION(release_capability()) { mutex_.Unlock(); }

 private:
  Mutex& mutex_;
};

// Wakes up for no reason too: wait in a loop that looks at the data.
class CondVar {
 public:
  void Wait(Mutex& mutex) CORRAL_REQUIRES(mutex) {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    event_.wait(lock);
    lock.release();
  }
  // False: the deadline has passed. kNoDeadline waits without end.
  bool WaitUntil(Mutex& mutex, Deadline deadline) CORRAL_REQUIRES(mutex) {
    if (deadline == kNoDeadline) {
      Wait(mutex);
      return true;
    }
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    const std::cv_status status = event_.wait_until(lock, deadline);
    lock.release();
    return status == std::cv_status::no_timeout;
  }
  void NotifyOne() { event_.notify_one(); }
  void NotifyAll() { event_.notify_all(); }

 private:
  std::condition_variable event_;
};

}  // namespace corral
