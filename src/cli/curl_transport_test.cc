// The real transport against a socket that a test speaks for.
#include "cli/curl_transport.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "core/files.h"

namespace corral::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Accepts one connection after the other and lets `handler` speak.
class LoopbackServer {
 public:
  using Handler = std::function<void(int connection)>;

  explicit LoopbackServer(Handler handler)
      : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listener_.get(), generic, size), 0);
    EXPECT_EQ(listen(listener_.get(), 8), 0);
    EXPECT_EQ(getsockname(listener_.get(), generic, &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this, handler = std::move(handler)] {
      for (;;) {
        const UniqueFd connection(accept(listener_.get(), nullptr, nullptr));
        if (!connection.is_valid()) return;
        handler(connection.get());
      }
    });
  }
  ~LoopbackServer() { shutdown(listener_.get(), SHUT_RDWR); }

  std::unique_ptr<Transport> Connect(const std::string& path = "") const {
    CurlOptions options;
    options.server.port = port_;
    options.server.path = path;
    options.user_agent = "ollama/0.31.0 (amd64 linux) corral/test";
    return MakeCurlTransport(options);
  }

 private:
  UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::jthread thread_;
};

void Write(int fd, std::string_view text) {
  EXPECT_EQ(send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
}

// Up to and with `end`.
std::string ReadUntil(int fd, std::string_view end) {
  std::string text;
  char c = 0;
  while (!text.ends_with(end) && read(fd, &c, 1) == 1) text += c;
  return text;
}

// Waits until the other side has closed.
void WaitForEnd(int fd) {
  std::array<char, 256> buffer{};
  while (read(fd, buffer.data(), buffer.size()) > 0) {
  }
}

Status Ignore(const HttpHead&, std::string_view) { return {}; }

TEST(CurlTransport, GivesStatusLineAndBody) {
  std::string request;
  LoopbackServer server([&](int fd) {
    request = ReadUntil(fd, "\r\n\r\n");
    Write(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello");
    WaitForEnd(fd);
  });
  std::string body;
  {
    const auto transport = server.Connect("/base");
    const auto head = transport->Send({.method = "GET", .path = "/api/tags"},
                                      [&](const HttpHead& seen, std::string_view bytes) {
                                        EXPECT_EQ(seen.status, 404);
                                        body += bytes;
                                        return Status();
                                      },
                                      {});
    ASSERT_TRUE(head) << head.error().message;
    EXPECT_EQ(head->status_line, "404 Not Found");
  }
  EXPECT_EQ(body, "hello");
  EXPECT_THAT(request, StartsWith("GET /base/api/tags HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("User-Agent: ollama/0.31.0 (amd64 linux) corral/test\r\n"));
}

TEST(CurlTransport, HandsOutAStreamAsItComes) {
  std::string request;
  LoopbackServer server([&](int fd) {
    request = ReadUntil(fd, "{}");
    Write(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n");
    WaitForEnd(fd);
  });
  const auto transport = server.Connect();
  StopSource stop;
  std::string body;
  const auto head = transport->Send(
      {.method = "POST", .path = "/api/chat", .body = "{}", .is_stream = true},
      [&](const HttpHead&, std::string_view bytes) {
        body += bytes;
        stop.RequestStop(StopReason::kUser);
        return Status();
      },
      stop.token());
  EXPECT_EQ(body, "one\n");
  ASSERT_FALSE(head);
  EXPECT_EQ(head.error().code, Code::kCancelled);
  EXPECT_THAT(request, HasSubstr("Accept: application/x-ndjson\r\n"));
  EXPECT_THAT(request, HasSubstr("Content-Type: application/json\r\n"));
}

TEST(CurlTransport, IsStoppedFromAnotherThreadWhileItWaits) {
  StopSource stop;
  LoopbackServer server([&](int fd) {
    ReadUntil(fd, "\r\n\r\n");
    stop.RequestStop(StopReason::kUser);
    WaitForEnd(fd);
  });
  const auto transport = server.Connect();
  EXPECT_EQ(transport->Send({.method = "GET", .path = "/"}, &Ignore, stop.token()).error().code,
            Code::kCancelled);
}

TEST(CurlTransport, WordsARefusedConnectionAsGoDoes) {
  std::unique_ptr<Transport> transport;
  {
    const LoopbackServer gone([](int) {});
    transport = gone.Connect();
  }
  const auto head = transport->Send({.method = "HEAD", .path = "/"}, &Ignore, {});
  ASSERT_FALSE(head);
  EXPECT_THAT(head.error().message, StartsWith("Head \"http://127.0.0.1:"));
  EXPECT_THAT(head.error().message, HasSubstr(": connect: connection refused"));
}

TEST(CurlTransport, AReplyThatIsCutIsAnError) {
  LoopbackServer server([](int fd) {
    ReadUntil(fd, "\r\n\r\n");
    Write(fd, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf");
  });
  const auto head = server.Connect()->Send({.method = "GET", .path = "/"}, &Ignore, {});
  ASSERT_FALSE(head);
  EXPECT_THAT(head.error().message, HasSubstr("unexpected EOF"));
}

TEST(CurlTransport, TheReceiversErrorEndsTheExchange) {
  LoopbackServer server([](int fd) {
    ReadUntil(fd, "\r\n\r\n");
    Write(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody");
    WaitForEnd(fd);
  });
  const auto head = server.Connect()->Send(
      {.method = "GET", .path = "/"},
      [](const HttpHead&, std::string_view) -> Status { return Fail(Code::kTooLarge, "enough"); },
      {});
  EXPECT_EQ(head.error().message, "enough");
}

TEST(CurlTransport, SendsAFileAndSaysHowFarItIs) {
  std::string path = (std::filesystem::temp_directory_path() / "corral-upload-XXXXXX").string();
  const UniqueFd file(mkstemp(path.data()));
  std::ofstream(path) << std::string(100'000, 'x') << "END";
  std::string request;
  LoopbackServer server([&](int fd) {
    request = ReadUntil(fd, "END");
    Write(fd, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    WaitForEnd(fd);
  });
  std::uint64_t n_sent = 0;
  HttpRequest upload{.method = "POST", .path = "/api/blobs/sha256:1"};
  upload.body_file = path;
  upload.on_sent = [&](std::uint64_t n) { n_sent = n; };
  {
    const auto transport = server.Connect();
    const auto head = transport->Send(upload, &Ignore, {});
    ASSERT_TRUE(head) << head.error().message;
    EXPECT_EQ(head->status, 201);
  }
  EXPECT_EQ(n_sent, 100'003U);
  EXPECT_THAT(request, StartsWith("POST /api/blobs/sha256:1 HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("Content-Length: 100003\r\n"));
  std::filesystem::remove(path);
}

TEST(CurlTransport, AFileThatIsNotThereIsNotFound) {
  LoopbackServer server([](int) {});
  HttpRequest upload{.method = "POST", .path = "/"};
  upload.body_file = "/does/not/exist";
  EXPECT_EQ(server.Connect()->Send(upload, &Ignore, {}).error().code, Code::kNotFound);
}

TEST(CurlTransport, AnEmptyBodyHasALength) {
  std::string request;
  LoopbackServer server([&](int fd) {
    request = ReadUntil(fd, "\r\n\r\n");
    Write(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    WaitForEnd(fd);
  });
  ASSERT_TRUE(server.Connect()->Send({.method = "POST", .path = "/api/me"}, &Ignore, {}));
  EXPECT_THAT(request, HasSubstr("Content-Length: 0\r\n"));
}

}  // namespace
}  // namespace corral::cli
