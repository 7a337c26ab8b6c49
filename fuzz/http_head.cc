// Any bytes as a request: the gate refuses them, or the parser agrees with the gate on what the
// head says, and the body that follows is framed within its limits whatever the pieces in which it
// arrives.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "http/internal/answer_head.h"
#include "http/internal/head.h"
#include "http/internal/request_parser.h"

namespace {

using corral::http::CheckHead;
using corral::http::Request;
using corral::http::RequestParser;

constexpr std::size_t kMaxFramingBytes = 4096;
constexpr std::size_t kReadAheadBytes = 64U << 10;

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckPromises(const Request& request, const RequestParser& parser) {
  Require(corral::http::IsToken(request.method));
  Require(!request.path.empty() && (request.path.front() == '/' || request.path == "*"));
  int n_lengths = 0;
  int n_codings = 0;
  int n_hosts = 0;
  for (const auto& [name, value] : request.headers) {
    Require(corral::http::IsToken(name) && corral::http::IsFieldValue(value));
    n_lengths += name == "content-length" ? 1 : 0;
    n_codings += name == "transfer-encoding" ? 1 : 0;
    n_hosts += name == "host" ? 1 : 0;
  }
  Require(n_lengths + n_codings <= 1 && n_hosts <= 1);
  Require(parser.IsChunked() == (n_codings == 1));
  Require(parser.IsHttp11() || n_codings == 0);
  Require(!parser.IsHttp11() || n_hosts == 1);
  if (n_lengths == 0) Require(parser.content_length() == 0);
  if (n_lengths == 0 && n_codings == 0) Require(parser.IsDone());
}

// Feeds `bytes` in pieces of `n_piece`, as a connection does.
void ReadBody(RequestParser parser, std::string_view bytes, std::size_t n_piece) {
  std::string held;
  std::string body;
  std::uint64_t n_used = 0;
  while (!parser.IsDone()) {
    const std::size_t n = std::min({n_piece, bytes.size(), kReadAheadBytes - held.size()});
    held += bytes.substr(0, n);
    bytes.remove_prefix(n);
    const corral::Result<std::size_t> used = parser.ParseBody(held, &body);
    if (!used) return;
    Require(*used <= held.size());
    held.erase(0, *used);
    n_used += *used;
    Require(body.size() <= n_used);
    if (parser.IsChunked()) {
      Require(n_used - body.size() <= kMaxFramingBytes + 8 * body.size());
    } else {
      Require(body.size() <= parser.content_length());
    }
    if (n == 0 && *used == 0) return;  // the client sends no more
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  static_cast<void>(CheckHead(input));
  const std::size_t end = input.find("\r\n\r\n");
  if (end == std::string_view::npos) return 0;
  const std::string_view head = input.substr(0, end + 4);
  if (CheckHead(head).IsRefused()) return 0;
  for (const std::size_t n_piece : {std::size_t{1}, std::size_t{7}, kReadAheadBytes}) {
    Request request;
    RequestParser parser(kMaxFramingBytes);
    if (!parser.ParseHead(head, &request)) return 0;
    CheckPromises(request, parser);
    static_cast<void>(corral::http::EncodePath(request.path));
    ReadBody(std::move(parser), input.substr(end + 4), n_piece);
  }
  return 0;
}
