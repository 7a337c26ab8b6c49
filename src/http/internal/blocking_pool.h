// A few threads for what may block (disk, hashing, big JSON), with a bounded queue: full is kBusy
// at once.
//
// Run is a coroutine: it comes back on the strand of its caller. Work that was queued is always
// run, also after Close, since it may refer to the frame of the coroutine that waits for it.
// Thread-safe.
#pragma once

#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include "core/queue.h"
#include "http/http.h"

namespace corral::http {

class BlockingPool {
 public:
  BlockingPool(int n_threads, std::size_t queue_capacity);
  ~BlockingPool();  // Close(), then joins
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Errors: kBusy (the queue is full, or closed), kInternal (`work` threw; logged).
  Task<Status> Run(std::function<void()> work);

  // Finishes what is queued, takes no more, joins. Once; not from a pool thread.
  void Close();

 private:
  BoundedQueue<std::function<void()>> queue_;
  std::vector<std::jthread> threads_;
};

}  // namespace corral::http
