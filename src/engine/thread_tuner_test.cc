#include "engine/thread_tuner.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace corral::engine {
namespace {

using Seconds = ThreadTuner::Seconds;

// Cores, some of them busy with something else; a step's work is divided among threads that wait
// for the slowest.
struct Machine {
  int n_cores = 2;
  int n_busy = 0;
  ThreadTuner::TimePoint now{std::chrono::hours(1)};
  double done = 0;  // steps

  // Runs a step with the tuner's threads.
  void Step(ThreadTuner& tuner, int n_tokens = 1) {
    const int threads = tuner.threads();
    const double part = std::min(1.0, static_cast<double>(n_cores) / (threads + n_busy));
    // A thread that loses its core stops all at the next barrier.
    const double stall = part < 1 ? 3.0 : 1.0;
    const Seconds wall(0.016 * n_tokens / threads / part * stall);
    now += std::chrono::duration_cast<std::chrono::nanoseconds>(wall);
    tuner.Note(now, n_tokens, wall, wall * threads * part);
    ++done;
  }
  void Run(ThreadTuner& tuner, Seconds time) {
    const auto end = now + std::chrono::duration_cast<std::chrono::nanoseconds>(time);
    while (now < end) Step(tuner);
  }
};

TEST(ThreadTuner, TakesAllCoresWhenAlone) {
  ThreadTuner tuner(8, false);
  Machine machine{.n_cores = 8};
  machine.Run(tuner, Seconds(5));
  EXPECT_EQ(tuner.threads(), 8);
}

TEST(ThreadTuner, GivesWayToABusyNeighbourWithinASecond) {
  ThreadTuner tuner(2, false);
  Machine machine{.n_cores = 2, .n_busy = 1};
  machine.Run(tuner, Seconds(1));
  EXPECT_EQ(tuner.threads(), 1);
  const double before = machine.done;
  machine.Run(tuner, Seconds(20));
  const double one_thread = 20 / 0.016;
  EXPECT_GT(machine.done - before, 0.95 * one_thread) << "trials cost next to nothing";
}

TEST(ThreadTuner, ComesBackWhenTheNeighbourIsGone) {
  ThreadTuner tuner(2, false);
  Machine machine{.n_cores = 2, .n_busy = 1};
  machine.Run(tuner, Seconds(30));
  machine.n_busy = 0;
  machine.Run(tuner, Seconds(9));
  EXPECT_EQ(tuner.threads(), 2);
}

TEST(ThreadTuner, FindsTheCoresThatAreLeft) {
  ThreadTuner tuner(8, false);
  Machine machine{.n_cores = 8, .n_busy = 4};
  machine.Run(tuner, Seconds(5));
  EXPECT_GE(tuner.threads(), 3);
  EXPECT_LE(tuner.threads(), 5);
}

TEST(ThreadTuner, ModelsOfOneServerDivideTheCores) {
  ThreadTuner tuner(8, false);
  tuner.SetSharers(2);
  EXPECT_EQ(tuner.threads(), 4);
  tuner.SetSharers(20);
  EXPECT_EQ(tuner.threads(), 1);
  tuner.SetSharers(1);
  EXPECT_EQ(tuner.threads(), 8);
}

TEST(ThreadTuner, WhatTheUserSaysStays) {
  ThreadTuner tuner(2, true);
  Machine machine{.n_cores = 2, .n_busy = 2};
  tuner.SetSharers(3);
  machine.Run(tuner, Seconds(3));
  EXPECT_EQ(tuner.threads(), 2);
}

TEST(ThreadTuner, TrialThatIsLostEndsWithItsFirstStep) {
  ThreadTuner tuner(2, false);
  ThreadTuner::TimePoint now{std::chrono::hours(1)};
  // A part of the processor time is missing, but half the threads take twice the time.
  const auto step = [&] {
    const int threads = tuner.threads();
    const Seconds wall(0.8 / threads);
    now += std::chrono::duration_cast<std::chrono::nanoseconds>(wall);
    tuner.Note(now, 128, wall, 0.9 * wall * threads);
    return threads;
  };
  int n_with_one = 0;
  for (int i = 0; i < 60; ++i) n_with_one += step() == 1 ? 1 : 0;
  EXPECT_GT(n_with_one, 0) << "no trial: the test tests nothing";
  EXPECT_LE(n_with_one, 6);
}

TEST(ThreadTuner, StepsOfASizeNotSeenBeforePayForNoTrial) {
  ThreadTuner tuner(2, false);
  Machine machine{.n_cores = 2, .n_busy = 1};
  while (tuner.threads() == 2) machine.Step(tuner);
  machine.Step(tuner, 2);
  EXPECT_EQ(tuner.threads(), 2) << "the trial went on";
}

TEST(ThreadTuner, TrialGoesOnOverStepsOfAnyKnownSize) {
  ThreadTuner tuner(2, false);
  Machine machine{.n_cores = 2, .n_busy = 1};
  for (int n_tokens : {1, 2, 4, 8}) machine.Step(tuner, n_tokens);
  while (tuner.threads() == 2) machine.Step(tuner);
  for (int n_tokens : {1, 2, 4, 8}) machine.Step(tuner, n_tokens);
  machine.Run(tuner, Seconds(0.1));
  EXPECT_EQ(tuner.threads(), 1) << "one thread was faster in each";
}

TEST(ThreadTuner, DoesNotCompareAPromptWithAToken) {
  ThreadTuner tuner(2, false);
  Machine machine{.n_cores = 2, .n_busy = 1};
  for (int i = 0; i < 200; ++i) machine.Step(tuner, i % 2 == 0 ? 1 : 20);
  EXPECT_EQ(tuner.threads(), 1);
}

}  // namespace
}  // namespace corral::engine
