// One connection's bytes: reads ahead all the time, so that a lost client is seen while a handler
// runs, and writes with a timeout. All deadlines share one timer.
//
// A second coroutine (ReadAhead) keeps reading: bytes wait in In() (up to `capacity`; a full buffer
// pauses reading, which holds the peer back), the end of the stream is told at once. A peer that
// closes only its sending half counts as gone too, but what is written still reaches it. Not
// thread-safe: everything runs on the connection's strand. Shared: ReadAhead ends a little later
// than its user.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/stop.h"
#include "http/http.h"
#include "http/internal/stream.h"

namespace corral::http {

// Wakes one waiting coroutine of the same strand. Wait() again looks at its condition first: a
// Notify with nobody waiting is not remembered.
class StrandEvent {
 public:
  explicit StrandEvent(const boost::asio::any_io_executor& strand)
      : timer_(strand, boost::asio::steady_timer::time_point::max()) {}
  Task<> Wait();
  void Notify() { timer_.cancel(); }

 private:
  boost::asio::steady_timer timer_;  // never expires: cancelling it is the bell
};

class Wire : public std::enable_shared_from_this<Wire> {
 public:
  Wire(const boost::asio::any_io_executor& strand, boost::asio::ip::tcp::socket socket,
       std::size_t capacity, std::chrono::milliseconds write_timeout);

  void StartReading();

  // Bytes that arrived and were not consumed. Valid until the next co_await or Consume.
  std::string_view In() const { return std::string_view(in_).substr(in_begin_); }
  void Consume(std::size_t n_bytes);

  bool IsAtEnd() const { return is_at_end_; }  // nothing more will arrive
  bool IsCut() const { return is_cut_; }       // nothing can be written any more

  // Returns when something changed: bytes, the end, Wake() or the deadline. The caller looks which.
  Task<> AwaitChange(Deadline deadline);
  void Wake() { arrived_.Notify(); }

  // For a close that loses no request: interrupts the reading to look for bytes that are on their
  // way from the kernel to In(). True: none came. False: look at In(), or await the change.
  Task<bool> AwaitQuiet();

  // All of both. Errors: kCancelled (the peer is gone, or took nothing for the write timeout: then
  // the wire is cut).
  Task<Status> Write(std::string_view first, std::string_view second = {});

  // Called once, on the strand, as soon as the peer is gone. nullptr: no longer.
  void OnEnd(std::function<void()> callback) { on_end_ = std::move(callback); }

  // Ends the sending half and drops what still arrives until the peer ends too, or for `at_most`: a
  // close with unread bytes would be a reset, and a reset can destroy the answer that the peer has
  // not read yet.
  Task<> Linger(std::chrono::milliseconds at_most);
  void Close();
  void Abort();

 private:
  Task<> ReadAhead();
  void Ended();
  void ArmWatchdog();
  void OnWatchdog();

  const std::size_t capacity_;
  const std::chrono::milliseconds write_timeout_;
  const boost::asio::any_io_executor strand_;
  Stream stream_;
  std::string in_;
  std::size_t in_begin_ = 0;
  bool is_at_end_ = false;
  bool is_cut_ = false;
  bool is_closed_ = false;
  bool is_discarding_ = false;
  bool must_pause_ = false;  // AwaitQuiet wants ReadAhead to rest
  bool is_paused_ = false;   // it rests
  std::function<void()> on_end_;
  StrandEvent arrived_;  // for the one who reads
  StrandEvent room_;     // for ReadAhead
  Deadline read_deadline_ = kNoDeadline;
  Deadline write_deadline_ = kNoDeadline;
  Deadline armed_for_ = kNoDeadline;
  boost::asio::steady_timer
      watchdog_;  // fires at or before the earliest deadline, then looks again
};

}  // namespace corral::http
