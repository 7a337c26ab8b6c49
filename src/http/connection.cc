#include "http/internal/connection.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <exception>
#include <new>
#include <random>
#include <utility>

#include "core/log.h"
#include "http/internal/answer_head.h"
#include "http/internal/head.h"

namespace corral::http {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kReadAheadBytes = 64U << 10;
constexpr std::chrono::milliseconds kLingerTime{1000};

// gin's, without a charset.
Response PlainText(int status, std::string body) {
  return Response(status, "text/plain", std::move(body));
}

Response ShuttingDown() {
  Response response(503, "application/json; charset=utf-8",
                    R"({"error":"server is shutting down"})");
  response.headers.emplace_back("Retry-After", "1");
  return response;
}

// As Go's http.Redirect writes it.
Response Redirect(const Request& request, const std::string& path) {
  Response response;
  std::string location = EncodePath(path);
  if (!request.query.empty()) location += "?" + request.query;
  response.status = request.method == "GET" ? 301 : 307;
  if (request.method == "GET") {
    std::string escaped;
    for (const char c : location) {
      switch (c) {
        case '&':
          escaped += "&amp;";
          break;
        case '<':
          escaped += "&lt;";
          break;
        case '>':
          escaped += "&gt;";
          break;
        case '"':
          escaped += "&#34;";
          break;
        case '\'':
          escaped += "&#39;";
          break;
        default:
          escaped += c;
      }
    }
    response.content_type = "text/html; charset=utf-8";
    response.body = "<a href=\"" + escaped + "\">Moved Permanently</a>.\n\n";
  }
  response.headers.emplace_back("Location", std::move(location));
  return response;
}

std::uint64_t RandomSeed() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32U) | device();
}

}  // namespace

ServerState::ServerState(ServerOptions server_options, const Router& router, bool is_loopback_bind,
                         std::vector<std::string>* warnings)
    : options(std::move(server_options)),
      routes(router),
      origins(options.origins, warnings),
      host_rule(is_loopback_bind, options.allowed_hosts),
      registry(static_cast<std::size_t>(std::max(options.max_connections, 1))),
      pool(std::max(options.n_blocking_threads, 1),
           static_cast<std::size_t>(std::max(options.blocking_queue, 1))),
      id_seed_(RandomSeed()) {}

std::string ServerState::NewRequestId() {
  // splitmix64's output function: a bijection, so ids of one process differ.
  std::uint64_t z = id_seed_ + 0x9E3779B97F4A7C15ULL * (n_ids_.fetch_add(1) + 1);
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
  z ^= z >> 31U;
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string id(16, '0');
  for (char& c : id) {
    c = kHex[z >> 60U];
    z <<= 4U;
  }
  return id;
}

Connection::Connection(ServerState& state, const asio::any_io_executor& strand,
                       asio::ip::tcp::socket socket, std::string remote)
    : state_(state),
      strand_(strand),
      wire_(std::make_shared<Wire>(
          strand, std::move(socket),
          std::max<std::size_t>(kReadAheadBytes, state.options.max_head_bytes),
          state.options.write_timeout)),
      remote_(std::move(remote)) {}

void Connection::Start() {
  // Here and not in the coroutine: a drain that begins now must already see this connection.
  is_admitted_ = state_.registry.Add(shared_from_this());
  asio::co_spawn(
      strand_, [self = shared_from_this()]() -> Task<> { co_await self->Serve(); },
      [](const std::exception_ptr& error) {
        if (error) std::rethrow_exception(error);  // to the io thread, which logs it
      });
}

void Connection::OnStopping() {
  asio::post(strand_, [self = shared_from_this()] {
    if (self->current_ != nullptr) self->current_->RequestStop(StopReason::kShutdown);
  });
}

void Connection::CloseIfIdle() {
  asio::post(strand_, [self = shared_from_this()] {
    if (!self->is_idle_) return;
    self->must_close_ = true;
    self->wire_->Wake();
  });
}

void Connection::Cut() {
  asio::post(strand_, [self = shared_from_this()] { self->wire_->Abort(); });
}

