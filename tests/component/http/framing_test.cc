// Where a request ends: bodies, limits, smuggling, timeouts.
#include <gtest/gtest.h>

#include <thread>

#include "component/http/test_client.h"
#include "component/http/toy_server.h"

namespace corral::testing {
namespace {

using std::chrono::milliseconds;
using namespace std::string_view_literals;

http::ServerOptions SmallLimits() {
  http::ServerOptions options;
  options.max_body_bytes = 1000;
  options.max_head_bytes = 4096;
  return options;
}

// False: the server's books did not come to say so.
bool WaitForLoad(const ToyServer& toy, std::size_t n_connections, std::size_t n_busy) {
  const Deadline deadline = Clock::now() + kPatience;
  for (;;) {
    const http::ServerLoad load = toy.server().load();
    if (load.n_connections == n_connections && load.n_busy == n_busy) return true;
    if (Clock::now() >= deadline) return false;
    std::this_thread::yield();
  }
}

TEST(HttpFraming, ABodyOverTheLimitIsRefusedBeforeItIsSent) {
  ToyServer toy(SmallLimits());
  TestClient client(toy.port());
  ASSERT_TRUE(
      client.Send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n"));
  const Reply reply = client.ReadReply();
  EXPECT_EQ(reply.status, 413);
  EXPECT_EQ(reply.body, R"({"error":"request body too large: the limit is 1000 bytes"})");
  EXPECT_EQ(reply.Header("content-type"), "application/json; charset=utf-8");
}

TEST(HttpFraming, ABodyOfExactlyTheLimitPasses) {
  ToyServer toy(SmallLimits());
  TestClient client(toy.port());
  const std::string body(1000, 'x');
  ASSERT_TRUE(client.Post("/echo", body));
  EXPECT_EQ(client.ReadReply().body, body);
}

TEST(HttpFraming, AHandlerThatDropsTheErrorStillAnswers413) {
  ToyServer toy(SmallLimits());
  TestClient client(toy.port());
  ASSERT_TRUE(client.Send(
      "POST /drop-error HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"));
  const Reply reply = client.ReadReply();
  EXPECT_EQ(reply.status, 413);
  EXPECT_EQ(reply.body, R"({"error":"request body too large"})");
  EXPECT_EQ(reply.Header("connection"), "close");
}

TEST(HttpFraming, ALargeRefusedBodyDoesNotDestroyItsAnswer) {
  ToyServer toy(SmallLimits());
  TestClient client(toy.port());
  // Sent whole, into the closing connection: the answer must still be readable.
  (void)client.Post("/echo", std::string(300000, 'x'));
  const Reply reply = client.ReadReply();
  EXPECT_EQ(reply.status, 413);
  EXPECT_TRUE(reply.is_whole);
}

TEST(HttpFraming, AChunkedBodyIsCountedAsItComes) {
  ToyServer toy(SmallLimits());
  TestClient client(toy.port());
  std::string body;
  for (int i = 0; i < 11; ++i) body += "64\r\n" + std::string(100, 'x') + "\r\n";
  ASSERT_TRUE(client.Send(
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + body));
  EXPECT_EQ(client.ReadReply().status, 413);
}

TEST(HttpFraming, AChunkedBodyWithExtensionsAndTrailersIsRead) {
  ToyServer toy;
  TestClient client(toy.port());
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(
        client.Send("POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: Chunked\r\n\r\n"
                    "4;name=value\r\nWiki\r\n5\r\npedia\r\n0\r\nX-Trailer: 1\r\n\r\n"));
    EXPECT_EQ(client.ReadReply().body, "Wikipedia");
  }
}

TEST(HttpFraming, ManySmallChunksAreNoFault) {
  ToyServer toy;
  TestClient client(toy.port());
  std::string body;
  for (int i = 0; i < 50000; ++i) body += "1\r\nx\r\n";
  ASSERT_TRUE(
      client.Send("POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" +
                  body + "0\r\n\r\n"));
  EXPECT_EQ(client.ReadReply().body, std::string(50000, 'x'));
}

TEST(HttpFraming, ChunkExtensionsAndTrailersHaveALimit) {
  ToyServer toy(SmallLimits());
  for (const bool is_trailer : {false, true}) {
    TestClient client(toy.port());
    std::string body = "1\r\nx\r\n";
    if (is_trailer) {
      body += "0\r\n";
      for (int i = 0; i < 1000; ++i) body += "X-Trailer-" + std::to_string(i) + ": 0123456789\r\n";
    } else {
      for (int i = 0; i < 100; ++i) body += "1;" + std::string(500, 'e') + "\r\nx\r\n";
      body += "0\r\n\r\n";
    }
    (void)client.Send(
        "POST /count HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + body);
    const Reply reply = client.ReadReply();
    EXPECT_EQ(reply.status, 400) << is_trailer;
    EXPECT_EQ(reply.Header("connection"), "close");
  }
}

TEST(HttpFraming, BrokenChunksAreRefusedAndEndTheConnection) {
  ToyServer toy;
  for (const std::string body : {"x\r\n", "-1\r\nab\r\n", "0x2\r\nab\r\n", "2\nab\n0\n\n",
                                 "2\r\nabc\r\n0\r\n\r\n", "ffffffffffffffffff\r\nab\r\n",
                                 "7fffffffffffffff\r\nab", "2 \r\r\nab\r\n0\r\n\r\n", "\r\n\r\n"}) {
    TestClient client(toy.port());
    (void)client.Send(
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + body);
    client.HalfClose();
    const Reply reply = client.ReadReply();
    EXPECT_TRUE(reply.status == 400 || reply.status == 0) << body << " " << reply.status;
    EXPECT_TRUE(client.WaitForClose());
  }
}

TEST(HttpFraming, AnUploadOfAnySizeStreamsThrough) {
  ToyServer toy(SmallLimits());
  TestClient client(toy.port());
  ASSERT_TRUE(client.Post("/count", std::string(8U << 20, 'x')));
  EXPECT_EQ(client.ReadReply().body, std::to_string(8U << 20));
  ASSERT_TRUE(client.Get("/"));
  EXPECT_EQ(client.ReadReply().body, "hello");
}

TEST(HttpFraming, ContinueIsSentOnlyWhenTheBodyIsWanted) {
  ToyServer toy(SmallLimits());
  {
    TestClient client(toy.port());
    ASSERT_TRUE(
        client.Send("POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: "
                    "100-Continue\r\nContent-Length: 2\r\n\r\n"));
    EXPECT_EQ(client.ReadReply().status, 100);
    ASSERT_TRUE(client.Send("ab"));
    const Reply reply = client.ReadReply();
    EXPECT_EQ(reply.body, "ab");
    EXPECT_EQ(reply.CountHeader("connection"), 0);
  }
  for (const std::string path : {"/echo", "/ignore", "/nope"}) {
    TestClient client(toy.port());
    ASSERT_TRUE(client.Send(
        "POST " + path +
        " HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n"));
    const Reply reply = client.ReadReply();
    EXPECT_EQ(reply.status, path == "/echo" ? 413 : path == "/ignore" ? 200 : 404);
    EXPECT_EQ(reply.Header("connection"), "close");
    EXPECT_TRUE(client.WaitForClose());
  }
  TestClient client(toy.port());
  ASSERT_TRUE(client.Get("/", "Expect: 200-ok\r\n"));
  EXPECT_EQ(client.ReadReply().status, 417);
}

TEST(HttpFraming, AnUnreadSmallBodyKeepsTheConnectionAndALargeOneDoesNot) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Post("/ignore", std::string(100000, 'x')));
  Reply reply = client.ReadReply();
  EXPECT_EQ(reply.CountHeader("connection"), 0);
  ASSERT_TRUE(client.Get("/"));
  EXPECT_EQ(client.ReadReply().body, "hello");
  ASSERT_TRUE(
      client.Send("POST /ignore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"));
  reply = client.ReadReply();
  EXPECT_EQ(reply.body, "ignored");
  EXPECT_EQ(reply.Header("connection"), "close");
}

// Each must end in one refusal and a closed connection: the bytes behind it are never a second
// request.
TEST(HttpFraming, SmuggledRequestsAreNeverServed) {
  const std::string get = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const std::string post = "POST /echo HTTP/1.1\r\nHost: localhost\r\n";
  struct Case {
    std::string bytes;
    int status;
  };
  const std::vector<Case> cases = {
      {post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get, 400},
      {post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + get, 400},
      {post + "Transfer-Encoding: gzip\r\n\r\n" + get, 501},
      {post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + get, 501},
      {post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + get, 501},
      {post + "Transfer-Encoding: identity\r\n\r\n" + get, 501},
      {post +
           "Transfer-Encoding: \x0b"
           "chunked\r\n\r\n0\r\n\r\n" +
           get,
       400},
      {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get,
       400},
      {post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + get, 400},
      {post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + get, 501},
      {post + "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get, 400},
      {post + "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get, 400},
      {post + "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get, 400},
      {post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef" + get, 400},
      {post + "Content-Length: 5, 5\r\n\r\nabcde" + get, 400},
      {post + "Content-Length: +5\r\n\r\nabcde" + get, 400},
      {post + "Content-Length: 0x5\r\n\r\nabcde" + get, 400},
      {post + "Content-Length: 5 5\r\n\r\nabcde" + get, 400},
      {post + "Content-Length: -1\r\n\r\n" + get, 400},
      {post + "Content-Length:\r\n\r\n" + get, 400},
      {post + "Content-Length: 99999999999999999999999\r\n\r\n" + get, 400},
      {"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get, 400},
      {"POST /echo HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + get, 400},
      {"POST /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n" + get, 400},
      {"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n" + get, 505},
      {"GET / HTTP/1.2\r\nHost: localhost\r\n\r\n" + get, 505},
      {"GET / http/1.1\r\nHost: localhost\r\n\r\n" + get, 400},
      {"GET /\r\n\r\n" + get, 400},
      {"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n" + get, 400},
      {"GET / x HTTP/1.1\r\nHost: localhost\r\n\r\n" + get, 400},
      {"GET /\tx HTTP/1.1\r\nHost: localhost\r\n\r\n" + get, 400},
      {std::string("GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n"sv) + get, 400},
      {std::string("GET / HTTP/1.1\r\nHost: localhost\r\nX: \0\r\n\r\n"sv) + get, 400},
      {"G@T / HTTP/1.1\r\nHost: localhost\r\n\r\n" + get, 400},
      {"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n" + get, 400},
      {"\x16\x03\x01\x02", 400},  // the start of a TLS handshake
      {"\r\n\r\n\x16\x03\x01\x02", 400},
  };
  ToyServer toy;
  for (const Case& c : cases) {
    TestClient client(toy.port());
    ASSERT_TRUE(client.Send(c.bytes));
    const Reply reply = client.ReadReply();
    EXPECT_EQ(reply.status, c.status) << c.bytes;
    EXPECT_EQ(reply.Header("connection"), "close") << c.bytes;
    EXPECT_FALSE(client.HasUnread()) << c.bytes;
    EXPECT_EQ(client.ReadToEnd(), "") << c.bytes;
  }
}

TEST(HttpFraming, EmptyLinesBeforeARequestAreIgnored) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Send("\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  EXPECT_EQ(client.ReadReply().body, "hello");
}

TEST(HttpFraming, AHeadOverItsLimitIs431) {
  ToyServer toy(SmallLimits());
  for (const bool is_ended : {false, true}) {
    TestClient client(toy.port());
    (void)client.Send("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(8000, 'x') +
                      (is_ended ? "\r\n\r\n" : ""));
    EXPECT_EQ(client.ReadReply().status, 431);
    EXPECT_TRUE(client.WaitForClose());
  }
}

TEST(HttpFraming, AHeadThatDoesNotEndInTimeIs408) {
  http::ServerOptions options;
  options.head_timeout = milliseconds(50);
  ToyServer toy(std::move(options));
  TestClient client(toy.port());
  ASSERT_TRUE(client.Send("GET / HTTP/1.1\r\nHost: local"));
  EXPECT_EQ(client.ReadReply().status, 408);
  EXPECT_TRUE(client.WaitForClose());
}

TEST(HttpFraming, AnIdleConnectionIsClosedWithoutAWord) {
  http::ServerOptions options;
  options.idle_timeout = milliseconds(50);
  ToyServer toy(std::move(options));
  TestClient fresh(toy.port());
  EXPECT_EQ(fresh.ReadToEnd(), "");
  TestClient used(toy.port());
  ASSERT_TRUE(used.Get("/"));
  EXPECT_EQ(used.ReadReply().body, "hello");
  EXPECT_EQ(used.ReadToEnd(), "");
}

TEST(HttpFraming, ABodyThatStopsComingEndsTheRequest) {
  http::ServerOptions options;
  options.idle_timeout = milliseconds(50);
  ToyServer toy(std::move(options));
  TestClient client(toy.port());
  ASSERT_TRUE(
      client.Send("POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc"));
  EXPECT_EQ(toy.NextEvent(), "body error the client stopped sending");
  EXPECT_TRUE(client.WaitForClose());
}

TEST(HttpFraming, ABodyThatIsCutEndsTheRequest) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(
      client.Send("POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc"));
  client.Close();
  EXPECT_EQ(toy.NextEvent(), "body error client gone");
}

TEST(HttpFraming, TooManyConnectionsCloseTheLongestIdleOneElse503) {
  http::ServerOptions options;
  options.max_connections = 2;
  ToyServer toy(std::move(options));
  TestClient idle(toy.port());
  ASSERT_TRUE(idle.Get("/"));
  EXPECT_EQ(idle.ReadReply().body, "hello");
  TestClient busy(toy.port());
  ASSERT_TRUE(busy.Get("/wait"));
  EXPECT_EQ(toy.NextEvent(), "started");
  ASSERT_TRUE(WaitForLoad(toy, 2, 1));  // a client has its answer a moment before it counts as idle

  TestClient second_busy(toy.port());
  EXPECT_TRUE(idle.WaitForClose());  // it made room
  ASSERT_TRUE(second_busy.Get("/wait"));
  EXPECT_EQ(toy.NextEvent(), "started");

  // The one that made room leaves the books a moment after its socket.
  ASSERT_TRUE(WaitForLoad(toy, 2, 2));
  TestClient refused(toy.port());
  const Reply reply = refused.ReadReply();
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.Header("retry-after"), "1");
  toy.SayToAll("go");
  EXPECT_EQ(busy.ReadReply().body, "go");
  EXPECT_EQ(second_busy.ReadReply().body, "go");
}

}  // namespace
}  // namespace corral::testing
