#include "engine/thread_tuner.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace corral::engine {
namespace {

using Seconds = ThreadTuner::Seconds;
using std::chrono::milliseconds;

constexpr double kEnoughShare = 0.92;  // a quiet machine gives all but a few hundredths
// The kernel counts the time of a thread on another processor by its ticks, which may be longer
// than a step: a single one seemed to get 0.7 to 1.2 of what it asked for.
constexpr Seconds kWindow{0.2};
constexpr double kNew = 0.25;
constexpr int kTrialSteps = 4;
constexpr int kKnownSteps = 3;  // before a trial can be compared with what was
constexpr std::chrono::seconds kLongestTrial{3};
constexpr double kWorthUp = 0.97;  // more threads must be this much faster
constexpr double kLost = 1.25;     // a trial whose steps take so much longer is over at once
constexpr milliseconds kFirstWait{250};
constexpr milliseconds kLongestWait{8'000};

// Steps of like size: by the power of two.
int SizeOf(int n_tokens) {
  return static_cast<int>(std::bit_width(static_cast<unsigned>(std::max(n_tokens, 1))));
}

}  // namespace

ThreadTuner::ThreadTuner(int n_most, bool is_fixed)
    : n_most_(std::max(n_most, 1)),
      is_fixed_(is_fixed),
      n_allowed_(n_most_),
      threads_(n_most_),
      wait_down_(kFirstWait),
      wait_up_(kFirstWait) {}

void ThreadTuner::SetSharers(int n_sharers) {
  if (is_fixed_) return;
  const int allowed = std::max(1, n_most_ / std::max(n_sharers, 1));
  if (allowed == n_allowed_) return;
  // More room is taken at once: a trial would find out, but later.
  threads_ = n_allowed_ = allowed;
  trial_.reset();
  pace_.clear();
  ForgetShare();
  wait_down_ = wait_up_ = kFirstWait;
}

void ThreadTuner::Note(TimePoint now, int n_tokens, Seconds wall, Seconds cpu) {
  if (is_fixed_ || n_most_ == 1 || wall.count() <= 0) return;
  const int size = SizeOf(n_tokens);
  if (trial_) {
    // A size that was not seen lately can be compared with nothing, and should not pay for a trial.
    const auto before = pace_.find(size);
    if (before == pace_.end() || before->second.n_steps < kKnownSteps ||
        now - before->second.last > kLongestTrial) {
      return Judge(now);
    }
    trial_->sum += wall / before->second.step;
    ++trial_->n_steps;
    if (trial_->sum > kLost * trial_->n_steps || trial_->n_steps >= kTrialSteps ||
        now - trial_->begun > kLongestTrial) {
      Judge(now);
    }
    return;
  }
  Pace& pace = pace_[size];
  pace.last = now;
  pace.step = ++pace.n_steps == 1 ? wall : (1 - kNew) * pace.step + kNew * wall;
  asked_ += wall * threads_;
  got_ += cpu;
  if (asked_ >= kWindow * threads_) {
    share_ = std::min(1.0, got_ / asked_);
    asked_ = got_ = Seconds(0);
  }
  if (pace.n_steps < kKnownSteps) return;
  if (threads_ > 1 && share_ < kEnoughShare && now >= next_down_) {
    // One thread too many is as bad as several: where what the share says is not few enough, half.
    const int left = static_cast<int>(threads_ * share_);
    const int fewer = std::exchange(tries_half_, !tries_half_) ? threads_ / 2 : left;
    BeginTrial(now, std::clamp(fewer, 1, threads_ - 1));
  } else if (threads_ < n_allowed_ && now >= next_up_) {
    BeginTrial(now, std::min(n_allowed_, threads_ + std::max(1, threads_ / 2)));
  }
}

bool ThreadTuner::IsOverdue(TimePoint now) const {
  return trial_ && now - trial_->begun > kLongestTrial;
}

void ThreadTuner::ForgetShare() {
  share_ = 1;
  asked_ = got_ = Seconds(0);
}

void ThreadTuner::BeginTrial(TimePoint now, int threads) {
  trial_ = Trial{};
  trial_->threads = threads;
  trial_->begun = now;
}

void ThreadTuner::Judge(TimePoint now) {
  const Trial trial = *trial_;
  trial_.reset();
  ForgetShare();
  const bool is_up = trial.threads > threads_;
  const bool is_better =
      trial.n_steps >= kTrialSteps && trial.sum < trial.n_steps * (is_up ? kWorthUp : 1.0);
  if (is_better) {
    threads_ = trial.threads;
    pace_.clear();
    tries_half_ = false;
    (is_up ? wait_up_ : wait_down_) = kFirstWait;
  } else {
    auto& wait = is_up ? wait_up_ : wait_down_;
    wait = std::min(2 * wait, kLongestWait);
  }
  next_down_ = now + wait_down_;
  next_up_ = now + wait_up_;
}

}  // namespace corral::engine
