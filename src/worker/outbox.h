// Frames on their way out of a worker: written at once by whoever has one, and by a thread only
// when the socket is full.
//
// A stream sends a frame a token while all cores compute: waking a writer thread for each would
// take the cores away from the computation. So Send writes from the calling thread without waiting;
// what the socket does not take is kept, in order, and the writer thread waits for room. Send waits
// itself when kMostHeldBytes are held. Thread-safe.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace corral::worker {

class Outbox {
 public:
  static constexpr std::size_t kMostHeldBytes = 64U << 20;

  // `on_idle` is called about once a second on the writer thread. `on_lost` once, on any thread,
  // when the other side is gone.
  Outbox(int fd, std::function<void()> on_idle, std::function<void()> on_lost);
  // Writes what is held, then joins.
  ~Outbox();

  // Takes the bytes, whole: frames of several senders never mix. False: the other side is gone.
  bool Send(std::string_view bytes);

 private:
  void Write();
  void Lose();

  const int fd_;
  const std::function<void()> on_idle_, on_lost_;
  std::mutex mutex_;
  std::condition_variable event_;
  std::string held_;         // guarded by mutex_
  bool is_lost_ = false;     // guarded by mutex_
  bool is_closing_ = false;  // guarded by mutex_
  std::jthread writer_;
};

}  // namespace corral::worker
