#include "core/queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace corral {
namespace {

constexpr Deadline kPast = Deadline::min();

TEST(BoundedQueue, IsFirstInFirstOut) {
  BoundedQueue<int> queue(3);
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(queue.TryPush(int{i}), PushResult::kPushed);
  EXPECT_EQ(queue.Size(), 3U);
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(queue.Pop(), i);
}

TEST(BoundedQueue, RefusesWhenFullAndLeavesTheValueAlone) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  EXPECT_EQ(queue.TryPush(std::make_unique<int>(1)), PushResult::kPushed);
  auto value = std::make_unique<int>(2);
  EXPECT_EQ(queue.TryPush(std::move(value)), PushResult::kFull);
  ASSERT_NE(value, nullptr);
  EXPECT_EQ(queue.Push(std::move(value), kPast), PushResult::kFull);
  ASSERT_NE(value, nullptr);
  EXPECT_EQ(*value, 2);
}

TEST(BoundedQueue, WithoutCapacityIsAlwaysFull) {
  BoundedQueue<int> queue(0);
  EXPECT_EQ(queue.TryPush(1), PushResult::kFull);
}

TEST(BoundedQueue, PopGivesUpAtTheDeadline) {
  BoundedQueue<int> queue(1);
  EXPECT_EQ(queue.Pop(kPast), std::nullopt);
  EXPECT_EQ(queue.TryPush(7), PushResult::kPushed);
  EXPECT_EQ(queue.Pop(kPast), 7);  // what is there is given even when it is late
}

TEST(BoundedQueue, ClosedRefusesAndGivesWhatIsInside) {
  BoundedQueue<int> queue(2);
  EXPECT_EQ(queue.TryPush(1), PushResult::kPushed);
  queue.Close();
  EXPECT_TRUE(queue.IsClosed());
  EXPECT_EQ(queue.TryPush(2), PushResult::kClosed);
  EXPECT_EQ(queue.Push(2), PushResult::kClosed);
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.Pop(), std::nullopt);
}

TEST(BoundedQueue, CloseWakesWhoWaits) {
  BoundedQueue<int> full(1);
  BoundedQueue<int> empty(1);
  EXPECT_EQ(full.TryPush(1), PushResult::kPushed);
  PushResult pushed = PushResult::kPushed;
  std::optional<int> popped = 1;
  {
    const std::jthread producer([&] { pushed = full.Push(2); });
    const std::jthread consumer([&] { popped = empty.Pop(); });
    full.Close();
    empty.Close();
  }
  EXPECT_EQ(pushed, PushResult::kClosed);
  EXPECT_EQ(popped, std::nullopt);
}

TEST(BoundedQueue, AWaitingProducerGoesOnWhenThereIsRoom) {
  BoundedQueue<int> queue(1);
  EXPECT_EQ(queue.TryPush(1), PushResult::kPushed);
  PushResult pushed = PushResult::kFull;
  {
    const std::jthread producer([&] { pushed = queue.Push(2); });
    EXPECT_EQ(queue.Pop(), 1);
    EXPECT_EQ(queue.Pop(), 2);
  }
  EXPECT_EQ(pushed, PushResult::kPushed);
}

TEST(BoundedQueue, AStoppedTokenWakesWhoWaits) {
  BoundedQueue<int> full(1);
  BoundedQueue<int> empty(1);
  EXPECT_EQ(full.TryPush(1), PushResult::kPushed);
  StopSource stop;
  PushResult pushed = PushResult::kPushed;
  std::optional<int> popped = 1;
  {
    const std::jthread producer([&] { pushed = full.Push(2, kNoDeadline, stop.token()); });
    const std::jthread consumer([&] { popped = empty.Pop(kNoDeadline, stop.token()); });
    stop.RequestStop(StopReason::kUser);
  }
  EXPECT_EQ(pushed, PushResult::kCancelled);
  EXPECT_EQ(popped, std::nullopt);
  EXPECT_FALSE(full.IsClosed());
  EXPECT_EQ(full.Pop(), 1);  // for others it goes on
}

TEST(BoundedQueue, AStoppedTokenPopsAndPushesNothing) {
  BoundedQueue<int> queue(2);
  EXPECT_EQ(queue.TryPush(1), PushResult::kPushed);
  StopSource stop;
  stop.RequestStop(StopReason::kClientGone);
  EXPECT_EQ(queue.Pop(kNoDeadline, stop.token()), std::nullopt);
  EXPECT_EQ(queue.Push(2, kNoDeadline, stop.token()), PushResult::kCancelled);
  EXPECT_EQ(queue.Size(), 1U);
}

// For TSan, and for lost wake-ups: all that is pushed is popped, exactly once.
TEST(BoundedQueue, ManyProducersAndConsumersLoseNothing) {
  constexpr int kProducers = 4;
  constexpr int kEach = 5'000;
  BoundedQueue<int> queue(3);
  std::vector<std::atomic<int>> n_seen(kProducers * kEach);
  {
    std::vector<std::jthread> consumers;
    for (int i = 0; i < 3; ++i) {
      consumers.emplace_back([&] {
        while (const auto value = queue.Pop()) ++n_seen[static_cast<std::size_t>(*value)];
      });
    }
    {
      std::vector<std::jthread> producers;
      for (int p = 0; p < kProducers; ++p) {
        producers.emplace_back([&queue, p] {
          for (int i = 0; i < kEach; ++i) {
            int value = p * kEach + i;
            if (i % 2 == 0) {
              EXPECT_EQ(queue.Push(std::move(value)), PushResult::kPushed);
            } else {
              while (queue.TryPush(int{value}) == PushResult::kFull) std::this_thread::yield();
            }
          }
        });
      }
    }
    queue.Close();
  }
  for (const auto& n : n_seen) ASSERT_EQ(n, 1);
}

// For TSan, and for deadlocks between the token's callbacks and the queue's lock.
TEST(BoundedQueue, StoppingWhileOthersWorkHangsNobody) {
  for (int round = 0; round < 200; ++round) {
    BoundedQueue<int> queue(1);
    StopSource stop;
    std::vector<std::jthread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        while (queue.Push(1, kNoDeadline, stop.token()) != PushResult::kCancelled) {
        }
      });
      threads.emplace_back([&] {
        while (queue.Pop(kNoDeadline, stop.token())) {
        }
      });
    }
    stop.RequestStop(StopReason::kShutdown);
  }
}

}  // namespace
}  // namespace corral
