#include "component/http/test_client.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdlib>

namespace corral::testing {
namespace {

bool WaitUntilReady(int fd, short events) {
  pollfd polled{fd, events, 0};
  const int timeout_ms =
      static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(kPatience).count());
  const int n = poll(&polled, 1, timeout_ms);
  if (n == 0) ADD_FAILURE() << "the server did nothing for " << kPatience.count() << " s";
  return n > 0;
}

}  // namespace

std::string Reply::Header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return value;
  }
  return {};
}

int Reply::CountHeader(std::string_view lower_case_name) const {
  return static_cast<int>(std::count_if(headers.begin(), headers.end(), [&](const auto& field) {
    return field.first == lower_case_name;
  }));
}

TestClient::TestClient(std::uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) Close();
  const int on = 1;
  if (fd_ >= 0) (void)setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

TestClient::TestClient(TestClient&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), in_(std::move(other.in_)) {}

TestClient::~TestClient() { Close(); }

void TestClient::Close() {
  if (fd_ >= 0) (void)close(fd_);
  fd_ = -1;
}

void TestClient::Reset() {
  const linger reset{1, 0};
  (void)setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  Close();
}

void TestClient::HalfClose() { (void)shutdown(fd_, SHUT_WR); }

void TestClient::ShrinkReceiveBuffer() {
  const int size = 32 << 10;
  (void)setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

bool TestClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    if (fd_ < 0 || !WaitUntilReady(fd_, POLLOUT)) return false;
    const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) return false;
    if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

bool TestClient::Get(std::string_view target, std::string_view lines) {
  return Send("GET " + std::string(target) + " HTTP/1.1\r\nHost: localhost\r\n" +
              std::string(lines) + "\r\n");
}

bool TestClient::Post(std::string_view target, std::string_view body, std::string_view lines) {
  return Send("POST " + std::string(target) +
              " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n" + std::string(lines) + "\r\n" + std::string(body));
}

bool TestClient::Fill() {
  if (fd_ < 0 || !WaitUntilReady(fd_, POLLIN)) return false;
  std::array<char, 65536> buffer;
  const ssize_t n = recv(fd_, buffer.data(), buffer.size(), 0);
  if (n <= 0) return false;
  in_.append(buffer.data(), static_cast<std::size_t>(n));
  return true;
}

std::optional<std::string> TestClient::ReadLine() {
  for (;;) {
    const std::size_t end = in_.find("\r\n");
    if (end != std::string::npos) {
      std::string line = in_.substr(0, end);
      in_.erase(0, end + 2);
      return line;
    }
    if (!Fill()) return std::nullopt;
  }
}

Reply TestClient::ReadReplyHead() {
  Reply reply;
  std::optional<std::string> line = ReadLine();
  if (!line || line->size() < 12) return reply;
  reply.version = line->substr(0, 8);
  reply.status = std::atoi(line->substr(9, 3).c_str());
  while ((line = ReadLine()) && !line->empty()) {
    const std::size_t colon = line->find(": ");
    if (colon == std::string::npos) {
      ADD_FAILURE() << "not a header line: " << *line;
      return reply;
    }
    std::string name = line->substr(0, colon);
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    reply.headers.emplace_back(std::move(name), line->substr(colon + 2));
  }
  reply.is_whole = line.has_value();
  return reply;
}

std::optional<std::string> TestClient::ReadChunk() {
  const std::optional<std::string> line = ReadLine();
  if (!line) return std::nullopt;
  const std::size_t size = std::strtoul(line->c_str(), nullptr, 16);
  while (in_.size() < size + 2) {
    if (!Fill()) return std::nullopt;
  }
  std::string chunk = in_.substr(0, size);
  EXPECT_EQ(in_.substr(size, 2), "\r\n");
  in_.erase(0, size + 2);
  return chunk;
}

Reply TestClient::ReadReply(bool is_head) {
  Reply reply = ReadReplyHead();
  if (!reply.is_whole || is_head || reply.status == 204 || reply.status == 304 ||
      reply.status == 100) {
    return reply;
  }
  reply.is_whole = false;
  if (reply.Header("transfer-encoding") == "chunked") {
    while (const std::optional<std::string> chunk = ReadChunk()) {
      reply.is_whole = chunk->empty();
      if (reply.is_whole) break;
      reply.body += *chunk;
    }
  } else if (reply.CountHeader("content-length") == 1) {
    const std::size_t size = std::strtoul(reply.Header("content-length").c_str(), nullptr, 10);
    while (in_.size() < size && Fill()) {
    }
    reply.body = in_.substr(0, size);
    reply.is_whole = reply.body.size() == size;
    in_.erase(0, reply.body.size());
  } else {
    reply.body = ReadToEnd();
    reply.is_whole = true;
  }
  return reply;
}

std::string TestClient::ReadToEnd() {
  while (Fill()) {
  }
  return std::exchange(in_, {});
}

bool TestClient::WaitForClose() {
  while (Fill()) {
  }
  in_.clear();
  return !::testing::Test::HasFailure();
}

}  // namespace corral::testing
