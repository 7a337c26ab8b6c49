// Values from any thread to one coroutine: mutex, deque and a timer as doorbell on the coroutine's
// strand.
//
// Push never waits and may be called from any thread; the sender is held back by credit
// (worker/client.h), so the deque is bounded by what the sender was allowed. Next() is for one
// coroutine at a time, on `executor`'s strand. Shared ownership (shared_ptr): sender and receiver
// end in any order. The sender may even outlive the server: a mailbox refers to the server's
// executor only while a coroutine waits in Next().
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "core/mutex.h"

namespace corral::http {

template <class T>
class Mailbox : public std::enable_shared_from_this<Mailbox<T>> {
 public:
  // `executor`: the receiver's strand, Exchange::executor(). Not kept: Next() waits on the strand
  // that it runs on.
  explicit Mailbox(const boost::asio::any_io_executor& /*executor*/) {}

  void Push(T value) {
    const MutexLock lock(mutex_);
    values_.push_back(std::move(value));
    // Under the lock: the receiver's frame, and with it the executor, lives as long as the bell
    // hangs.
    if (bell_ == nullptr || is_ringing_) return;
    is_ringing_ = true;
    boost::asio::post(bell_->get_executor(), [self = this->shared_from_this()] { self->Ring(); });
  }

  // Takes the oldest value; waits until there is one. The last value of a stream is known by its
  // content.
  boost::asio::awaitable<T> Next() {
    boost::asio::any_io_executor strand = co_await boost::asio::this_coro::executor;
    for (;;) {
      if (std::optional<T> value = TryNext()) co_return std::move(*value);
      boost::asio::steady_timer bell(strand, boost::asio::steady_timer::time_point::max());
      const Hanging hanging(*this, &bell);
      // On the strand: a Push between the look above and the wait below posts its ring behind us.
      if (hanging.is_needed) {
        co_await bell.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
      }
    }
  }

  // Takes the oldest value if there is one; never waits. For a receiver that writes several pieces
  // at once.
  std::optional<T> TryNext() {
    const MutexLock lock(mutex_);
    if (values_.empty()) return std::nullopt;
    std::optional<T> value(std::move(values_.front()));
    values_.pop_front();
    return value;
  }

  std::size_t Size() const {
    const MutexLock lock(mutex_);
    return values_.size();
  }

 private:
  // The bell hangs in the mailbox as long as the frame of Next() lives, however that frame ends.
  struct Hanging {
    Hanging(Mailbox& box, boost::asio::steady_timer* bell) : mailbox(box) {
      const MutexLock lock(mailbox.mutex_);
      is_needed = mailbox.values_.empty();
      if (is_needed) mailbox.bell_ = bell;
    }
    ~Hanging() {
      const MutexLock lock(mailbox.mutex_);
      mailbox.bell_ = nullptr;
    }
    Hanging(const Hanging&) = delete;
    Hanging& operator=(const Hanging&) = delete;
    Mailbox& mailbox;
    bool is_needed = false;
  };

  void Ring() {
    const MutexLock lock(mutex_);
    is_ringing_ = false;
    if (bell_ != nullptr) bell_->cancel();
  }

  mutable Mutex mutex_;
  std::deque<T> values_ CORRAL_GUARDED_BY(mutex_);
  // Of the waiting Next(); cancelled on its strand only.
  boost::asio::steady_timer* bell_ CORRAL_GUARDED_BY(mutex_) = nullptr;
  // A Ring() is posted and has not run.
  bool is_ringing_ CORRAL_GUARDED_BY(mutex_) = false;
};

}  // namespace corral::http
