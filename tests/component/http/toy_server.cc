#include "component/http/toy_server.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "component/http/test_client.h"

namespace corral::testing {
namespace {

using http::Exchange;
using http::Response;
using http::Task;

std::size_t NumberOf(const Exchange& exchange) {
  const std::string& query = exchange.request().query;
  return query.substr(0, 2) == "n=" ? std::strtoul(query.c_str() + 2, nullptr, 10) : 0;
}

std::string ReasonText(StopReason reason) {
  switch (reason) {
    case StopReason::kClientGone:
      return "client gone";
    case StopReason::kShutdown:
      return "shutdown";
    default:
      return "other";
  }
}

int StatusOf(const Error& error) {
  switch (error.code) {
    case Code::kTooLarge:
      return 413;
    case Code::kInvalidArgument:
      return 400;
    case Code::kBusy:
      return 503;
    default:
      return 500;
  }
}

Response Text(int status, std::string body) {
  return Response(status, "text/plain; charset=utf-8", std::move(body));
}

// As the dialects do: a lost client gets nothing.
Task<> SendError(Exchange& exchange, const Error& error) {
  if (error.code == Code::kCancelled) co_return;
  co_await exchange.Send(Response(StatusOf(error), "application/json; charset=utf-8",
                                  R"({"error":")" + error.message + R"("})"));
}

}  // namespace

ToyServer::ToyServer(http::ServerOptions options) {
  options.address = "127.0.0.1";
  options.port = 0;
  options.n_io_threads = 2;
  Result<std::unique_ptr<http::Server>> server = http::Start(std::move(options), MakeRoutes());
  if (!server) {
    ADD_FAILURE() << server.error().message;
    std::abort();
  }
  server_ = std::move(*server);
}

ToyServer::~ToyServer() {
  for (int i = 0; i < 1000; ++i) (void)pool_gate_.TryPush(0);
}

void ToyServer::Report(std::string event) { (void)events_.TryPush(std::move(event)); }

std::string ToyServer::NextEvent() {
  std::optional<std::string> event = events_.Pop(Clock::now() + kPatience);
  if (!event) ADD_FAILURE() << "no event came";
  return event.value_or("");
}

void ToyServer::SayToAll(const std::string& word) {
  const std::lock_guard lock(mutex_);
  for (const std::weak_ptr<Box>& weak : waiting_) {
    if (const std::shared_ptr<Box> box = weak.lock()) box->Push(word);
  }
  waiting_.clear();
}

Task<std::string> ToyServer::WaitForWord(Exchange& exchange) {
  auto box = std::make_shared<Box>(exchange.executor());
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(box);
  }
  const StopToken stop = exchange.stop();
  const StopCallback on_stop(stop,
                             [box, stop] { box->Push("stopped " + ReasonText(stop.Reason())); });
  Report("started");
  std::string word = co_await box->Next();
  Report(word);
  co_return word;
}

