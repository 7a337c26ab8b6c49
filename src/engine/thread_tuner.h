// How many threads compute: as many as the cores allow, fewer while others compute there, too.
//
// ggml's threads meet at barriers after each node and spin there: one that has lost its core to
// another process makes all wait. SmolLM2-135M fell from 127 to 32 tokens/s with two threads beside
// one busy neighbour on two cores, and kept 81 with one. Two signs: models of the same server
// divide the cores among themselves (SetSharers, told by the server); and a step that got less
// processor time than its threads ask for (they spin, so a quiet step gets all of it) starts a
// trial with fewer threads. Trials compare steps of like size and keep what is faster; up again
// they are made ever more rarely while they fail. Pure: times come from the caller. Not
// thread-safe.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <utility>

namespace corral::engine {

class ThreadTuner {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Seconds = std::chrono::duration<double>;

  // `is_fixed`: the user has said how many: never another number.
  ThreadTuner(int n_most, bool is_fixed);

  int threads() const { return trial_ ? trial_->threads : threads_; }
  bool IsOverdue(TimePoint now) const;  // a trial that has lasted too long
  // So many models compute at the moment, this one included: each gets its part of the cores.
  void SetSharers(int n_sharers);
  // A step of `n_tokens` with threads() ended at `now`: it took `wall`, and the process got `cpu`
  // of processor time meanwhile.
  void Note(TimePoint now, int n_tokens, Seconds wall, Seconds cpu);

 private:
  struct Trial {
    int threads = 1;
    double sum = 0;  // of each step's time over what one of its size took until now
    int n_steps = 0;
    TimePoint begun;
  };
  struct Pace {
    Seconds step{0};
    int n_steps = 0;
    TimePoint last{};
  };
  void BeginTrial(TimePoint now, int threads);
  void Judge(TimePoint now);
  void ForgetShare();

  const int n_most_;
  const bool is_fixed_;
  int n_allowed_;  // by the sharers
  int threads_;
  double share_ = 1;           // of the processor time asked for, lately
  Seconds asked_{0}, got_{0};  // since then
  std::map<int, Pace> pace_;   // by size of step, with threads_
  std::optional<Trial> trial_;
  bool tries_half_ = false;
  TimePoint next_down_{}, next_up_{};
  std::chrono::milliseconds wait_down_, wait_up_;
};

}  // namespace corral::engine
