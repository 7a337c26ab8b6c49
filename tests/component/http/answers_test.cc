// What comes back for a request: routes, redirects, CORS, Host rule, HEAD, versions, keep-alive,
// handlers that fail.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "component/http/test_client.h"
#include "component/http/toy_server.h"
#include "core/files.h"

namespace corral::testing {
namespace {

TEST(HttpAnswers, ARouteAnswersWithLengthDateAndRequestIdButNoServerHeader) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Get("/"));
  const Reply reply = client.ReadReply();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.version, "HTTP/1.1");
  EXPECT_EQ(reply.body, "hello");
  EXPECT_EQ(reply.Header("content-type"), "text/plain; charset=utf-8");
  EXPECT_EQ(reply.Header("content-length"), "5");
  EXPECT_EQ(reply.Header("date").substr(reply.Header("date").size() - 3), "GMT");
  EXPECT_EQ(reply.Header("x-request-id").size(), 16U);
  EXPECT_EQ(reply.CountHeader("server"), 0);
  EXPECT_EQ(reply.CountHeader("connection"), 0);
}

TEST(HttpAnswers, AConnectionServesManyRequests) {
  ToyServer toy;
  TestClient client(toy.port());
  std::string last_id;
  for (int i = 0; i < 200; ++i) {
    const std::string body = "body " + std::to_string(i);
    ASSERT_TRUE(client.Post("/echo", body));
    const Reply reply = client.ReadReply();
    ASSERT_EQ(reply.body, body);
    EXPECT_NE(reply.Header("x-request-id"), last_id);
    last_id = reply.Header("x-request-id");
  }
}

TEST(HttpAnswers, PipelinedRequestsAreAnsweredInOrder) {
  ToyServer toy;
  TestClient client(toy.port());
  std::string requests;
  for (int i = 0; i < 300; ++i) {
    requests += "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n" +
                std::to_string(100 + i);
    requests += "GET /lines?n=2 HTTP/1.1\r\nHost: localhost\r\n\r\n";
  }
  ASSERT_TRUE(client.Send(requests));
  for (int i = 0; i < 300; ++i) {
    ASSERT_EQ(client.ReadReply().body, std::to_string(100 + i));
    ASSERT_EQ(client.ReadReply().body, "line 0\nline 1\n");
  }
}

TEST(HttpAnswers, HeadHasTheHeadersOfGetAndNoBody) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  const Reply reply = client.ReadReply(true);
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.Header("content-length"), "5");
  // Nothing of a body lies between this answer and the next.
  ASSERT_TRUE(client.Send("HEAD /lines?n=3 HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  EXPECT_EQ(client.ReadReply(true).status, 200);
  ASSERT_TRUE(client.Get("/"));
  EXPECT_EQ(client.ReadReply().body, "hello");
}

TEST(HttpAnswers, UnmatchedRequestsGetOllamasTexts) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Get("/nope"));
  Reply reply = client.ReadReply();
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(reply.body, "404 page not found");
  EXPECT_EQ(reply.Header("content-type"), "text/plain");

  ASSERT_TRUE(client.Send("PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"));
  reply = client.ReadReply();
  EXPECT_EQ(reply.status, 405);
  EXPECT_EQ(reply.body, "405 method not allowed");
  EXPECT_EQ(reply.Header("content-type"), "text/plain");
  EXPECT_EQ(reply.Header("allow"), "HEAD, GET");

  ASSERT_TRUE(client.Get("/blobs/x"));
  EXPECT_EQ(client.ReadReply().Header("allow"), "HEAD, POST, DELETE");
  ASSERT_TRUE(client.Send("HEAD /get-only HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  reply = client.ReadReply(true);
  EXPECT_EQ(reply.status, 405);
  EXPECT_EQ(reply.Header("allow"), "GET");
  ASSERT_TRUE(client.Send("OPTIONS /get-only HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
  EXPECT_EQ(client.ReadReply().status, 405);
}

TEST(HttpAnswers, OneExtraSlashIsRedirected) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Get("/get-only/?a=1&b"));
  Reply reply = client.ReadReply();
  EXPECT_EQ(reply.status, 301);
  EXPECT_EQ(reply.Header("location"), "/get-only?a=1&b");
  EXPECT_EQ(reply.body, "<a href=\"/get-only?a=1&amp;b\">Moved Permanently</a>.\n\n");
  ASSERT_TRUE(client.Post("/echo/", "x"));
  reply = client.ReadReply();
  EXPECT_EQ(reply.status, 307);
  EXPECT_EQ(reply.Header("location"), "/echo");
  ASSERT_TRUE(client.Get("/get-only//"));
  EXPECT_EQ(client.ReadReply().status, 404);
  // Before CORS and the Host rule, and with a body that could split the answer.
  ASSERT_TRUE(
      client.Send("POST /blobs/a%0d%0aX:%20y/ HTTP/1.1\r\nHost: evil.example\r\n"
                  "Origin: http://evil.example:1\r\nContent-Length: 0\r\n\r\n"));
  reply = client.ReadReply();
  EXPECT_EQ(reply.status, 307);
  EXPECT_EQ(reply.Header("location"), "/blobs/a%0D%0AX:%20y");
}

TEST(HttpAnswers, PathsAreDecodedAndTheirPartsAreParams) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Post("/blobs/sha256%3Aab", ""));
  EXPECT_EQ(client.ReadReply().body, "sha256:ab");
  ASSERT_TRUE(client.Get("/files/a/b/c"));
  EXPECT_EQ(client.ReadReply().body, "a/b/c");
  ASSERT_TRUE(client.Get("/about?x=%20y"));
  EXPECT_EQ(client.ReadReply().body, "/about|x=%20y|127.0.0.1|localhost");
  ASSERT_TRUE(client.Get("http://127.0.0.1:9/about"));
  EXPECT_EQ(client.ReadReply().body, "/about||127.0.0.1|127.0.0.1:9");
  ASSERT_TRUE(client.Get("/%zz"));
  EXPECT_EQ(client.ReadReply().status, 400);
}