Task<> Connection::Serve() {
  // Ends the connection also after an exception, and when the frame is destroyed with the server.
  struct Membership {
    Registry& registry;
    Connection* connection;
    ~Membership() {
      connection->wire_->OnEnd(nullptr);
      connection->wire_->Close();
      registry.Remove(connection);
    }
  };
  const Membership membership{state_.registry, this};
  wire_->OnEnd([this] {
    if (current_ != nullptr) current_->RequestStop(StopReason::kClientGone);
  });
  wire_->StartReading();
  bool may_continue = is_admitted_;
  if (!is_admitted_) co_await Refuse(503, "too many connections");
  while (may_continue) {
    std::size_t head_size = 0;
    switch (co_await AwaitHead(&head_size)) {
      case HeadWait::kComplete:
        may_continue = co_await ServeOne(head_size);
        break;
      case HeadWait::kClosed:
        may_continue = false;
        break;
      case HeadWait::kTooLong:
        may_continue = false;
        co_await Refuse(431, "the request's head is too long");
        break;
      case HeadWait::kTimeout:
        may_continue = false;
        co_await Refuse(408, "the request's head did not arrive in time");
        break;
      case HeadWait::kNotHttp:
        may_continue = false;
        co_await Refuse(400, "malformed request line");
        break;
    }
  }
}

Task<Connection::HeadWait> Connection::AwaitHead(std::size_t* head_size) {
  const Deadline idle_deadline = Clock::now() + state_.options.idle_timeout;
  Deadline head_deadline = kNoDeadline;
  std::size_t n_scanned = 0;
  is_idle_ = true;
  state_.registry.MarkIdle(this);
  for (;;) {
    // RFC 9112 section 2.2: empty lines before a request are ignored.
    while (is_idle_ && wire_->In().substr(0, 2) == "\r\n") wire_->Consume(2);
    const std::string_view in = wire_->In();
    if (is_idle_ && !in.empty() && in != "\r") {
      if (!MayStartRequest(in.front())) co_return HeadWait::kNotHttp;
      is_idle_ = false;
      state_.registry.MarkBusy(this);
      head_deadline = Clock::now() + state_.options.head_timeout;
    }
    const std::size_t end = in.find("\r\n\r\n", n_scanned);
    if (end != std::string_view::npos) {
      *head_size = end + 4;
      co_return *head_size > state_.options.max_head_bytes ? HeadWait::kTooLong
                                                           : HeadWait::kComplete;
    }
    if (in.size() >= state_.options.max_head_bytes) co_return HeadWait::kTooLong;
    n_scanned = in.size() < 3 ? 0 : in.size() - 3;
    if (wire_->IsAtEnd() || wire_->IsCut()) co_return HeadWait::kClosed;
    if (is_idle_ && must_close_) {
      // What has arrived and was only not seen yet is a request that is still served.
      const std::size_t n_before = in.size();
      const bool is_quiet = co_await wire_->AwaitQuiet();
      if (is_quiet) co_return HeadWait::kClosed;
      if (wire_->In().size() != n_before || wire_->IsAtEnd()) continue;
    }
    const Deadline now = Clock::now();
    if (is_idle_ && now >= idle_deadline) co_return HeadWait::kClosed;
    if (now >= head_deadline) co_return HeadWait::kTimeout;
    co_await wire_->AwaitChange(is_idle_ ? idle_deadline : head_deadline);
  }
}

Task<bool> Connection::ServeOne(std::size_t head_size) {
  const std::string_view head = wire_->In().substr(0, head_size);
  if (const HeadVerdict verdict = CheckHead(head); verdict.IsRefused()) {
    co_await Refuse(verdict.status, verdict.reason);
    co_return false;
  }
  Request request;
  request.received = Clock::now();
  request.remote = remote_;
  RequestParser parser(state_.options.max_head_bytes);
  if (const Status parsed = parser.ParseHead(head, &request); !parsed) {
    co_await Refuse(400, "");
    co_return false;
  }
  wire_->Consume(head_size);
  const std::string_view client_id = request.Header("x-request-id");
  request.id = IsRequestId(client_id) ? std::string(client_id) : state_.NewRequestId();

  ConnectionExchange exchange(state_, *wire_, std::move(parser), std::move(request));
  exchange.SetExecutor(strand_);
  current_ = &exchange;
  if (wire_->IsAtEnd()) exchange.RequestStop(StopReason::kClientGone);
  if (state_.registry.phase() >= Phase::kStopping) exchange.RequestStop(StopReason::kShutdown);
  co_await Answer(exchange);

  if (state_.options.on_access && exchange.HasStarted()) {
    state_.options.on_access(exchange.request(), exchange.status(),
                             Clock::now() - exchange.request().received);
  }
  if (!exchange.IsComplete()) {
    // A body without chunks ends with the connection: only a reset shows that it is not whole.
    current_ = nullptr;
    if (exchange.HasStarted() && !exchange.IsHttp11()) wire_->Abort();
    co_return false;
  }
  const bool may_continue = co_await exchange.MayContinue();
  current_ = nullptr;
  if (!may_continue && exchange.HasUnreadInput()) co_await wire_->Linger(kLingerTime);
  co_return may_continue;
}

