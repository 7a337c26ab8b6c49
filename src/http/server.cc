#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cctype>
#include <exception>
#include <future>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "core/log.h"
#include "http/http.h"
#include "http/internal/connection.h"
#include "http/internal/server_state.h"

namespace corral::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kBacklog = 1024;
constexpr std::chrono::milliseconds kAcceptPause{
    100};  // after a failure such as "too many open files"

// "[::1]:11434", as Go's net.JoinHostPort.
std::string JoinHostPort(const std::string& host, unsigned port) {
  const bool needs_brackets = host.find(':') != std::string::npos;
  return (needs_brackets ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

// The operating system's text as Go prints it: "address already in use".
std::string LowerFirst(std::string text) {
  if (!text.empty()) {
    text.front() = static_cast<char>(std::tolower(static_cast<unsigned char>(text.front())));
  }
  return text;
}

struct BindAddress {
  asio::ip::address ip;
  bool is_dual_stack = false;
  std::string as_asked;  // for the error text
};

// Empty, 0.0.0.0 and :: are all interfaces in both families, as Go's net.Listen("tcp") has it.
Result<BindAddress> Resolve(asio::io_context& io, const ServerOptions& options) {
  BindAddress result;
  error_code error;
  const std::string& address = options.address;
  result.ip = address.empty() ? asio::ip::address(asio::ip::address_v6::any())
                              : asio::ip::make_address(address, error);
  if (!error) {
    result.is_dual_stack = result.ip.is_unspecified();
    result.as_asked = JoinHostPort(address, options.port);
    return result;
  }
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(address, std::to_string(options.port), error);
  if (error || found.empty()) {
    return Fail(Code::kInvalidArgument, "listen tcp: lookup " + address + ": no such host");
  }
  const auto is_v4 = [](const auto& entry) { return entry.endpoint().address().is_v4(); };
  const auto v4 = std::find_if(found.begin(), found.end(), is_v4);
  result.ip = (v4 != found.end() ? v4 : found.begin())->endpoint().address();
  result.as_asked = JoinHostPort(result.ip.to_string(), options.port);
  return result;
}

error_code Listen(tcp::acceptor& acceptor, const tcp::endpoint& endpoint, bool is_dual_stack,
                  std::string_view* step) {
  error_code error;
  *step = "socket";
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error && endpoint.protocol() == tcp::v6()) {
    acceptor.set_option(asio::ip::v6_only(!is_dual_stack), error);
  }
  if (error) return error;
  *step = "bind";
  acceptor.bind(endpoint, error);
  if (error) return error;
  *step = "listen";
  acceptor.listen(kBacklog, error);
  if (!error) acceptor.non_blocking(true, error);
  return error;
}

Code ListenCode(const error_code& error) {
  switch (error.value()) {
    case EADDRINUSE:
      return Code::kAlreadyExists;
    case EADDRNOTAVAIL:
      return Code::kInvalidArgument;
    case EACCES:
      return Code::kForbidden;
    default:
      return Code::kIo;
  }
}

// Unsent bytes that the kernel holds for one connection: a slow reader is felt after this many, not
// after megabytes.
constexpr int kMaxUnsentBytes = 128 << 10;

// Go's defaults for accepted connections: no delay, and probes that find a dead peer behind a
// silent stream.
void SetConnectionOptions(tcp::socket& socket) {
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  const int seconds = 15;
  const int probes = 9;
  (void)setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
  (void)setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
  (void)setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
  (void)setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kMaxUnsentBytes,
                   sizeof(kMaxUnsentBytes));
}

std::string RemoteText(const tcp::socket& socket) {
  error_code error;
  const tcp::endpoint peer = socket.remote_endpoint(error);
  if (error) return {};
  asio::ip::address address = peer.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  return address.to_string();
}

class BeastServer final : public Server {
 public:
  BeastServer()
      : io_(std::make_unique<asio::io_context>()),
        accept_strand_(asio::make_strand(*io_)),
        work_(asio::make_work_guard(*io_)) {}
  BeastServer(const BeastServer&) = delete;
  BeastServer& operator=(const BeastServer&) = delete;
  ~BeastServer() override;

  Status Open(ServerOptions options, const Router& router);

  std::uint16_t port() const override { return endpoint_.port(); }
  std::string address() const override {
    return JoinHostPort(endpoint_.address().to_string(), endpoint_.port());
  }
  ServerLoad load() const override;
  void Adopt(UniqueFd socket) override;
  void Drain(std::chrono::milliseconds grace) override;
  void HastenDrain() override { state_->registry.Hasten(); }

 private:
  Status Bind(const ServerOptions& options);
  Task<> Accept();
  void Admit(tcp::socket socket, const asio::any_io_executor& strand);
  void CloseListener();
  void RunIo(int index);

  std::unique_ptr<ServerState> state_;  // outlives the frames in io_
  std::unique_ptr<asio::io_context> io_;
  asio::any_io_executor accept_strand_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::unique_ptr<tcp::acceptor> acceptor_;  // on accept_strand_ after Open
  tcp::endpoint endpoint_;
  std::once_flag listener_closed_;
  std::promise<void> accept_ended_;
  std::vector<std::jthread> threads_;  // last: joined first
};

Status BeastServer::Open(ServerOptions options, const Router& router) {
  if (options.listens) CORRAL_TRY_STATUS(Bind(options));
  std::vector<std::string> warnings;
  const int n_io_threads = std::clamp(options.n_io_threads, 1, 2);
  const bool is_private = !options.listens || endpoint_.address().is_loopback();
  state_ = std::make_unique<ServerState>(std::move(options), router, is_private, &warnings);
  for (const std::string& warning : warnings) Log(LogLevel::kWarn, warning);
  if (acceptor_ != nullptr) {
    asio::co_spawn(accept_strand_, Accept(), [this](const std::exception_ptr& failure) {
      accept_ended_.set_value();
      if (failure) std::rethrow_exception(failure);  // to the io thread, which logs it
    });
  }
  for (int i = 0; i < n_io_threads; ++i) {
    threads_.emplace_back([this, i] { RunIo(i); });
  }
  return {};
}

