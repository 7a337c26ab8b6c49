// The HTTP server, without its library: what a route sees. Knows no model.
//
// One io thread accepts, parses and writes; a handler is a coroutine on its connection's strand and
// must not block: disk, hashing and big JSON go to Exchange::RunBlocking. A lost client stops
// Exchange::stop() at once, also in the middle of a handler: a second coroutine keeps reading the
// connection. Source of the rules: docs/architecture.md (HTTP), RFC 9112; Ollama's answers to
// unmatched requests and CORS.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/files.h"
#include "core/result.h"
#include "core/stop.h"

namespace corral::http {

template <class T = void>
using Task = boost::asio::awaitable<T>;

struct Request {
  std::string method;  // as sent; methods are case-sensitive
  std::string path;    // decoded, without the query
  std::string query;   // as sent, without '?'
  std::string remote;  // address of the peer
  std::string
      id;  // X-Request-Id of the client if well formed, else made here; echoed in the answer
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case, in order
  std::vector<std::pair<std::string, std::string>> params;   // {name} parts of the route's pattern
  Clock::time_point received;  // head complete: the start of total_duration

  // First value, or empty.
  std::string_view Header(std::string_view lower_case_name) const;
  std::string_view Param(std::string_view name) const;
};

// Not an aggregate on purpose: GCC 12 copies a braced aggregate in a co_await expression byte by
// byte (PR 99576), which breaks its strings. Headers are best given as a named vector for the same
// reason.
struct Response {
  Response() = default;
  explicit Response(int status_code, std::string type = {}, std::string text = {})
      : status(status_code), content_type(std::move(type)), body(std::move(text)) {}

  int status = 200;
  std::string content_type;  // empty: no Content-Type
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

// One request and its answer. Owned by the connection; valid until the handler ends. All calls on
// the connection's strand, one at a time. A handler that ends without an answer gets one by the
// server: none for a lost client, 413 after a body that was too large, 503 when stopped by a
// shutdown, else 500.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const Request& request() const = 0;
  // Stops with kClientGone when the peer closes or a write times out, with kShutdown at the end of
  // the grace.
  virtual StopToken stop() const = 0;

  // The whole body. Errors: kTooLarge (over the server's body limit), kCancelled, kInvalidArgument
  // (broken framing).
  virtual Task<Result<std::string>> ReadBody() = 0;
  // The next part (at most 256 KiB) of a body of any size; empty at its end.
  virtual Task<Result<std::string>> ReadSome() = 0;

  // A complete answer. Exactly one of Send or StartStream is called once a request. It is tried for
  // a half-closed client too. Connection, Content-Length, Transfer-Encoding and Date are the
  // server's own. Errors: kCancelled (could not be written), kInternal (a header with a control
  // byte, or a second answer; nothing is sent).
  virtual Task<Status> Send(Response response) = 0;

  // A streamed answer: chunked, flushed after each Write, X-Accel-Buffering: no.
  virtual Task<Status> StartStream(
      int status, std::string content_type,
      std::vector<std::pair<std::string, std::string>> headers = {}) = 0;
  // kCancelled when the client is gone or did not read for the write timeout.
  virtual Task<Status> Write(std::string chunk) = 0;
  virtual Task<Status> FinishStream() = 0;
  virtual bool HasStarted() const = 0;  // a status line has been sent

  // Runs `work` on the blocking pool and comes back to the strand. kBusy when the pool's queue is
  // full.
  virtual Task<Status> RunBlocking(std::function<void()> work) = 0;

  virtual boost::asio::any_io_executor executor() const = 0;
};

using Handler = std::function<Task<void>(Exchange&)>;

// Routes by method and path. A pattern's parts are literal, "{name}" (one segment) or, last,
// "{name...}" (the rest). Unmatched: Ollama's 404 and 405 texts, 301/307 for one extra slash
// (http-api.md section 1.2).
class Router {
 public:
  // `methods`: any of "GET", "HEAD", "POST", "DELETE", "PUT". A HEAD answer's body is dropped by
  // the server.
  void Add(std::vector<std::string> methods, std::string pattern, Handler handler);

  struct Route {
    std::vector<std::string> methods;
    std::vector<std::string> parts;
    Handler handler;
  };
  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

struct ServerOptions {
  std::string address =
      "127.0.0.1";  // an IP, a host name, or empty for all interfaces (dual stack)
  std::uint16_t port = 11434;
  bool listens = true;  // false: no address is bound; connections come by Server::Adopt alone
  std::uint64_t max_body_bytes = 128ULL << 20;
  std::uint32_t max_head_bytes = 64U << 10;
  int max_connections = 4096;
  std::chrono::milliseconds head_timeout = std::chrono::seconds(10);
  std::chrono::milliseconds idle_timeout = std::chrono::seconds(75);  // above nginx's 60 s
  std::chrono::milliseconds write_timeout = std::chrono::seconds(30);
  int n_io_threads = 1;
  int n_blocking_threads = 4;
  int blocking_queue = 256;
  std::vector<std::string> origins;  // OLLAMA_ORIGINS entries, before the fixed ones
  std::vector<std::string> allowed_hosts;
  // Called on an io thread (several at once with two) after each answer to a request; not for bytes
  // that were refused because they are none.
  std::function<void(const Request&, int status, std::chrono::nanoseconds took)> on_access;
};

// For metrics.
struct ServerLoad {
  std::size_t n_connections = 0;
  std::size_t n_busy = 0;  // from a request's first byte to the end of its answer
};

class Server {
 public:
  virtual ~Server() = default;  // Drain(0) if still running, then joins

  virtual std::uint16_t port() const = 0;   // the bound one
  virtual std::string address() const = 0;  // "127.0.0.1:11434", for the log
  virtual ServerLoad load() const = 0;      // any thread

  // Serves a connected stream socket, such as a Unix one, as if it had been accepted.
  // Its peer is called "local". Any thread.
  virtual void Adopt(UniqueFd socket) = 0;

  // Graceful stop, in the steps of docs/architecture.md: the listening socket closes at once;
  // requests that arrive on open connections within `grace` are served with Connection: close; then
  // running exchanges are stopped (kShutdown) and new requests get 503 with Retry-After. Returns
  // when no connection is left, at the latest `grace` + 2 s after the call; what is left then has
  // been cut. Not from a handler.
  virtual void Drain(std::chrono::milliseconds grace) = 0;
  // From any thread, while Drain waits: end the grace now.
  virtual void HastenDrain() = 0;
};

// Binds and serves. An empty address, 0.0.0.0 and :: are all interfaces, IPv4 and IPv6 (as Go
// listens); a name is resolved here, IPv4 first. Errors: kAlreadyExists "listen tcp
// 127.0.0.1:11434: bind: address already in use", kInvalidArgument (no address of this machine),
// kForbidden (a port that this user may not have), kIo.
Result<std::unique_ptr<Server>> Start(ServerOptions options, Router router);

}  // namespace corral::http
