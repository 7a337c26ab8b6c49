// One client's connection: request after request on one strand.
//
//   idle ──first byte──▶ head ──checked──▶ rules (redirect, CORS, Host) ──▶ handler ──answered──▶
//   idle
//                          └──refused──▶ closed            and from everywhere: client gone, cut
//                          ──▶ closed
//
// Owned by its coroutine; the registry knows it weakly. The Drainable calls come from any thread
// and act on the strand.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "http/internal/connection_exchange.h"
#include "http/internal/server_state.h"
#include "http/internal/wire.h"

namespace corral::http {

class Connection final : public Drainable, public std::enable_shared_from_this<Connection> {
 public:
  // `state` outlives the connection.
  Connection(ServerState& state, const boost::asio::any_io_executor& strand,
             boost::asio::ip::tcp::socket socket, std::string remote);

  // Adds itself to the registry and serves. Too many connections: answers 503 and closes.
  void Start();

  void OnStopping() override;
  void CloseIfIdle() override;
  void Cut() override;

 private:
  enum class HeadWait { kComplete, kClosed, kTooLong, kTimeout, kNotHttp };

  Task<> Serve();
  Task<HeadWait> AwaitHead(std::size_t* head_size);
  Task<bool> ServeOne(std::size_t head_size);  // true: another request may follow
  Task<> Answer(ConnectionExchange& exchange);
  Task<> Handle(ConnectionExchange& exchange, const Handler& handler);
  Task<> AnswerForHandler(ConnectionExchange& exchange, bool has_failed);
  // An answer to bytes that are no request; the connection ends after it.
  Task<> Refuse(int status, std::string_view reason);

  ServerState& state_;
  const boost::asio::any_io_executor strand_;
  const std::shared_ptr<Wire> wire_;  // shared with its own reading coroutine
  const std::string remote_;
  ConnectionExchange* current_ = nullptr;  // while a request is served
  bool is_admitted_ = false;
  bool is_idle_ = true;
  bool must_close_ = false;
};

}  // namespace corral::http