Status BeastServer::Bind(const ServerOptions& options) {
  CORRAL_TRY(BindAddress bind, Resolve(*io_, options));
  acceptor_ = std::make_unique<tcp::acceptor>(accept_strand_);
  std::string_view step;
  error_code error;
  if (bind.is_dual_stack) {
    error = Listen(*acceptor_, {asio::ip::address_v6::any(), options.port}, true, &step);
    if (error == asio::error::address_family_not_supported ||
        error == asio::error::no_protocol_option || error.value() == EADDRNOTAVAIL) {
      // A kernel without IPv6.
      acceptor_ = std::make_unique<tcp::acceptor>(accept_strand_);
      error = Listen(*acceptor_, {asio::ip::address_v4::any(), options.port}, false, &step);
    }
  } else {
    error = Listen(*acceptor_, {bind.ip, options.port}, false, &step);
  }
  if (error) {
    return Fail(ListenCode(error), "listen tcp " + bind.as_asked + ": " + std::string(step) + ": " +
                                       LowerFirst(error.message()));
  }
  endpoint_ = acceptor_->local_endpoint(error);
  if (error) return Fail(Code::kIo, "listen tcp " + bind.as_asked + ": " + error.message());
  return {};
}

void BeastServer::RunIo(int index) {
  pthread_setname_np(pthread_self(), ("http-io-" + std::to_string(index)).c_str());
  for (;;) {
    std::string what = "unknown exception";
    try {
      io_->run();
      return;
    } catch (const std::bad_alloc&) {
      std::terminate();
    } catch (const std::exception& e) {
      what = e.what();
    } catch (...) {  // `what` says so
    }
    Log(LogLevel::kError, "connection failed", {{"error", what}});
  }
}

Task<> BeastServer::Accept() {
  asio::steady_timer pause(accept_strand_);
  bool has_complained = false;
  while (acceptor_->is_open()) {
    const asio::any_io_executor strand = asio::make_strand(*io_);
    tcp::socket socket(strand);
    const auto [error] =
        co_await acceptor_->async_accept(socket, asio::as_tuple(asio::use_awaitable));
    if (!error) {
      has_complained = false;
      Admit(std::move(socket), strand);
      continue;
    }
    if (error == asio::error::operation_aborted || !acceptor_->is_open()) co_return;
    if (error == asio::error::connection_aborted) continue;
    if (!has_complained) Log(LogLevel::kError, "cannot accept", {{"error", error.message()}});
    has_complained = true;
    pause.expires_after(kAcceptPause);
    co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

void BeastServer::Admit(tcp::socket socket, const asio::any_io_executor& strand) {
  SetConnectionOptions(socket);
  std::string remote = RemoteText(socket);
  if (remote.empty()) return;  // it left at once
  std::make_shared<Connection>(*state_, strand, std::move(socket), std::move(remote))->Start();
}

void BeastServer::Adopt(UniqueFd socket) {
  const asio::any_io_executor strand = asio::make_strand(*io_);
  asio::post(strand, [this, strand, fd = std::make_shared<UniqueFd>(std::move(socket))] {
    tcp::socket stream(strand);
    error_code error;
    stream.assign(tcp::v4(), fd->get(), error);  // any stream socket: the family is not looked at
    if (error) return;
    static_cast<void>(fd->Release());
    std::make_shared<Connection>(*state_, strand, std::move(stream), "local")->Start();
  });
}

ServerLoad BeastServer::load() const {
  return {state_->registry.n_connections(), state_->registry.n_busy()};
}

void BeastServer::CloseListener() {
  if (acceptor_ == nullptr) return;
  asio::post(accept_strand_, [this] {
    // Who has connected already is served: closing would reset what waits in the backlog.
    for (;;) {
      const asio::any_io_executor strand = asio::make_strand(*io_);
      tcp::socket socket(strand);
      error_code error;
      acceptor_->accept(socket, error);
      if (error) break;
      Admit(std::move(socket), strand);
    }
    error_code ignored;
    acceptor_->close(ignored);
  });
  // A connection whose acceptance was on its way is admitted too.
  accept_ended_.get_future().wait();
}

void BeastServer::Drain(std::chrono::milliseconds grace) {
  // First the phase: who is served after the listening socket has closed is told so.
  state_->registry.BeginDrain(
      std::min<std::chrono::milliseconds>(grace, std::chrono::hours(24 * 365)));
  std::call_once(listener_closed_, [this] { CloseListener(); });
  state_->registry.AwaitDrain();
}

BeastServer::~BeastServer() {
  if (state_ == nullptr) return;  // Open failed: nothing runs
  Drain(std::chrono::milliseconds(0));
  state_->pool.Close();  // its work may use frames that io_ owns
  work_.reset();
  io_->stop();
  threads_.clear();
  // The members go in reverse order: io_ destroys the frames of handlers that never ended, which
  // refer to state_.
}

}  // namespace

Result<std::unique_ptr<Server>> Start(ServerOptions options, Router router) {
  try {
    auto server = std::make_unique<BeastServer>();
    CORRAL_TRY_STATUS(server->Open(std::move(options), router));
    return server;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& e) {
    return Fail(Code::kIo, std::string("start the HTTP server: ") + e.what());
  }
}

}  // namespace corral::http
