#include "core/stop.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

namespace corral {
namespace {

TEST(StopToken, ADefaultOneNeverStops) {
  const StopToken token;
  EXPECT_FALSE(token.StopRequested());
  EXPECT_EQ(token.Reason(), StopReason::kNone);
  bool was_called = false;
  const StopCallback callback(token, [&] { was_called = true; });
  EXPECT_FALSE(was_called);
}

TEST(StopToken, CarriesTheFirstReason) {
  StopSource source;
  const StopToken token = source.token();
  EXPECT_EQ(token.Reason(), StopReason::kNone);
  source.RequestStop(StopReason::kDeadline);
  source.RequestStop(StopReason::kUser);
  EXPECT_TRUE(token.StopRequested());
  EXPECT_EQ(token.Reason(), StopReason::kDeadline);
}

TEST(StopToken, OutlivesItsSource) {
  StopToken token;
  {
    StopSource source;
    token = source.token();
    source.RequestStop(StopReason::kUser);
  }
  EXPECT_EQ(token.Reason(), StopReason::kUser);
}

TEST(StopToken, EachReasonHasItsError) {
  const auto code = [](StopReason reason) {
    StopSource source;
    source.RequestStop(reason);
    return source.token().ToError().code;
  };
  EXPECT_EQ(code(StopReason::kClientGone), Code::kCancelled);
  EXPECT_EQ(code(StopReason::kUser), Code::kCancelled);
  EXPECT_EQ(code(StopReason::kDeadline), Code::kDeadline);
  EXPECT_EQ(code(StopReason::kShutdown), Code::kBusy);
}

TEST(StopCallback, RunsOnceWhenStoppedAndNotAfterItsEnd) {
  StopSource source;
  int n_kept = 0;
  int n_ended = 0;
  const StopCallback kept(source.token(), [&] { ++n_kept; });
  {
    const StopCallback ended(source.token(), [&] { ++n_ended; });
  }
  source.RequestStop(StopReason::kUser);
  source.RequestStop(StopReason::kUser);
  EXPECT_EQ(n_kept, 1);
  EXPECT_EQ(n_ended, 0);
}

TEST(StopCallback, RunsAtOnceIfItHasStoppedAlready) {
  StopSource source;
  source.RequestStop(StopReason::kUser);
  bool was_called = false;
  const StopCallback callback(source.token(), [&] { was_called = true; });
  EXPECT_TRUE(was_called);
}

// For TSan: the reason is there as soon as the stop is seen, whoever was first.
TEST(StopToken, SeenFromManyThreadsHasOneReason) {
  for (int round = 0; round < 200; ++round) {
    StopSource source;
    std::latch start(4);
    std::atomic<int> n_wrong = 0;
    std::vector<std::jthread> threads;
    for (const StopReason reason : {StopReason::kClientGone, StopReason::kShutdown}) {
      threads.emplace_back([&source, &start, reason] {
        start.arrive_and_wait();
        source.RequestStop(reason);
      });
    }
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([token = source.token(), &start, &n_wrong] {
        start.arrive_and_wait();
        while (!token.StopRequested()) std::this_thread::yield();
        const StopReason reason = token.Reason();
        if (reason != StopReason::kClientGone && reason != StopReason::kShutdown) ++n_wrong;
      });
    }
    threads.clear();
    EXPECT_EQ(n_wrong, 0);
  }
}

}  // namespace
}  // namespace corral
