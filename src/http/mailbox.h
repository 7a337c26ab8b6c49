// Values from any thread to one coroutine: mutex, deque and a timer as doorbell on the coroutine's strand.
//
// Push never waits and may be called from any thread; the sender is held back by credit (worker/client.h), so the deque is
// bounded by what the sender was allowed. Next() is for one coroutine at a time, on `executor`'s strand.
// Shared ownership (shared_ptr): sender and receiver end in any order.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

namespace corral::http {

template <class T>
class Mailbox : public std::enable_shared_from_this<Mailbox<T>> {
 public:
  explicit Mailbox(boost::asio::any_io_executor executor)
      : executor_(executor), doorbell_(executor, boost::asio::steady_timer::time_point::max()) {}

  void Push(T value) {
    bool must_ring = false;
    {
      const std::lock_guard lock(mutex_);
      values_.push_back(std::move(value));
      must_ring = values_.size() == 1;
    }
    if (must_ring) {
      boost::asio::post(executor_, [self = this->shared_from_this()] { self->doorbell_.cancel(); });
    }
  }

  // Takes the oldest value; waits until there is one. The last value of a stream is known by its content.
  boost::asio::awaitable<T> Next() {
    for (;;) {
      {
        const std::lock_guard lock(mutex_);
        if (!values_.empty()) {
          T value = std::move(values_.front());
          values_.pop_front();
          co_return value;
        }
      }
      // On the strand: a Push between the look above and the wait below posts its ring behind us.
      doorbell_.expires_at(boost::asio::steady_timer::time_point::max());
      co_await doorbell_.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    }
  }

 private:
  boost::asio::any_io_executor executor_;
  boost::asio::steady_timer doorbell_;  // touched on the strand only
  std::mutex mutex_;
  std::deque<T> values_;  // guarded by mutex_
};

}  // namespace corral::http
