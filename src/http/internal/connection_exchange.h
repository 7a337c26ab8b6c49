// One request on a connection: its body from the wire, its answer to the wire.
//
// Lives in the frame of the connection's coroutine, on its strand. Body bytes are taken from the
// wire only as they are asked for; `Expect: 100-continue` is answered at the first ask, so a
// refused body is never sent.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "http/http.h"
#include "http/internal/request_parser.h"
#include "http/internal/server_state.h"
#include "http/internal/wire.h"

namespace corral::http {

class ConnectionExchange final : public Exchange {
 public:
  using Fields = std::vector<std::pair<std::string, std::string>>;

  // `parser` has taken the head into `request`.
  ConnectionExchange(ServerState& state, Wire& wire, RequestParser parser, Request request);

  const Request& request() const override { return request_; }
  StopToken stop() const override { return stop_.token(); }
  Task<Result<std::string>> ReadBody() override;
  Task<Result<std::string>> ReadSome() override;
  Task<Status> Send(Response response) override;
  Task<Status> StartStream(int status, std::string content_type, Fields headers) override;
  Task<Status> Write(std::string chunk) override;
  Task<Status> FinishStream() override;
  bool HasStarted() const override { return progress_ != Progress::kNone; }
  Task<Status> RunBlocking(std::function<void()> work) override;
  boost::asio::any_io_executor executor() const override { return executor_; }

  // For the connection.
  void SetParams(Fields params) { request_.params = std::move(params); }
  void SetExecutor(boost::asio::any_io_executor executor) { executor_ = std::move(executor); }
  void AddAnswerFields(const Fields& fields);  // to whatever answer comes
  void RequestStop(StopReason reason);
  bool IsComplete() const { return progress_ == Progress::kComplete; }
  bool WasTooLarge() const { return was_too_large_; }  // a ReadBody ended with kTooLarge
  int status() const { return status_; }               // of the answer; 0: none yet
  bool IsHttp11() const { return parser_.IsHttp11(); }
  // After the answer: reads the rest of a small body away. True: the next request may follow.
  Task<bool> MayContinue();
  // Request bytes are left that nobody will read.
  bool HasUnreadInput() const { return !parser_.IsDone() || !wire_.In().empty(); }

 private:
  enum class Progress { kNone, kStreaming, kComplete };

  bool HasAnswerBody(int status) const;
  bool CanKeepAlive() const;
  Result<std::string> BuildHead(int status, const std::string& content_type, const Fields& headers,
                                const std::string& framing);
  Task<Result<std::string>> ReadPart(std::uint64_t max_body_bytes);

  ServerState& state_;
  Wire& wire_;
  RequestParser parser_;
  Request request_;
  StopSource stop_;
  boost::asio::any_io_executor executor_;
  Fields answer_fields_;
  Progress progress_ = Progress::kNone;
  int status_ = 0;
  bool awaits_continue_;  // the client holds its body back until "100 Continue"
  bool is_chunked_ = false;
  bool keeps_alive_ = false;
  bool was_too_large_ = false;
  bool is_body_broken_ = false;  // where the next request starts is not known
  std::uint64_t body_bytes_ = 0;
};

}  // namespace corral::http
