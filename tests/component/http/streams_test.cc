// Streams, slow readers and lost clients.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>

#include "component/http/test_client.h"
#include "component/http/toy_server.h"

namespace corral::testing {
namespace {

using std::chrono::milliseconds;

TEST(HttpStreams, EachWriteIsOneChunkAndReachesTheClientAtOnce) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Get("/stream"));
  const Reply head = client.ReadReplyHead();
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.Header("transfer-encoding"), "chunked");
  EXPECT_EQ(head.Header("x-accel-buffering"), "no");
  EXPECT_EQ(head.Header("content-type"), "application/x-ndjson");
  EXPECT_EQ(client.ReadChunk(), "first\n");
  EXPECT_EQ(toy.NextEvent(), "started");
  toy.SayToAll("second");
  EXPECT_EQ(client.ReadChunk(), "second\n");
  EXPECT_EQ(client.ReadChunk(), "");
  ASSERT_TRUE(client.Get("/"));
  EXPECT_EQ(client.ReadReply().body, "hello");
}

TEST(HttpStreams, AClientThatLeavesIsSeenWhileItsHandlerWaits) {
  ToyServer toy;
  for (const std::string path : {"/wait", "/stream"}) {
    for (const int way : {0, 1, 2}) {
      TestClient client(toy.port());
      ASSERT_TRUE(client.Get(path));
      EXPECT_EQ(toy.NextEvent(), "started");
      if (way == 0) client.Close();
      if (way == 1) client.Reset();
      if (way == 2) client.HalfClose();
      EXPECT_EQ(toy.NextEvent(), "stopped client gone") << path << way;
    }
  }
}

TEST(HttpStreams, AClientThatLeavesIsSeenBehindThePipelinedRequestThatItSent) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Get("/wait"));
  ASSERT_TRUE(client.Get("/wait"));
  EXPECT_EQ(toy.NextEvent(), "started");
  client.Reset();
  EXPECT_EQ(toy.NextEvent(), "stopped client gone");
}

TEST(HttpStreams, AHalfClosedClientStillGetsACompleteAnswer) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Get("/"));
  client.HalfClose();
  EXPECT_EQ(client.ReadReply().body, "hello");
  EXPECT_TRUE(client.WaitForClose());
  TestClient waiting(toy.port());
  ASSERT_TRUE(waiting.Get("/wait-and-send"));
  waiting.HalfClose();
  EXPECT_EQ(waiting.ReadReply().body, "stopped client gone");
}

TEST(HttpStreams, BytesThatArriveDuringAnAnswerAreTheNextRequest) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Get("/wait"));
  EXPECT_EQ(toy.NextEvent(), "started");
  ASSERT_TRUE(client.Post("/echo", "next"));
  toy.SayToAll("go");
  EXPECT_EQ(client.ReadReply().body, "go");
  EXPECT_EQ(client.ReadReply().body, "next");
}

TEST(HttpStreams, ASlowReaderHoldsBackItsWriterAndGetsAll) {
  ToyServer toy;
  TestClient slow(toy.port());
  slow.ShrinkReceiveBuffer();
  const std::size_t n_bytes = 8U << 20;
  ASSERT_TRUE(slow.Get("/big?n=" + std::to_string(n_bytes)));
  // Others are served while it reads nothing.
  TestClient other(toy.port());
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(other.Get("/"));
    ASSERT_EQ(other.ReadReply().body, "hello");
  }
  const Reply reply = slow.ReadReply();
  EXPECT_EQ(reply.body.size(), n_bytes);
  EXPECT_TRUE(reply.is_whole);
}

TEST(HttpStreams, AReaderThatTakesNothingForTheWriteTimeoutIsGone) {
  http::ServerOptions options;
  options.write_timeout = milliseconds(50);
  ToyServer toy(std::move(options));
  TestClient client(toy.port());
  client.ShrinkReceiveBuffer();
  ASSERT_TRUE(client.Get("/flood"));
  EXPECT_EQ(toy.NextEvent(), "started");
  EXPECT_EQ(toy.NextEvent(), "flood ended: client gone");
}

TEST(HttpStreams, FiftyClientsLeaveAndEachIsSeen) {
  ToyServer toy;
  std::vector<TestClient> clients;
  for (int i = 0; i < 50; ++i) {
    clients.emplace_back(toy.port());
    ASSERT_TRUE(clients.back().Get("/stream"));
  }
  for (int i = 0; i < 50; ++i) ASSERT_EQ(toy.NextEvent(), "started");
  clients.clear();
  for (int i = 0; i < 50; ++i) ASSERT_EQ(toy.NextEvent(), "stopped client gone");
}

// Two io threads; the clients are this one thread.
TEST(HttpStreams, AThousandStreamsRunAtOnce) {
  constexpr std::size_t kStreams = 1000;
  rlimit files{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  if (files.rlim_cur < 2 * kStreams + 100) GTEST_SKIP() << "needs more open files";
  ToyServer toy;
  std::vector<TestClient> clients;
  clients.reserve(kStreams);
  for (std::size_t i = 0; i < kStreams; ++i) {
    clients.emplace_back(toy.port());
    ASSERT_TRUE(clients.back().Get("/stream"));
  }
  for (std::size_t i = 0; i < kStreams; ++i) ASSERT_EQ(toy.NextEvent(), "started");
  EXPECT_EQ(toy.server().load().n_busy, kStreams);
  toy.SayToAll("go");
  for (TestClient& client : clients) {
    const Reply reply = client.ReadReply();
    ASSERT_EQ(reply.body, "first\ngo\n");
    ASSERT_TRUE(reply.is_whole);
  }
}

TEST(HttpStreams, TheServerCanBeDestroyedWhileHandlersRun) {
  for (int round = 0; round < 3; ++round) {
    ToyServer toy;
    TestClient stream(toy.port());
    TestClient stubborn(toy.port());
    TestClient idle(toy.port());
    ASSERT_TRUE(stream.Get("/stream"));
    EXPECT_EQ(toy.NextEvent(), "started");
    if (round == 0) {
      ASSERT_TRUE(stubborn.Get("/stubborn"));
      EXPECT_EQ(toy.NextEvent(), "started");
    }
    toy.Destroy();
    // A mailbox may outlive its server: pushing into it is harmless.
    toy.SayToAll("too late");
    EXPECT_EQ(stream.ReadReply().body, "first\nstopped shutdown\n");
    EXPECT_TRUE(idle.WaitForClose());
  }
}

}  // namespace
}  // namespace corral::testing