http::Router ToyServer::MakeRoutes() {
  http::Router routes;
  routes.Add({"GET", "HEAD"}, "/", [](Exchange& exchange) -> Task<> {
    co_await exchange.Send(http::Response(200, "text/plain; charset=utf-8", "hello"));
  });
  routes.Add({"GET"}, "/get-only",
             [](Exchange& exchange) -> Task<> { co_await exchange.Send(Text(200, "got")); });
  routes.Add({"POST", "HEAD", "DELETE"}, "/blobs/{digest}", [](Exchange& exchange) -> Task<> {
    co_await exchange.Send(Text(201, std::string(exchange.request().Param("digest"))));
  });
  routes.Add({"GET"}, "/files/{path...}", [](Exchange& exchange) -> Task<> {
    co_await exchange.Send(Text(200, std::string(exchange.request().Param("path"))));
  });
  routes.Add({"POST"}, "/echo", [](Exchange& exchange) -> Task<> {
    Result<std::string> body = co_await exchange.ReadBody();
    if (!body) {
      co_await SendError(exchange, body.error());
      co_return;
    }
    co_await exchange.Send(Text(200, std::move(*body)));
  });
  routes.Add({"POST"}, "/count", [this](Exchange& exchange) -> Task<> {
    std::size_t n_bytes = 0;
    for (;;) {
      Result<std::string> part = co_await exchange.ReadSome();
      if (!part) {
        Report("body error " + part.error().message);
        co_await SendError(exchange, part.error());
        co_return;
      }
      if (part->empty()) break;
      n_bytes += part->size();
    }
    Report("body " + std::to_string(n_bytes));
    co_await exchange.Send(Text(200, std::to_string(n_bytes)));
  });
  routes.Add({"POST"}, "/ignore",
             [](Exchange& exchange) -> Task<> { co_await exchange.Send(Text(200, "ignored")); });
  routes.Add({"POST"}, "/drop-error",
             [](Exchange& exchange) -> Task<> { co_await exchange.ReadBody(); });
  routes.Add({"GET", "HEAD"}, "/lines", [](Exchange& exchange) -> Task<> {
    const std::size_t n_lines = NumberOf(exchange);
    if (!co_await exchange.StartStream(200, "application/x-ndjson", {})) co_return;
    for (std::size_t i = 0; i < n_lines; ++i) {
      if (!co_await exchange.Write("line " + std::to_string(i) + "\n")) co_return;
    }
    co_await exchange.FinishStream();
  });
  routes.Add({"GET"}, "/big", [](Exchange& exchange) -> Task<> {
    co_await exchange.Send(Text(200, std::string(NumberOf(exchange), 'x')));
  });
  routes.Add({"GET", "POST"}, "/wait", [this](Exchange& exchange) -> Task<> {
    const std::string word = co_await WaitForWord(exchange);
    if (word == "stopped client gone") co_return;
    co_await exchange.Send(Text(200, word));
  });
  routes.Add({"GET"}, "/wait-and-send", [this](Exchange& exchange) -> Task<> {
    const std::string word = co_await WaitForWord(exchange);
    co_await exchange.Send(Text(200, word));
  });
  routes.Add({"GET"}, "/stream", [this](Exchange& exchange) -> Task<> {
    if (!co_await exchange.StartStream(200, "application/x-ndjson", {})) co_return;
    if (!co_await exchange.Write("first\n")) co_return;
    const std::string word = co_await WaitForWord(exchange);
    if (word == "stopped client gone") co_return;
    if (!co_await exchange.Write(word + "\n")) co_return;
    co_await exchange.FinishStream();
  });
  routes.Add({"GET"}, "/stubborn", [this](Exchange& exchange) -> Task<> {
    // Does not look at its stop token.
    auto box = std::make_shared<Box>(exchange.executor());
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(box);
    }
    Report("started");
    const std::string word = co_await box->Next();
    co_await exchange.Send(Text(200, word));
  });
  routes.Add({"GET"}, "/flood", [this](Exchange& exchange) -> Task<> {
    if (!co_await exchange.StartStream(200, "text/plain", {})) co_return;
    Report("started");
    std::size_t n_chunks = 0;
    while (co_await exchange.Write(std::string(64U << 10, 'x'))) ++n_chunks;
    Report("flood ended: " + ReasonText(exchange.stop().Reason()));
  });
  routes.Add({"GET"}, "/throw", [](Exchange& exchange) -> Task<> {
    if (exchange.request().method == "GET") throw std::runtime_error("a toy failed");
    co_return;
  });
  routes.Add({"GET"}, "/throw-late", [](Exchange& exchange) -> Task<> {
    co_await exchange.StartStream(200, "text/plain", {});
    co_await exchange.Write("begun");
    throw std::runtime_error("a toy failed late");
  });
  routes.Add({"GET"}, "/silent", [](Exchange&) -> Task<> { co_return; });
  routes.Add({"GET"}, "/twice", [this](Exchange& exchange) -> Task<> {
    co_await exchange.Send(Text(200, "once"));
    const Status second = co_await exchange.Send(Text(200, "again"));
    Report(second ? "sent" : "refused");
  });
  routes.Add({"GET"}, "/bad-header", [](Exchange& exchange) -> Task<> {
    Response response = Text(200, "split");
    response.headers.emplace_back("X-Name", "a\r\nSet-Cookie: evil=1");
    co_await exchange.Send(std::move(response));
  });
  routes.Add({"GET"}, "/own-headers", [](Exchange& exchange) -> Task<> {
    Response response = Text(200, "x");
    response.headers = {
        {"Connection", "keep-alive"}, {"Content-Length", "7"}, {"Cache-Control", "no-cache"}};
    co_await exchange.Send(std::move(response));
  });
  routes.Add({"GET"}, "/blocking", [](Exchange& exchange) -> Task<> {
    std::string result;
    const Status done = co_await exchange.RunBlocking([&result] { result = "worked"; });
    if (!done) {
      co_await SendError(exchange, done.error());
      co_return;
    }
    co_await exchange.Send(Text(200, std::move(result)));
  });
  routes.Add({"GET"}, "/blocking-throw", [](Exchange& exchange) -> Task<> {
    const Status done = co_await exchange.RunBlocking([] { throw std::runtime_error("no disk"); });
    std::string text = "fine";
    if (!done) text = CodeName(done.error().code);
    co_await exchange.Send(Text(200, std::move(text)));
  });
  routes.Add({"GET"}, "/hold-pool", [this](Exchange& exchange) -> Task<> {
    const Status done = co_await exchange.RunBlocking([this] {
      Report("holding");
      (void)pool_gate_.Pop(Clock::now() + kPatience);
    });
    if (!done) {
      co_await SendError(exchange, done.error());
      co_return;
    }
    co_await exchange.Send(Text(200, "held"));
  });
  routes.Add({"GET"}, "/free-pool", [this](Exchange& exchange) -> Task<> {
    for (int i = 0; i < 100; ++i) (void)pool_gate_.TryPush(0);
    co_await exchange.Send(Text(200, "freed"));
  });
  routes.Add({"GET"}, "/about", [](Exchange& exchange) -> Task<> {
    const http::Request& request = exchange.request();
    co_await exchange.Send(Text(200, request.path + "|" + request.query + "|" + request.remote +
                                         "|" + std::string(request.Header("host"))));
  });
  return routes;
}

}  // namespace corral::testing
