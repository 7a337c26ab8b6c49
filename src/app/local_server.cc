#include "app/local_server.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "api/routes.h"
#include "app/rooms.h"
#include "core/files.h"
#include "core/log.h"
#include "core/settings.h"
#include "http/http.h"

namespace corral::app {
namespace {

constexpr int kBacklog = 16;

class LocalServer final : public cli::LocalServer {
 public:
  LocalServer() : settings_(ReadSettings(ProcessEnvironment(), {}, nullptr)) {}
  ~LocalServer() override {
    if (listener_.is_valid()) ::shutdown(listener_.get(), SHUT_RDWR);  // ends Accept
    if (acceptor_.joinable()) acceptor_.join();
  }
  LocalServer(const LocalServer&) = delete;
  LocalServer& operator=(const LocalServer&) = delete;

  Status Open() {
    CORRAL_TRY(rooms_, Rooms::Make(settings_));
    http::Router router;
    api::AddRoutes(router, rooms_->services());
    http::ServerOptions options;
    options.listens = false;
    options.max_body_bytes = settings_.max_body_bytes;
    CORRAL_TRY(server_, http::Start(std::move(options), std::move(router)));
    CORRAL_TRY_STATUS(Listen());
    acceptor_ = std::jthread([this] { Accept(); });
    return {};
  }

  std::string socket() const override { return name_; }

 private:
  Status Listen() {
    listener_.Reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    // Without a name the kernel gives one (unix(7), autobind): a NUL and some digits.
    socklen_t size = sizeof(address.sun_family);
    if (!listener_.is_valid() || ::bind(listener_.get(), generic, size) != 0 ||
        ::listen(listener_.get(), kBacklog) != 0) {
      return Fail(ErrnoError(errno, "make a socket"));
    }
    size = sizeof(address);
    if (::getsockname(listener_.get(), generic, &size) != 0)
      return Fail(ErrnoError(errno, "make a socket"));
    const std::size_t n_name_bytes = size - offsetof(sockaddr_un, sun_path);
    name_ = std::string_view(address.sun_path, n_name_bytes).substr(1);
    return {};
  }

  void Accept() {
    for (;;) {
      UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (connection.is_valid()) {
        if (IsOurs(connection.get())) server_->Adopt(std::move(connection));
      } else if (errno != EINTR && errno != ECONNABORTED) {
        return;
      }
    }
  }

  // Abstract names have no owner: anybody could connect.
  static bool IsOurs(int connection) {
    ucred peer{};
    socklen_t size = sizeof(peer);
    return ::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           peer.pid == ::getpid();
  }

  const Settings settings_;
  std::unique_ptr<Rooms> rooms_;
  std::unique_ptr<http::Server> server_;  // goes before the rooms: its handlers use them
  std::string name_;
  UniqueFd listener_;
  std::jthread acceptor_;
};

}  // namespace

Result<std::unique_ptr<cli::LocalServer>> OpenLocalServer() {
  ConfigureLog(LogLevel::kError, LogFormat::kText);
  std::signal(SIGPIPE, SIG_IGN);
  auto server = std::make_unique<LocalServer>();
  CORRAL_TRY_STATUS(server->Open());
  return std::unique_ptr<cli::LocalServer>(std::move(server));
}

}  // namespace corral::app
