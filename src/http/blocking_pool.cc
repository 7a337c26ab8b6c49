#include "http/internal/blocking_pool.h"

#include <pthread.h>

#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "core/log.h"

namespace corral::http {
namespace {

namespace asio = boost::asio;

Status RunGuarded(const std::function<void()>& work) {
  std::string what = "unknown exception";
  try {
    work();
    return {};
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {  // `what` says so
  }
  Log(LogLevel::kError, "blocking work failed", {{"error", what}});
  return Fail(Code::kInternal, "internal error");
}

}  // namespace

BlockingPool::BlockingPool(int n_threads, std::size_t queue_capacity) : queue_(queue_capacity) {
  for (int i = 0; i < n_threads; ++i) {
    threads_.emplace_back([this, i] {
      pthread_setname_np(pthread_self(), ("http-block-" + std::to_string(i)).c_str());
      while (std::optional<std::function<void()>> work = queue_.Pop()) (*work)();
    });
  }
}

BlockingPool::~BlockingPool() { Close(); }

void BlockingPool::Close() {
  queue_.Close();
  threads_.clear();
}

Task<Status> BlockingPool::Run(std::function<void()> work) {
  asio::any_io_executor executor = co_await asio::this_coro::executor;
  auto initiate = [this, executor](auto handler, std::function<void()> task) {
    using Resume = decltype(handler);
    // Shared: std::function wants to be copied. Used once, by the pool's thread or below.
    auto resume = std::make_shared<Resume>(std::move(handler));
    std::function<void()> entry = [executor, resume, task = std::move(task)] {
      Status status = RunGuarded(task);
      asio::post(executor, [resume = std::move(*resume), status = std::move(status)]() mutable {
        std::move(resume)(std::move(status));
      });
    };
    if (queue_.TryPush(std::move(entry)) == PushResult::kPushed) return;
    asio::post(executor, [resume = std::move(*resume)]() mutable {
      std::move(resume)(
          Status(Fail(Code::kBusy, "server busy, please try again.  too much blocking work")));
    });
  };
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Status)>(
      std::move(initiate), asio::use_awaitable, std::move(work));
}

}  // namespace corral::http
