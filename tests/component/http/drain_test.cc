// The graceful stop, step by step.
#include <gtest/gtest.h>

#include <thread>

#include "component/http/test_client.h"
#include "component/http/toy_server.h"

namespace corral::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Waits until the listening socket is closed: connecting fails.
void WaitForClosedListener(std::uint16_t port) {
  const Deadline deadline = Clock::now() + kPatience;
  while (TestClient(port).IsConnected()) {
    ASSERT_LT(Clock::now(), deadline) << "the listening socket stayed open";
    std::this_thread::yield();
  }
}

TEST(HttpDrain, AHundredStreamsFinishWithinTheGrace) {
  ToyServer toy;
  std::vector<TestClient> clients;
  for (int i = 0; i < 100; ++i) {
    clients.emplace_back(toy.port());
    ASSERT_TRUE(clients.back().Get("/stream"));
  }
  for (int i = 0; i < 100; ++i) ASSERT_EQ(toy.NextEvent(), "started");
  std::jthread drain([&toy] { toy.server().Drain(seconds(60)); });
  WaitForClosedListener(toy.port());
  toy.SayToAll("done");
  for (TestClient& client : clients) {
    const Reply reply = client.ReadReply();
    ASSERT_EQ(reply.body, "first\ndone\n");
    ASSERT_TRUE(reply.is_whole);
    ASSERT_TRUE(client.WaitForClose());
  }
  drain.join();
  EXPECT_EQ(toy.server().load().n_connections, 0U);
}

TEST(HttpDrain, OpenConnectionsAreServedWithConnectionCloseAndIdleOnesCloseLast) {
  ToyServer toy;
  TestClient running(toy.port());
  ASSERT_TRUE(running.Get("/stream"));
  EXPECT_EQ(toy.NextEvent(), "started");
  TestClient idle(toy.port());
  ASSERT_TRUE(idle.Get("/"));
  EXPECT_EQ(idle.ReadReply().CountHeader("connection"), 0);
  TestClient quiet(toy.port());
  ASSERT_TRUE(quiet.Get("/"));
  EXPECT_EQ(quiet.ReadReply().status, 200);

  std::jthread drain([&toy] { toy.server().Drain(seconds(60)); });
  WaitForClosedListener(toy.port());
  ASSERT_TRUE(idle.Get("/"));
  const Reply reply = idle.ReadReply();
  EXPECT_EQ(reply.body, "hello");
  EXPECT_EQ(reply.Header("connection"), "close");
  EXPECT_TRUE(idle.WaitForClose());

  toy.SayToAll("done");
  EXPECT_EQ(running.ReadReply().body, "first\ndone\n");
  EXPECT_TRUE(quiet.WaitForClose());
  drain.join();
}

TEST(HttpDrain, TheEndOfTheGraceStopsWhatRuns) {
  ToyServer toy;
  TestClient running(toy.port());
  ASSERT_TRUE(running.Get("/stream"));
  EXPECT_EQ(toy.NextEvent(), "started");
  toy.server().Drain(milliseconds(1));
  const Reply reply = running.ReadReply();
  EXPECT_EQ(reply.body, "first\nstopped shutdown\n");
  EXPECT_TRUE(reply.is_whole);
}

TEST(HttpDrain, AfterTheGraceNewRequestsGet503) {
  ToyServer toy;
  TestClient held(toy.port());
  ASSERT_TRUE(held.Get("/stubborn"));
  EXPECT_EQ(toy.NextEvent(), "started");
  TestClient watched(toy.port());
  ASSERT_TRUE(watched.Get("/wait"));
  EXPECT_EQ(toy.NextEvent(), "started");
  TestClient late(toy.port());
  ASSERT_TRUE(late.Get("/"));
  EXPECT_EQ(late.ReadReply().status, 200);

  std::jthread drain([&toy] { toy.server().Drain(milliseconds(1)); });
  EXPECT_EQ(toy.NextEvent(), "stopped shutdown");  // from here the grace is over
  ASSERT_TRUE(late.Get("/"));
  const Reply reply = late.ReadReply();
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.Header("retry-after"), "1");
  EXPECT_EQ(reply.Header("connection"), "close");
  toy.SayToAll("go");
  EXPECT_EQ(held.ReadReply().body, "go");
  drain.join();
}

TEST(HttpDrain, HastenEndsTheGrace) {
  ToyServer toy;
  TestClient running(toy.port());
  ASSERT_TRUE(running.Get("/stream"));
  EXPECT_EQ(toy.NextEvent(), "started");
  std::jthread drain([&toy] { toy.server().Drain(std::chrono::hours(1)); });
  WaitForClosedListener(toy.port());
  toy.server().HastenDrain();
  EXPECT_EQ(running.ReadReply().body, "first\nstopped shutdown\n");
  drain.join();
}

TEST(HttpDrain, AHandlerThatDoesNotStopIsCutInTheEnd) {
  ToyServer toy;
  TestClient stubborn(toy.port());
  ASSERT_TRUE(stubborn.Get("/stubborn"));
  EXPECT_EQ(toy.NextEvent(), "started");
  toy.server().Drain(milliseconds(1));
  EXPECT_EQ(stubborn.ReadReply().status, 0);
}

TEST(HttpDrain, AnUploadIsStoppedAtTheEndOfTheGrace) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(
      client.Send("POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc"));
  TestClient watched(toy.port());
  ASSERT_TRUE(watched.Get("/wait"));
  EXPECT_EQ(toy.NextEvent(), "started");
  toy.server().Drain(milliseconds(1));
  const std::string first = toy.NextEvent();
  const std::string second = toy.NextEvent();
  EXPECT_TRUE(first.substr(0, 10) == "body error" || second.substr(0, 10) == "body error");
  EXPECT_EQ(client.ReadReply().status, 503);
}

// Who has connected and asked before the stop is answered, even if the server has not looked yet.
TEST(HttpDrain, RequestsThatWaitInTheKernelAreServed) {
  for (int round = 0; round < 20; ++round) {
    ToyServer toy;
    std::vector<TestClient> clients;
    for (int i = 0; i < 20; ++i) {
      clients.emplace_back(toy.port());
      ASSERT_TRUE(clients.back().Get("/"));
    }
    toy.server().Drain(seconds(60));
    for (TestClient& client : clients) ASSERT_EQ(client.ReadReply().body, "hello");
  }
}

TEST(HttpDrain, WithNothingOpenItReturnsAtOnce) {
  ToyServer toy;
  toy.server().Drain(std::chrono::hours(1));
  toy.server().Drain(std::chrono::hours(1));
  EXPECT_FALSE(TestClient(toy.port()).IsConnected());
}

TEST(HttpDrain, AHalfSentHeadHoldsTheStopOnlyUntilTheEndOfTheGrace) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Send("GET / HTTP/1.1\r\n"));
  std::jthread drain([&toy] { toy.server().Drain(seconds(60)); });
  WaitForClosedListener(toy.port());
  ASSERT_TRUE(client.Send("Host: localhost\r\n\r\n"));
  const Reply reply = client.ReadReply();
  EXPECT_EQ(reply.body, "hello");
  EXPECT_EQ(reply.Header("connection"), "close");
  drain.join();
}

}  // namespace
}  // namespace corral::testing