TEST(HttpAnswers, PreflightAndCrossOriginRequestsFollowOllamasRules) {
  ToyServer toy;
  TestClient client(toy.port());
  for (const std::string path : {"/echo", "/nope"}) {
    ASSERT_TRUE(client.Send("OPTIONS " + path +
                            " HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n"
                            "Access-Control-Request-Method: POST\r\n\r\n"));
    const Reply reply = client.ReadReply();
    EXPECT_EQ(reply.status, 204);
    EXPECT_EQ(reply.Header("access-control-allow-origin"), "http://localhost:3000");
    EXPECT_EQ(reply.Header("access-control-allow-methods"),
              "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS");
    EXPECT_EQ(reply.Header("access-control-max-age"), "43200");
    EXPECT_EQ(reply.CountHeader("vary"), 3);
    EXPECT_EQ(reply.CountHeader("content-length"), 0);
  }
  ASSERT_TRUE(client.Get("/", "Origin: http://evil.example\r\n"));
  Reply reply = client.ReadReply();
  EXPECT_EQ(reply.status, 403);
  EXPECT_EQ(reply.body, "");
  EXPECT_EQ(reply.CountHeader("access-control-allow-origin"), 0);

  ASSERT_TRUE(client.Get("/nope", "Origin: app://x\r\n"));
  reply = client.ReadReply();
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(reply.Header("access-control-allow-origin"), "app://x");
  EXPECT_EQ(reply.Header("vary"), "Origin");

  ASSERT_TRUE(client.Get("/lines?n=1", "Origin: http://127.0.0.1\r\n"));
  reply = client.ReadReply();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.Header("access-control-allow-origin"), "http://127.0.0.1");

  ASSERT_TRUE(client.Get("/", "Origin: http://localhost\r\n"));
  reply = client.ReadReply();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.CountHeader("access-control-allow-origin"), 0);
}

TEST(HttpAnswers, AForeignHostIsRefusedOnALoopbackAddress) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Send("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"));
  Reply reply = client.ReadReply();
  EXPECT_EQ(reply.status, 403);
  EXPECT_EQ(reply.body, "");
  for (const std::string host :
       {"foo.localhost", "a.local", "b.internal", "10.1.2.3:99", "[::1]"}) {
    ASSERT_TRUE(client.Send("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"));
    EXPECT_EQ(client.ReadReply().status, 200) << host;
  }
  ASSERT_TRUE(client.Send("OPTIONS /nope HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  EXPECT_EQ(client.ReadReply().status, 204);
}

TEST(HttpAnswers, ARequestIdIsEchoedWhenItIsWellFormed) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Get("/", "X-Request-Id: trace-1/2\r\n"));
  EXPECT_EQ(client.ReadReply().Header("x-request-id"), "trace-1/2");
  ASSERT_TRUE(client.Get("/", "X-Request-Id: \"><script>\r\n"));
  EXPECT_EQ(client.ReadReply().Header("x-request-id").size(), 16U);
}

TEST(HttpAnswers, AnHttp10ClientGetsAPlainStreamThatEndsWithTheConnection) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Send("GET /lines?n=2 HTTP/1.0\r\n\r\n"));
  const Reply reply = client.ReadReply();
  EXPECT_EQ(reply.version, "HTTP/1.0");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.CountHeader("transfer-encoding"), 0);
  EXPECT_EQ(reply.Header("connection"), "close");
  EXPECT_EQ(reply.body, "line 0\nline 1\n");
}

