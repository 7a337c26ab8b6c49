// Cancellation with a reason: one StopSource a request (or a piece of shared work), many
// StopTokens.
//
// A token is looked at before enqueueing, after dequeueing, before every batch and every 1 MiB of
// I/O. Thread-safe. Deadlines are absolute times on the steady clock and are passed down beside the
// token.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <utility>

#include "core/result.h"

namespace corral {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;
inline constexpr Deadline kNoDeadline = Deadline::max();

enum class StopReason : int {
  kNone = 0,
  kClientGone,  // the connection was lost: nobody reads an answer
  kDeadline,    // the caller's time is over
  kShutdown,    // the server stops
  kUser,        // asked for: unload, abort
};

class StopToken {
 public:
  // A token that never stops.
  StopToken() = default;

  bool StopRequested() const { return state_ && state_->source.stop_requested(); }
  // kNone while StopRequested() is false.
  StopReason Reason() const { return StopRequested() ? state_->reason.load() : StopReason::kNone; }
  // The Error for Reason(): kCancelled, kDeadline or kBusy (shutdown).
  Error ToError() const;
  // For std::stop_callback. A default StopToken gives one that never stops.
  std::stop_token std_token() const {
    return state_ ? state_->source.get_token() : std::stop_token();
  }

 private:
  friend class StopSource;
  struct State {
    std::stop_source source;
    std::atomic<StopReason> reason{StopReason::kNone};
  };
  explicit StopToken(std::shared_ptr<State> state) : state_(std::move(state)) {}
  // Shared: the source and all tokens live on different threads and end in any order.
  std::shared_ptr<State> state_;
};

class StopSource {
 public:
  StopSource() : state_(std::make_shared<StopToken::State>()) {}
  StopToken token() const { return StopToken(state_); }
  // The first reason wins. Runs the callbacks of std_token() on this thread.
  void RequestStop(StopReason reason) {
    StopReason expected = StopReason::kNone;
    state_->reason.compare_exchange_strong(expected, reason);
    state_->source.request_stop();
  }
  bool StopRequested() const { return state_->source.stop_requested(); }

 private:
  std::shared_ptr<StopToken::State> state_;
};

// Runs `callback` once when the token stops (at once, on this thread, if it has stopped already),
// until destroyed.
class StopCallback {
 public:
  StopCallback(const StopToken& token, std::function<void()> callback)
      : callback_(token.std_token(), std::move(callback)) {}

 private:
  std::stop_callback<std::function<void()>> callback_;
};

}  // namespace corral
