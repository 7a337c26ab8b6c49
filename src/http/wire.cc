#include "http/internal/wire.h"

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>
#include <vector>

namespace corral::http {
namespace {

namespace asio = boost::asio;
constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);

constexpr std::size_t kSmallRead = 4U << 10;  // what an idle connection or a stream holds
constexpr std::size_t kLargeRead = 64U << 10;

}  // namespace

Task<Stream::IoResult> Stream::ReadSome(std::span<char> into) {
  const auto [error, n] =
      co_await socket_.async_read_some(asio::mutable_buffer(into.data(), into.size()), kAsTuple);
  co_return IoResult{error, n};
}

Task<Stream::IoResult> Stream::WriteSome(std::string_view first, std::string_view second) {
  const std::array<asio::const_buffer, 2> both = {asio::const_buffer(first.data(), first.size()),
                                                  asio::const_buffer(second.data(), second.size())};
  const auto [error, n] = co_await socket_.async_write_some(both, kAsTuple);
  co_return IoResult{error, n};
}

bool Stream::HasUnreadBytes() const {
  boost::system::error_code error;
  return socket_.available(error) > 0 && !error;
}

void Stream::CancelPending() {
  boost::system::error_code ignored;
  socket_.cancel(ignored);
}

void Stream::ShutdownSend() {
  boost::system::error_code ignored;  // a lost peer
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
}

void Stream::Close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

void Stream::Abort() {
  boost::system::error_code ignored;
  socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  socket_.close(ignored);
}

Task<> StrandEvent::Wait() { co_await timer_.async_wait(kAsTuple); }

Wire::Wire(const asio::any_io_executor& strand, asio::ip::tcp::socket socket, std::size_t capacity,
           std::chrono::milliseconds write_timeout)
    : capacity_(capacity),
      write_timeout_(write_timeout),
      strand_(strand),
      stream_(std::move(socket)),
      arrived_(strand),
      room_(strand),
      watchdog_(strand) {}

void Wire::StartReading() {
  asio::co_spawn(
      strand_, [self = shared_from_this()]() -> Task<> { co_await self->ReadAhead(); },
      asio::detached);
}

Task<> Wire::ReadAhead() {
  std::vector<char> scratch(kSmallRead);
  while (!is_closed_ && !is_cut_) {
    if (must_pause_) {
      is_paused_ = true;
      arrived_.Notify();
      co_await room_.Wait();
      continue;
    }
    const std::size_t n_held = In().size();
    if (n_held >= capacity_) {
      co_await room_.Wait();
      continue;
    }
    const std::span<char> into(scratch.data(), std::min(scratch.size(), capacity_ - n_held));
    const Stream::IoResult read = co_await stream_.ReadSome(into);
    if (read.error == asio::error::operation_aborted && must_pause_) continue;
    if (read.error) {
      // A reset ends both halves; an end of file only the peer's.
      if (read.error != asio::error::eof) is_cut_ = true;
      break;
    }
    if (!is_discarding_) {
      if (in_begin_ > 0 && in_.size() + read.n_bytes > in_.capacity()) {
        in_.erase(0, in_begin_);
        in_begin_ = 0;
      }
      in_.append(scratch.data(), read.n_bytes);
    }
    if (read.n_bytes == scratch.size() && scratch.size() == kSmallRead) {
      scratch.resize(kLargeRead);  // a body is coming
    } else if (read.n_bytes < kSmallRead && scratch.size() > kSmallRead) {
      scratch = std::vector<char>(kSmallRead);
    }
    arrived_.Notify();
  }
  Ended();
}

void Wire::Ended() {
  if (is_at_end_) return;
  is_at_end_ = true;
  arrived_.Notify();
  // Moved out: it is called once, and it may replace itself.
  if (const std::function<void()> callback = std::exchange(on_end_, nullptr)) callback();
}

void Wire::Consume(std::size_t n_bytes) {
  in_begin_ += std::min(n_bytes, in_.size() - in_begin_);
  if (in_begin_ == in_.size()) {
    in_begin_ = 0;
    if (in_.capacity() > kSmallRead) {
      in_ = std::string();
    } else {
      in_.clear();
    }
  }
  room_.Notify();
}

Task<> Wire::AwaitChange(Deadline deadline) {
  if (Clock::now() >= deadline) co_return;
  read_deadline_ = deadline;
  ArmWatchdog();
  co_await arrived_.Wait();
  read_deadline_ = kNoDeadline;
}

Task<bool> Wire::AwaitQuiet() {
  const std::size_t n_before = In().size();
  must_pause_ = true;
  is_paused_ = false;
  room_.Notify();
  stream_.CancelPending();
  while (!is_paused_ && !is_at_end_) co_await arrived_.Wait();
  must_pause_ = false;
  room_.Notify();
  co_return In().size() == n_before && (is_at_end_ || !stream_.HasUnreadBytes());
}

Task<Status> Wire::Write(std::string_view first, std::string_view second) {
  while (!first.empty() || !second.empty()) {
    if (is_cut_ || is_closed_) co_return Fail(Code::kCancelled, "client gone");
    write_deadline_ = Clock::now() + write_timeout_;
    ArmWatchdog();
    const Stream::IoResult written = co_await stream_.WriteSome(first, second);
    write_deadline_ = kNoDeadline;
    if (written.error) {
      Abort();
      co_return Fail(Code::kCancelled, "client gone");
    }
    const std::size_t n_first = std::min(written.n_bytes, first.size());
    first.remove_prefix(n_first);
    second.remove_prefix(written.n_bytes - n_first);
  }
  co_return Status();
}

Task<> Wire::Linger(std::chrono::milliseconds at_most) {
  const Deadline deadline = Clock::now() + at_most;
  stream_.ShutdownSend();
  is_discarding_ = true;
  Consume(In().size());
  while (!is_at_end_ && !is_cut_ && Clock::now() < deadline) co_await AwaitChange(deadline);
}

void Wire::Close() {
  is_closed_ = true;
  stream_.Close();
  watchdog_.cancel();
  room_.Notify();
}

void Wire::Abort() {
  is_cut_ = true;
  stream_.Abort();
  room_.Notify();
  Ended();
}

void Wire::ArmWatchdog() {
  const Deadline next = std::min(read_deadline_, write_deadline_);
  if (next >= armed_for_) return;  // it fires earlier and looks again
  armed_for_ = next;
  watchdog_.expires_at(next);
  watchdog_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    if (error) return;  // armed anew, or the end
    if (const std::shared_ptr<Wire> self = weak.lock()) self->OnWatchdog();
  });
}

void Wire::OnWatchdog() {
  armed_for_ = kNoDeadline;
  const Deadline now = Clock::now();
  if (now >= write_deadline_) {
    Abort();
    return;
  }
  if (now >= read_deadline_) {
    read_deadline_ = kNoDeadline;
    arrived_.Notify();
  }
  ArmWatchdog();
}

}  // namespace corral::http