TEST(HttpAnswers, AnHttp10ClientMayKeepItsConnection) {
  ToyServer toy;
  TestClient client(toy.port());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client.Send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    const Reply reply = client.ReadReply();
    EXPECT_EQ(reply.Header("connection"), "keep-alive");
    EXPECT_EQ(reply.body, "hello");
  }
  ASSERT_TRUE(client.Send("GET / HTTP/1.0\r\n\r\n"));
  EXPECT_EQ(client.ReadReply().Header("connection"), "close");
  EXPECT_TRUE(client.WaitForClose());
}

TEST(HttpAnswers, ConnectionCloseIsHonoured) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Get("/", "Connection: close\r\n"));
  EXPECT_EQ(client.ReadReply().Header("connection"), "close");
  EXPECT_TRUE(client.WaitForClose());
}

TEST(HttpAnswers, AnUpgradeToHttp2IsDeclinedByAnsweringInHttp11) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Post("/echo", "abc",
                          "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                          "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"));
  EXPECT_EQ(client.ReadReply().body, "abc");
  ASSERT_TRUE(client.Get("/"));
  EXPECT_EQ(client.ReadReply().body, "hello");
}

TEST(HttpAnswers, AHandlerThatThrowsIsAnEmpty500AndTheConnectionLives) {
  ToyServer toy;
  TestClient client(toy.port());
  for (const std::string path : {"/throw", "/silent", "/bad-header"}) {
    ASSERT_TRUE(client.Get(path));
    const Reply reply = client.ReadReply();
    EXPECT_EQ(reply.status, 500) << path;
    EXPECT_EQ(reply.body, "") << path;
    EXPECT_EQ(reply.CountHeader("set-cookie"), 0);
  }
  ASSERT_TRUE(client.Get("/"));
  EXPECT_EQ(client.ReadReply().status, 200);
}

TEST(HttpAnswers, AStreamWhoseHandlerThrowsEndsWithoutItsLastChunk) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Get("/throw-late"));
  const Reply reply = client.ReadReply();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "begun");
  EXPECT_FALSE(reply.is_whole);
}

TEST(HttpAnswers, ASecondAnswerToOneRequestIsRefused) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Get("/twice"));
  EXPECT_EQ(client.ReadReply().body, "once");
  EXPECT_EQ(toy.NextEvent(), "refused");
  ASSERT_TRUE(client.Get("/"));
  EXPECT_EQ(client.ReadReply().body, "hello");
}

TEST(HttpAnswers, AHandlersFramingHeadersAreTheServersBusiness) {
  ToyServer toy;
  TestClient client(toy.port());
  ASSERT_TRUE(client.Get("/own-headers"));
  const Reply reply = client.ReadReply();
  EXPECT_EQ(reply.CountHeader("content-length"), 1);
  EXPECT_EQ(reply.Header("content-length"), "1");
  EXPECT_EQ(reply.Header("connection"), "keep-alive");
  EXPECT_EQ(reply.Header("cache-control"), "no-cache");
  ASSERT_TRUE(client.Get("/own-headers", "Connection: close\r\n"));
  EXPECT_EQ(client.ReadReply().Header("connection"), "close");
}

TEST(HttpAnswers, BlockingWorkComesBackToItsHandler) {
  ToyServer toy;
  TestClient client(toy.port());
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(client.Get("/blocking"));
    ASSERT_EQ(client.ReadReply().body, "worked");
  }
  ASSERT_TRUE(client.Get("/blocking-throw"));
  EXPECT_EQ(client.ReadReply().body, CodeName(Code::kInternal));
}

TEST(HttpAnswers, AFullBlockingPoolIsBusyAtOnce) {
  http::ServerOptions options;
  options.n_blocking_threads = 1;
  options.blocking_queue = 1;
  ToyServer toy(std::move(options));
  TestClient held(toy.port());
  ASSERT_TRUE(held.Get("/hold-pool"));
  EXPECT_EQ(toy.NextEvent(), "holding");
  // One of ten has a place in the queue; the others are told while the pool is held.
  BoundedQueue<int> statuses(10);
  std::vector<std::jthread> clients;
  for (int i = 0; i < 10; ++i) {
    clients.emplace_back([&] {
      TestClient client(toy.port());
      client.Get("/hold-pool");
      (void)statuses.TryPush(client.ReadReply().status);
    });
  }
  for (int i = 0; i < 9; ++i) EXPECT_EQ(statuses.Pop(Clock::now() + kPatience), 503);
  TestClient other(toy.port());
  ASSERT_TRUE(other.Get("/free-pool"));
  EXPECT_EQ(other.ReadReply().status, 200);
  EXPECT_EQ(held.ReadReply().body, "held");
  EXPECT_EQ(statuses.Pop(Clock::now() + kPatience), 200);
}

