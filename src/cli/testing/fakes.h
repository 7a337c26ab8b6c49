// Stand-ins for the terminal and the server, for this room's tests.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cli/client.h"
#include "cli/console.h"

namespace corral::cli::testing {

// What was written, and keys that somebody "typed".
class FakeConsole final : public Console {
 public:
  void Out(std::string_view text) override {
    const std::lock_guard lock(mutex_);
    out += text;
  }
  void Err(std::string_view text) override {
    const std::lock_guard lock(mutex_);
    err += text;
  }
  bool IsTerminal(Stream stream) const override {
    if (stream == Stream::kInput) return is_input_terminal;
    return stream == Stream::kOutput ? is_output_terminal : is_error_terminal;
  }
  std::optional<ScreenSize> Size(Stream stream) const override {
    if (!IsTerminal(stream)) return std::nullopt;
    return size;
  }
  Result<std::string> ReadAll() override { return input; }
  Status SetRaw(bool is_raw_now) override {
    is_raw = is_raw_now;
    return {};
  }
  std::optional<std::string> ReadKeys() override {
    if (keys.empty()) return std::nullopt;
    std::string next = std::move(keys.front());
    keys.pop_front();
    return next;
  }
  void Suspend() override { ++n_suspended; }
  Status RunProgram(const std::vector<std::string>& words) override {
    programs.push_back(words);
    return run_program ? run_program(words) : Status();
  }
  std::unique_ptr<InterruptGuard> OnInterrupt(std::function<void()> callback) override {
    interrupt = std::move(callback);
    return std::make_unique<InterruptGuard>();
  }

  bool is_input_terminal = false;
  bool is_output_terminal = false;
  bool is_error_terminal = false;
  ScreenSize size{80, 24};
  std::string input;             // of ReadAll
  std::deque<std::string> keys;  // one element a ReadKeys; then the end of input
  std::string out;
  std::string err;
  bool is_raw = false;
  int n_suspended = 0;
  std::vector<std::vector<std::string>> programs;
  std::function<Status(const std::vector<std::string>&)> run_program;
  std::function<void()> interrupt;  // calling it is Ctrl+C

 private:
  std::mutex mutex_;
};

// Replies by route ("POST /api/show"), each queue in order, its last element again and again. No
// reply: connection refused.
class FakeTransport final : public Transport {
 public:
  struct Reply {
    int status = 200;
    std::string body;
    Code failure = Code::kInternal;  // with `failure_text`: the exchange fails after the body
    std::string failure_text = {};
  };
  struct Seen {
    std::string route;
    std::string body;
    bool is_stream = false;
  };

  void On(const std::string& route, Reply reply) { replies_[route].push_back(std::move(reply)); }
  void OnText(const std::string& route, const std::string& body, int status = 200) {
    On(route, {.status = status, .body = body});
  }

  Result<HttpHead> Send(const HttpRequest& request, const Receiver& receive,
                        StopToken stop) override {
    const std::string route = request.method + " " + request.path;
    seen.push_back({route, request.body, request.is_stream});
    const auto found = replies_.find(route);
    if (found == replies_.end())
      return Fail(Code::kUpstream, request.method + " \"http://test" + request.path +
                                       "\": dial tcp 127.0.0.1:11434: connect: connection refused");
    const Reply reply = found->second.front();
    if (found->second.size() > 1) found->second.pop_front();
    const HttpHead head{reply.status, StatusLine(reply.status)};
    // In small pieces: nobody may rely on whole lines.
    for (std::size_t at = 0; at < reply.body.size(); at += piece_size) {
      if (on_piece) on_piece();
      if (stop.StopRequested()) return Fail(stop.ToError());
      CORRAL_TRY_STATUS(receive(head, std::string_view(reply.body).substr(at, piece_size)));
    }
    if (!reply.failure_text.empty()) return Fail(reply.failure, reply.failure_text);
    return head;
  }

  std::vector<Seen> Requests(const std::string& route) const {
    std::vector<Seen> found;
    for (const Seen& request : seen)
      if (request.route == route) found.push_back(request);
    return found;
  }

  std::vector<Seen> seen;
  std::size_t piece_size = 7;
  std::function<void()> on_piece;

 private:
  static std::string StatusLine(int status) {
    switch (status) {
      case 200:
        return "200 OK";
      case 201:
        return "201 Created";
      case 400:
        return "400 Bad Request";
      case 401:
        return "401 Unauthorized";
      case 404:
        return "404 Not Found";
      case 500:
        return "500 Internal Server Error";
      default:
        return std::to_string(status) + " Status";
    }
  }
  std::map<std::string, std::deque<Reply>> replies_;
};

}  // namespace corral::cli::testing