Task<> Connection::Answer(ConnectionExchange& exchange) {
  const Request& request = exchange.request();
  if (exchange.stop().Reason() == StopReason::kShutdown) {
    co_await exchange.Send(ShuttingDown());
    co_return;
  }
  const std::string_view expect = request.Header("expect");
  if (!expect.empty() && exchange.IsHttp11() && !EqualsIgnoringCase(expect, "100-continue")) {
    co_await exchange.Send(Response(417));
    co_return;
  }
  if (request.path == "*") {
    co_await exchange.Send(Response(200));
    co_return;
  }
  RouteMatch match = state_.routes.Match(request.method, request.path);
  if (match.kind == RouteMatch::Kind::kRedirect) {
    co_await exchange.Send(Redirect(request, match.redirect_path));
    co_return;
  }
  const std::string_view host = request.Header("host");
  const Origins::Decision cors =
      state_.origins.Check(request.method, request.Header("origin"), host);
  exchange.AddAnswerFields(cors.headers);
  if (cors.outcome != Origins::Decision::Outcome::kContinue) {
    const bool is_preflight = cors.outcome == Origins::Decision::Outcome::kPreflight;
    co_await exchange.Send(Response(is_preflight ? 204 : 403));
    co_return;
  }
  switch (state_.host_rule.Check(host)) {
    case HostRule::Outcome::kForbidden:
      co_await exchange.Send(Response(403));
      co_return;
    case HostRule::Outcome::kPassByName:
      if (request.method == "OPTIONS") {
        co_await exchange.Send(Response(204));
        co_return;
      }
      break;
    case HostRule::Outcome::kPass:
      break;
  }
  if (match.kind == RouteMatch::Kind::kNotFound) {
    co_await exchange.Send(PlainText(404, "404 page not found"));
  } else if (match.kind == RouteMatch::Kind::kWrongMethod) {
    Response wrong = PlainText(405, "405 method not allowed");
    wrong.headers.emplace_back("Allow", match.allow);
    co_await exchange.Send(std::move(wrong));
  } else {
    exchange.SetParams(std::move(match.params));
    co_await Handle(exchange, *match.handler);
  }
}

Task<> Connection::Handle(ConnectionExchange& exchange, const Handler& handler) {
  bool has_failed = false;
  std::string what = "unknown exception";
  try {
    co_await handler(exchange);
  } catch (const std::bad_alloc&) {
    throw;  // ends the process
  } catch (const std::exception& e) {
    has_failed = true;
    what = e.what();
  } catch (...) {
    has_failed = true;
  }
  if (has_failed) {
    Log(LogLevel::kError, "request handler failed",
        {{"path", exchange.request().path}, {"id", exchange.request().id}, {"error", what}});
  }
  co_await AnswerForHandler(exchange, has_failed);
}

Task<> Connection::AnswerForHandler(ConnectionExchange& exchange, bool has_failed) {
  if (exchange.HasStarted() || wire_->IsAtEnd()) co_return;
  if (exchange.WasTooLarge()) {
    co_await exchange.Send(
        Response(413, "application/json; charset=utf-8", R"({"error":"request body too large"})"));
    co_return;
  }
  if (exchange.stop().Reason() == StopReason::kShutdown) {
    co_await exchange.Send(ShuttingDown());
    co_return;
  }
  if (!has_failed) {
    Log(LogLevel::kError, "request handler ended without an answer",
        {{"path", exchange.request().path}, {"id", exchange.request().id}});
  }
  co_await exchange.Send(Response(500));
}

Task<> Connection::Refuse(int status, std::string_view reason) {
  is_idle_ = false;
  state_.registry.MarkBusy(this);
  std::string body = std::to_string(status) + " " + std::string(ReasonPhrase(status));
  if (!reason.empty()) body += ": " + std::string(reason);
  Log(LogLevel::kDebug, "request refused", {{"remote", remote_}, {"answer", body}});
  AnswerHead head(true, status);
  // Fixed and checked values: Add cannot fail here.
  (void)head.Add("Content-Type", "text/plain; charset=utf-8");
  (void)head.Add("Content-Length", std::to_string(body.size()));
  (void)head.Add("Date", FormatHttpDate(std::chrono::system_clock::now()));
  if (status == 503) (void)head.Add("Retry-After", "1");
  (void)head.Add("Connection", "close");
  const std::string bytes = std::move(head).Finish();
  const Status written = co_await wire_->Write(bytes, body);
  if (written) co_await wire_->Linger(kLingerTime);
}

}  // namespace corral::http
