// The real server with handlers that a test can steer: they report events, and wait for a word.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/queue.h"
#include "http/http.h"
#include "http/mailbox.h"

namespace corral::testing {

class ToyServer {
 public:
  // On a free port of 127.0.0.1, two io threads; `options` changes the rest.
  explicit ToyServer(http::ServerOptions options = {});
  ~ToyServer();

  std::uint16_t port() const { return server_->port(); }
  http::Server& server() const { return *server_; }
  void Destroy() { server_.reset(); }

  // The oldest event that no one has taken; fails the test after kPatience. Handlers report:
  //   "started", "stopped <reason>", "said <word>", "flood ended", "body <n>", "body error"
  std::string NextEvent();
  // To every handler that waits, and to those that come to wait once.
  void SayToAll(const std::string& word);

 private:
  using Box = http::Mailbox<std::string>;

  http::Router MakeRoutes();
  void Report(std::string event);
  // The word said, or "stopped <reason>".
  http::Task<std::string> WaitForWord(http::Exchange& exchange);

  BoundedQueue<std::string> events_{100000};
  std::mutex mutex_;
  std::vector<std::weak_ptr<Box>> waiting_;  // guarded by mutex_
  BoundedQueue<int> pool_gate_{1000};        // what /hold-pool waits for
  std::unique_ptr<http::Server> server_;
};

}  // namespace corral::testing
