#include "app/local_server.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <string>
#include <system_error>
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
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
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

  std::filesystem::path socket() const override { return folder_ / "server"; }

 private:
  Status Listen() {
    std::error_code error;
    std::string pattern = std::filesystem::temp_directory_path(error) / "corral-XXXXXX";
    if (error || ::mkdtemp(pattern.data()) == nullptr)  // mode 0700
      return Fail(ErrnoError(error ? ENOENT : errno, "make a temporary folder"));
    folder_ = pattern;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = socket();
    if (path.size() >= sizeof(address.sun_path))
      return Fail(Code::kIo,
                  "the path of the temporary folder is too long for a socket: set TMPDIR");
    path.copy(address.sun_path, path.size());
    listener_.Reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!listener_.is_valid() ||
        ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
            0 ||
        ::listen(listener_.get(), kBacklog) != 0) {
      return Fail(ErrnoError(errno, "make a socket"));
    }
    return {};
  }

  void Accept() {
    for (;;) {
      UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (connection.is_valid()) {
        server_->Adopt(std::move(connection));
      } else if (errno != EINTR && errno != ECONNABORTED) {
        return;
      }
    }
  }

  const Settings settings_;
  std::unique_ptr<Rooms> rooms_;
  std::unique_ptr<http::Server> server_;  // goes before the rooms: its handlers use them
  std::filesystem::path folder_;
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
