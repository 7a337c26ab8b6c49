// A blocking HTTP/1.1 client on a raw socket, for tests that send what no library sends. Every wait
// has a deadline; a wait that ends by it fails the test.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace corral::testing {

constexpr std::chrono::seconds kPatience{
    30};  // for what must happen; never waited for in a passing test

struct Reply {
  int status = 0;  // 0: the connection ended before a status line
  std::string version;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
  bool is_whole = false;  // ended as its framing promised

  std::string Header(std::string_view lower_case_name) const;  // first value, or empty
  int CountHeader(std::string_view lower_case_name) const;
};

class TestClient {
 public:
  explicit TestClient(std::uint16_t port);
  TestClient(TestClient&& other) noexcept;
  TestClient& operator=(TestClient&&) = delete;
  ~TestClient();

  bool IsConnected() const { return fd_ >= 0; }
  // False: the peer has closed.
  bool Send(std::string_view bytes);
  // "GET /x HTTP/1.1", Host: localhost, the given lines (each with CRLF).
  bool Get(std::string_view target, std::string_view lines = "");
  bool Post(std::string_view target, std::string_view body, std::string_view lines = "");

  // The next answer. `is_head`: no body follows whatever its fields say.
  Reply ReadReply(bool is_head = false);
  // The head of the next answer; its body stays to be read.
  Reply ReadReplyHead();
  // The next chunk of a chunked body; empty: the last one. nullopt: the connection ended.
  std::optional<std::string> ReadChunk();
  std::string ReadToEnd();
  // True once the peer has closed (bytes before are dropped).
  bool WaitForClose();
  bool HasUnread() const { return !in_.empty(); }

  void HalfClose();
  void Reset();  // closes so that the peer sees a reset
  void Close();
  void ShrinkReceiveBuffer();

 private:
  bool Fill();  // false: end of file or error
  std::optional<std::string> ReadLine();

  int fd_ = -1;
  std::string in_;
};

}  // namespace corral::testing
