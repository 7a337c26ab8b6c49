// One request's bytes to head fields and body bytes. Beast's incremental parser, hidden in
// request_parser.cc, behind the checks of head.h; what it does not limit itself (trailers, chunk
// extensions) is counted here.
//
// Not thread-safe: used on one connection's strand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"
#include "http/http.h"

namespace corral::http {

class RequestParser {
 public:
  // `max_framing_bytes`: what chunk sizes, extensions and trailers may take beyond 8 bytes a body
  // byte.
  explicit RequestParser(std::size_t max_framing_bytes);
  RequestParser(RequestParser&&) noexcept;
  RequestParser& operator=(RequestParser&&) noexcept;
  ~RequestParser();

  // Once, with a whole head that CheckHead passed. Fills method, path, query and headers.
  // Errors: kInvalidArgument.
  Status ParseHead(std::string_view head, Request* request);

  // Takes bytes that follow the head: appends body bytes to `body`, returns how many bytes of
  // `bytes` were used. Those that were not used must come again, at the start of the next call's
  // `bytes`, with more behind them. Errors: kInvalidArgument (broken or too much framing).
  Result<std::size_t> ParseBody(std::string_view bytes, std::string* body);

  // Valid after ParseHead.
  bool IsDone() const;  // the last byte of the request has been used
  bool IsHttp11() const;
  bool WantsKeepAlive() const;
  bool IsChunked() const;
  std::uint64_t content_length() const;  // 0 when chunked or without a body

 private:
  class Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace corral::http