TEST(HttpAnswers, EveryAnswerIsReportedToTheAccessLog) {
  BoundedQueue<std::string> log(100);
  http::ServerOptions options;
  options.on_access = [&log](const http::Request& request, int status,
                             std::chrono::nanoseconds took) {
    (void)log.TryPush(request.method + " " + request.path + " " + std::to_string(status) +
                      (took.count() > 0 ? "" : " no time"));
  };
  ToyServer toy(std::move(options));
  TestClient client(toy.port());
  ASSERT_TRUE(client.Get("/lines?n=1"));
  (void)client.ReadReply();
  ASSERT_TRUE(client.Get("/nope"));
  (void)client.ReadReply();
  EXPECT_EQ(log.Pop(Clock::now() + kPatience), "GET /lines 200");
  EXPECT_EQ(log.Pop(Clock::now() + kPatience), "GET /nope 404");
}

TEST(HttpAnswers, APortInUseIsSaidInGosWords) {
  ToyServer toy;
  http::ServerOptions options;
  options.port = toy.port();
  const auto second = http::Start(options, http::Router());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kAlreadyExists);
  EXPECT_EQ(second.error().message, "listen tcp 127.0.0.1:" + std::to_string(toy.port()) +
                                        ": bind: address already in use");
  options.address = "localhost";
  const auto third = http::Start(options, http::Router());
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().message, second.error().message);
}

TEST(HttpAnswers, AnAddressThatIsNotOursOrNoNameIsAWrongOne) {
  http::ServerOptions options;
  options.port = 0;
  options.address = "192.0.2.1";
  const auto foreign = http::Start(options, http::Router());
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code, Code::kInvalidArgument);
  EXPECT_EQ(foreign.error().message,
            "listen tcp 192.0.2.1:0: bind: cannot assign requested address");
  options.address = "no-such-host.invalid";
  const auto unknown = http::Start(options, http::Router());
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Code::kInvalidArgument);
  EXPECT_EQ(unknown.error().message, "listen tcp: lookup no-such-host.invalid: no such host");
}

TEST(HttpAnswers, AllInterfacesAreServedWithoutTheHostRuleUnlessNamesAreListed) {
  for (const bool has_list : {false, true}) {
    http::ServerOptions options;
    options.address = has_list ? "0.0.0.0" : "";
    options.port = 0;
    if (has_list) options.allowed_hosts = {"ai.example.com"};
    http::Router routes;
    routes.Add({"GET"}, "/", [](http::Exchange& exchange) -> http::Task<> {
      co_await exchange.Send(http::Response(200, "", "all"));
    });
    const auto server = http::Start(options, std::move(routes));
    ASSERT_TRUE(server) << server.error().message;
    const std::string port = std::to_string((*server)->port());
    EXPECT_TRUE((*server)->address() == "[::]:" + port ||
                (*server)->address() == "0.0.0.0:" + port);
    TestClient client((*server)->port());
    ASSERT_TRUE(client.Send("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"));
    EXPECT_EQ(client.ReadReply().status, has_list ? 403 : 200);
    ASSERT_TRUE(client.Send("GET / HTTP/1.1\r\nHost: AI.example.com:11434\r\n\r\n"));
    EXPECT_EQ(client.ReadReply().status, 200);
  }
}

TEST(HttpAnswers, AServerThatDoesNotListenServesWhatItIsGiven) {
  http::Router router;
  router.Add({"GET"}, "/who", [](http::Exchange& exchange) -> http::Task<void> {
    http::Response response(200, "text/plain", exchange.request().remote);
    (void)co_await exchange.Send(std::move(response));
  });
  http::ServerOptions options;
  options.listens = false;
  auto server = http::Start(std::move(options), std::move(router)).value();
  for (int i = 0; i < 2; ++i) {
    int ends[2] = {-1, -1};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    server->Adopt(UniqueFd(ends[0]));
    const UniqueFd client(ends[1]);
    ASSERT_TRUE(WriteAll(client.get(),
                         "GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    std::string answer;
    char buffer[512];
    for (ssize_t n = 0; (n = ::read(client.get(), buffer, sizeof(buffer))) > 0;)
      answer.append(buffer, static_cast<std::size_t>(n));
    EXPECT_EQ(answer.substr(0, 15), "HTTP/1.1 200 OK");
    EXPECT_TRUE(answer.ends_with("\r\n\r\nlocal")) << answer;
  }
  server->Drain(std::chrono::seconds(5));
}

}  // namespace
}  // namespace corral::testing
