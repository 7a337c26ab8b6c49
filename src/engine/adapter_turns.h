// Whose turn it is when jobs with different sets of adapters run at once.
//
// A llama_decode computes with one set of adapters, and another set costs a few milliseconds before
// its first step. So the sets take turns, each for some steps: long enough that changing is a small
// part of the time, short enough that no stream stalls. A set that has waited longest comes next,
// so none starves, and a new one comes at once where the current one has had its turn. Pure
// arithmetic: no clock, no llama.cpp. Not thread-safe.
#pragma once

#include <chrono>
#include <deque>
#include <span>
#include <string>
#include <string_view>

namespace corral::engine {

class AdapterTurns {
 public:
  using Seconds = std::chrono::duration<double>;

  // The set whose jobs take the next step, of those that have something to do: at least one; a set
  // may be listed more than once. Sets are told apart by their names.
  const std::string& Choose(std::span<const std::string_view> with_work);
  // A step of the chosen set took that long.
  void Note(Seconds took) { used_ += took; }

 private:
  std::string current_;
  Seconds used_{0};                // of the current turn
  std::deque<std::string> order_;  // the sets that are known, the one that has waited longest first
};

}  // namespace corral::engine
