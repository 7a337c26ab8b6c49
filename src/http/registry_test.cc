#include "http/internal/registry.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "core/queue.h"

namespace corral::http {
namespace {

constexpr std::chrono::seconds kPatience{30};

class FakeConnection : public Drainable {
 public:
  explicit FakeConnection(Registry& registry) : registry_(registry) {}
  void OnStopping() override { (void)orders_.TryPush("stop"); }
  void CloseIfIdle() override { (void)orders_.TryPush("close if idle"); }
  void Cut() override { (void)orders_.TryPush("cut"); }

  std::string NextOrder() { return orders_.Pop(Clock::now() + kPatience).value_or("none came"); }
  std::size_t n_orders() const { return orders_.Size(); }
  void Leave() { registry_.Remove(this); }

 private:
  Registry& registry_;
  BoundedQueue<std::string> orders_{1000};
};

struct Site {
  Registry registry{3};
  std::shared_ptr<FakeConnection> Connect() {
    auto connection = std::make_shared<FakeConnection>(registry);
    return registry.Add(connection) ? connection : nullptr;
  }
};

TEST(RegistryTest, CountsWhoIsBusy) {
  Site site;
  const auto a = site.Connect();
  const auto b = site.Connect();
  site.registry.MarkBusy(a.get());
  site.registry.MarkBusy(a.get());
  EXPECT_EQ(site.registry.n_connections(), 2U);
  EXPECT_EQ(site.registry.n_busy(), 1U);
  site.registry.MarkIdle(a.get());
  EXPECT_EQ(site.registry.n_busy(), 0U);
  site.registry.MarkBusy(b.get());
  b->Leave();
  b->Leave();
  EXPECT_EQ(site.registry.n_busy(), 0U);
  EXPECT_EQ(site.registry.n_connections(), 1U);
}

TEST(RegistryTest, WhenFullTheLongestIdleOneMakesRoom) {
  Site site;
  const auto first = site.Connect();
  const auto second = site.Connect();
  const auto third = site.Connect();
  site.registry.MarkBusy(first.get());
  site.registry.MarkIdle(first.get());  // idle for the shortest time now
  ASSERT_NE(site.Connect(), nullptr);
  EXPECT_EQ(second->NextOrder(), "close if idle");
  EXPECT_EQ(first->n_orders() + third->n_orders(), 0U);
}

TEST(RegistryTest, WhenAllAreBusyAFullRegistryRefuses) {
  Site site;
  const auto a = site.Connect();
  const auto b = site.Connect();
  const auto c = site.Connect();
  for (const auto& connection : {a, b, c}) site.registry.MarkBusy(connection.get());
  EXPECT_EQ(site.Connect(), nullptr);
  a->Leave();
  EXPECT_NE(site.Connect(), nullptr);
}

TEST(RegistryTest, DrainLetsIdleOnesStayUntilNothingRuns) {
  Site site;
  const auto busy = site.Connect();
  const auto idle = site.Connect();
  site.registry.MarkBusy(busy.get());
  site.registry.BeginDrain(std::chrono::hours(1));
  std::jthread drain([&] { site.registry.AwaitDrain(); });
  EXPECT_EQ(idle->n_orders(), 0U);
  busy->Leave();
  EXPECT_EQ(idle->NextOrder(), "close if idle");
  idle->Leave();
  drain.join();
  EXPECT_EQ(site.registry.phase(), Phase::kClosed);
}

TEST(RegistryTest, AConnectionThatBecomesIdleInADrainIsAskedToo) {
  Site site;
  const auto connection = site.Connect();
  site.registry.MarkBusy(connection.get());
  site.registry.BeginDrain(std::chrono::hours(1));
  std::jthread drain([&] { site.registry.AwaitDrain(); });
  site.registry.MarkIdle(connection.get());
  EXPECT_EQ(connection->NextOrder(), "close if idle");
  connection->Leave();
}

TEST(RegistryTest, HastenEndsTheGraceAndThenWhatStaysIsCut) {
  Site site;
  const auto stubborn = site.Connect();
  site.registry.MarkBusy(stubborn.get());
  site.registry.BeginDrain(std::chrono::hours(1));
  std::jthread drain([&] { site.registry.AwaitDrain(); });
  site.registry.Hasten();
  EXPECT_EQ(stubborn->NextOrder(), "stop");
  EXPECT_EQ(site.registry.phase(), Phase::kStopping);
  EXPECT_EQ(stubborn->NextOrder(), "cut");
  drain.join();
  EXPECT_EQ(site.registry.n_connections(), 1U);
  EXPECT_EQ(site.Connect(), nullptr);
}

}  // namespace
}  // namespace corral::http
