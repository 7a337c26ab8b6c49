// The server behind a network that delays, splits, throttles, corrupts and cuts.
#include <gtest/gtest.h>

#include "component/http/test_client.h"
#include "component/http/toy_server.h"
#include "support/fault_gate/fault_gate.h"

namespace corral::testing {
namespace {

using std::chrono::milliseconds;

struct GatedServer {
  ToyServer toy;
  std::unique_ptr<FaultGate> gate = FaultGate::Open(toy.port());
};

TEST(HttpGate, RequestsInSingleBytesAreServed) {
  GatedServer site;
  GateRules rules;
  rules.to_server.split_bytes = 1;
  rules.to_client.split_bytes = 1;
  site.gate->SetRules(rules);
  TestClient client(site.gate->port());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(
        client.Send("POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n"));
    EXPECT_EQ(client.ReadReply().body, "Wikipedia");
    ASSERT_TRUE(client.Get("/lines?n=20"));
    const Reply reply = client.ReadReply();
    EXPECT_TRUE(reply.is_whole);
    EXPECT_EQ(reply.body.substr(0, 14), "line 0\nline 1\n");
  }
}

TEST(HttpGate, ADelayedAndThrottledUploadArrivesWhole) {
  GatedServer site;
  GateRules rules;
  rules.to_server.delay = milliseconds(5);
  rules.to_server.bytes_per_second = 2U << 20;
  site.gate->SetRules(rules);
  TestClient client(site.gate->port());
  ASSERT_TRUE(client.Post("/count", std::string(400000, 'x')));
  EXPECT_EQ(client.ReadReply().body, "400000");
}

TEST(HttpGate, ACutInTheMiddleOfAStreamStopsItsHandler) {
  for (const bool with_reset : {true, false}) {
    GatedServer site;
    GateRules rules;
    rules.cuts_with_reset = with_reset;
    site.gate->SetRules(rules);
    TestClient client(site.gate->port());
    ASSERT_TRUE(client.Get("/stream"));
    EXPECT_EQ(site.toy.NextEvent(), "started");
    site.gate->CutAll();
    EXPECT_EQ(site.toy.NextEvent(), "stopped client gone");
    EXPECT_TRUE(client.WaitForClose());
    EXPECT_TRUE(site.gate->WaitForConnections(0, Clock::now() + kPatience));
  }
}

TEST(HttpGate, ACutAnswerIsSeenAsCutByTheClient) {
  GatedServer site;
  GateRules rules;
  rules.to_client.cut_at = 1000;
  rules.cuts_with_reset = false;
  site.gate->SetRules(rules);
  TestClient client(site.gate->port());
  ASSERT_TRUE(client.Get("/flood"));
  EXPECT_EQ(site.toy.NextEvent(), "started");
  EXPECT_FALSE(client.ReadReply().is_whole);
  EXPECT_EQ(site.toy.NextEvent(), "flood ended: client gone");
}

TEST(HttpGate, AnUploadThatIsCutLeavesAServerThatServes) {
  GatedServer site;
  GateRules rules;
  rules.to_server.cut_at = 50000;
  rules.cuts_with_reset = false;  // a reset could overtake the bytes before it
  site.gate->SetRules(rules);
  TestClient client(site.gate->port());
  (void)client.Post("/count", std::string(200000, 'x'));
  EXPECT_EQ(site.toy.NextEvent(), "body error client gone");
  site.gate->SetRules({});
  TestClient other(site.gate->port());
  ASSERT_TRUE(other.Get("/"));
  EXPECT_EQ(other.ReadReply().body, "hello");
}

// One inverted byte anywhere in the head: refused, or served as what it then says, but never a hang
// or a crash.
TEST(HttpGate, ACorruptByteAnywhereInAHeadIsSurvived) {
  GatedServer site;
  const std::string request = "GET /get-only HTTP/1.1\r\nHost: localhost\r\n\r\n";
  int n_refused = 0;
  for (std::size_t i = 0; i < request.size(); ++i) {
    GateRules rules;
    rules.to_server.corrupt_at = i;
    site.gate->SetRules(rules);
    TestClient client(site.gate->port());
    ASSERT_TRUE(client.Send(request));
    client.HalfClose();
    const Reply reply = client.ReadReply();
    if (reply.status != 200) ++n_refused;
  }
  // An inverted letter is a byte above 0x7F: fine in a value or a path, nowhere else.
  EXPECT_GT(n_refused, 30);
  site.gate->SetRules({});
  TestClient client(site.gate->port());
  ASSERT_TRUE(client.Get("/"));
  EXPECT_EQ(client.ReadReply().status, 200);
}

TEST(HttpGate, AHeldConnectionRunsIntoTheHeadTimeout) {
  http::ServerOptions options;
  options.head_timeout = milliseconds(50);
  ToyServer toy(std::move(options));
  const auto gate = FaultGate::Open(toy.port());
  GateRules rules;
  rules.to_server.hold_at = 20;
  gate->SetRules(rules);
  TestClient client(gate->port());
  ASSERT_TRUE(client.Get("/"));
  EXPECT_EQ(client.ReadReply().status, 408);
}

TEST(HttpGate, AGateThatDoesNotAcceptLetsNothingThrough) {
  GatedServer site;
  site.gate->StopAccepting();
  TestClient client(site.gate->port());
  ASSERT_TRUE(client.Get("/"));
  EXPECT_EQ(site.gate->n_accepted(), 0U);
  site.gate->ResumeAccepting();
  EXPECT_EQ(client.ReadReply().body, "hello");
  EXPECT_EQ(site.gate->n_accepted(), 1U);
}

TEST(HttpGate, DrainEndsStreamsCleanlyThroughASlowNetwork) {
  GatedServer site;
  GateRules rules;
  rules.to_client.split_bytes = 3;
  rules.to_client.delay = milliseconds(2);
  site.gate->SetRules(rules);
  std::vector<TestClient> clients;
  for (int i = 0; i < 20; ++i) {
    clients.emplace_back(site.gate->port());
    ASSERT_TRUE(clients.back().Get("/stream"));
  }
  for (int i = 0; i < 20; ++i) ASSERT_EQ(site.toy.NextEvent(), "started");
  site.toy.server().Drain(milliseconds(1));
  for (TestClient& client : clients) {
    const Reply reply = client.ReadReply();
    EXPECT_EQ(reply.body, "first\nstopped shutdown\n");
    EXPECT_TRUE(reply.is_whole);
  }
}

}  // namespace
}  // namespace corral::testing
