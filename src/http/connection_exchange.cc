#include "http/internal/connection_exchange.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <utility>

#include "core/log.h"
#include "http/internal/answer_head.h"
#include "http/internal/head.h"

namespace corral::http {
namespace {

// The rest of a body that is read away to keep the connection; more is not worth it (as in Go's
// net/http).
constexpr std::uint64_t kMaxDiscardBytes = 256U << 10;

std::string TooLargeText(std::uint64_t limit_bytes) {
  return "request body too large: the limit is " + std::to_string(limit_bytes) + " bytes";
}

std::string ChunkHeader(std::size_t n_bytes) {
  char text[24];
  const int length = std::snprintf(text, sizeof(text), "%zx\r\n", n_bytes);
  return {text, static_cast<std::size_t>(length)};
}

}  // namespace

ConnectionExchange::ConnectionExchange(ServerState& state, Wire& wire, RequestParser parser,
                                       Request request)
    : state_(state), wire_(wire), parser_(std::move(parser)), request_(std::move(request)) {
  awaits_continue_ = parser_.IsHttp11() && !parser_.IsDone() &&
                     EqualsIgnoringCase(request_.Header("expect"), "100-continue");
}

void ConnectionExchange::AddAnswerFields(const Fields& fields) {
  answer_fields_.insert(answer_fields_.end(), fields.begin(), fields.end());
}

void ConnectionExchange::RequestStop(StopReason reason) {
  stop_.RequestStop(reason);
  wire_.Wake();
}

Task<Result<std::string>> ConnectionExchange::ReadPart(std::uint64_t max_body_bytes) {
  std::string part;
  // A body that is announced as too large is refused before it is asked for.
  if (parser_.content_length() > max_body_bytes) {
    was_too_large_ = true;
    co_return Fail(Code::kTooLarge, TooLargeText(max_body_bytes));
  }
  if (awaits_continue_) {
    awaits_continue_ = false;
    if (wire_.In().empty()) {
      const Status asked = co_await wire_.Write("HTTP/1.1 100 Continue\r\n\r\n");
      if (!asked) co_return Fail(asked.error());
    }
  }
  // An idle client is one that sends nothing for as long as an idle connection may stay.
  const Deadline deadline = Clock::now() + state_.options.idle_timeout;
  while (!parser_.IsDone() && part.empty()) {
    const Result<std::size_t> used = parser_.ParseBody(wire_.In(), &part);
    if (!used) {
      is_body_broken_ = true;
      co_return Fail(used.error());
    }
    wire_.Consume(*used);
    body_bytes_ += part.size();
    if (body_bytes_ > max_body_bytes) {
      was_too_large_ = true;
      co_return Fail(Code::kTooLarge, TooLargeText(max_body_bytes));
    }
    if (!part.empty() || parser_.IsDone()) break;
    if (stop_.token().Reason() == StopReason::kShutdown) co_return Fail(stop_.token().ToError());
    if (wire_.IsAtEnd()) co_return Fail(Code::kCancelled, "client gone");
    if (Clock::now() >= deadline) {
      wire_.Abort();
      co_return Fail(Code::kCancelled, "the client stopped sending");
    }
    co_await wire_.AwaitChange(deadline);
  }
  co_return part;
}

Task<Result<std::string>> ConnectionExchange::ReadBody() {
  std::string body;
  const std::uint64_t limit = state_.options.max_body_bytes;
  if (parser_.content_length() <= limit) {
    // Room for what is announced, but not more than a little before it comes.
    body.reserve(std::min<std::size_t>(parser_.content_length(), 64U << 10));
  }
  for (;;) {
    Result<std::string> part = co_await ReadPart(limit);
    if (!part) co_return Fail(part.error());
    if (part->empty()) co_return body;
    body += *part;
  }
}

Task<Result<std::string>> ConnectionExchange::ReadSome() {
  co_return co_await ReadPart(UINT64_MAX);
}

bool ConnectionExchange::HasAnswerBody(int status) const {
  return request_.method != "HEAD" && status >= 200 && status != 204 && status != 304;
}

bool ConnectionExchange::CanKeepAlive() const {
  if (!parser_.WantsKeepAlive() || is_body_broken_ || state_.registry.phase() != Phase::kServing)
    return false;
  if (parser_.IsDone()) return true;
  // The client may or may not send the body that it was not asked for.
  if (awaits_continue_ || parser_.IsChunked()) return false;
  return parser_.content_length() - body_bytes_ <= kMaxDiscardBytes;
}

Result<std::string> ConnectionExchange::BuildHead(int status, const std::string& content_type,
                                                  const Fields& headers,
                                                  const std::string& framing) {
  AnswerHead head(parser_.IsHttp11(), status);
  if (!content_type.empty()) CORRAL_TRY_STATUS(head.Add("Content-Type", content_type));
  bool says_keep_alive = !parser_.IsHttp11();
  for (const Fields* fields : {&headers, static_cast<const Fields*>(&answer_fields_)}) {
    for (const auto& [name, value] : *fields) {
      if (EqualsIgnoringCase(name, "connection") && EqualsIgnoringCase(value, "keep-alive")) {
        says_keep_alive = true;
      }
      if (IsFramingField(name)) continue;
      CORRAL_TRY_STATUS(head.Add(name, value));
    }
  }
  CORRAL_TRY_STATUS(head.Add("X-Request-Id", request_.id));
  CORRAL_TRY_STATUS(head.Add("Date", FormatHttpDate(std::chrono::system_clock::now())));
  if (!keeps_alive_) {
    CORRAL_TRY_STATUS(head.Add("Connection", "close"));
  } else if (says_keep_alive) {
    CORRAL_TRY_STATUS(head.Add("Connection", "keep-alive"));
  }
  std::string bytes = std::move(head).Finish();
  bytes.insert(bytes.size() - 2, framing);
  return bytes;
}

Task<Status> ConnectionExchange::Send(Response response) {
  if (HasStarted()) {
    co_return Fail(Code::kInternal, "a request was answered twice");
  }
  keeps_alive_ = CanKeepAlive();
  std::string framing;
  const bool may_have_body = response.status != 204 && response.status != 304;
  if (may_have_body && (request_.method != "HEAD" || !response.body.empty())) {
    framing = "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  }
  Result<std::string> head =
      BuildHead(response.status, response.content_type, response.headers, framing);
  if (!head) co_return Fail(head.error());
  progress_ = Progress::kComplete;
  status_ = response.status;
  const std::string_view body = HasAnswerBody(response.status) ? response.body : std::string_view();
  co_return co_await wire_.Write(*head, body);
}

Task<Status> ConnectionExchange::StartStream(int status, std::string content_type, Fields headers) {
  if (HasStarted()) co_return Fail(Code::kInternal, "a request was answered twice");
  if (wire_.IsAtEnd()) co_return Fail(Code::kCancelled, "client gone");
  is_chunked_ = parser_.IsHttp11() && HasAnswerBody(status);
  // Without chunks the end of the connection is the end of the body.
  keeps_alive_ = parser_.IsHttp11() && CanKeepAlive();
  headers.emplace_back("X-Accel-Buffering", "no");  // nginx passes each line on at once
  const std::string framing = parser_.IsHttp11() ? "Transfer-Encoding: chunked\r\n" : "";
  Result<std::string> head = BuildHead(status, content_type, headers, framing);
  if (!head) co_return Fail(head.error());
  progress_ = Progress::kStreaming;
  status_ = status;
  co_return co_await wire_.Write(*head);
}

Task<Status> ConnectionExchange::Write(std::string chunk) {
  if (progress_ != Progress::kStreaming) co_return Fail(Code::kInternal, "no stream is open");
  if (wire_.IsAtEnd()) co_return Fail(Code::kCancelled, "client gone");
  if (chunk.empty() || !HasAnswerBody(status_))
    co_return Status();  // an empty chunk would be the end
  if (!is_chunked_) co_return co_await wire_.Write(chunk);
  const std::string header = ChunkHeader(chunk.size());
  if (chunk.size() <= (16U << 10)) {
    const std::string frame = header + chunk + "\r\n";
    co_return co_await wire_.Write(frame);
  }
  chunk += "\r\n";
  co_return co_await wire_.Write(header, chunk);
}

Task<Status> ConnectionExchange::FinishStream() {
  if (progress_ != Progress::kStreaming) co_return Fail(Code::kInternal, "no stream is open");
  progress_ = Progress::kComplete;
  if (!is_chunked_) co_return Status();
  co_return co_await wire_.Write("0\r\n\r\n");
}

Task<Status> ConnectionExchange::RunBlocking(std::function<void()> work) {
  co_return co_await state_.pool.Run(std::move(work));
}

Task<bool> ConnectionExchange::MayContinue() {
  if (!keeps_alive_ || wire_.IsCut()) co_return false;
  while (!parser_.IsDone()) {
    const Result<std::string> part = co_await ReadPart(UINT64_MAX);
    if (!part) co_return false;
  }
  co_return true;
}

}  // namespace corral::http
