#include "http/internal/request_parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <utility>

#include "http/internal/head.h"

namespace corral::http {
namespace {

namespace beast = boost::beast;
using beast::error_code;

// "0" CRLF CRLF: every chunked body that is not done has at least so many bytes to come. Beast 1.81
// aborts (`n >= 5` in parse_chunk_header) when it sees the end of an empty body in two pieces, the
// first of them shorter.
constexpr std::size_t kMinChunkedBytes = 5;

// No legitimate body comes near; sums of it cannot overflow.
constexpr std::uint64_t kMaxChunkBytes = 1ULL << 50;

}  // namespace

class RequestParser::Parser final : public beast::http::basic_parser<true> {
 public:
  explicit Parser(std::size_t max_framing_bytes) : max_framing_bytes_(max_framing_bytes) {
    eager(true);
    header_limit(UINT32_MAX);  // the caller bounds the head
    body_limit(boost::none);   // the caller bounds the body
  }

  Request* request_ = nullptr;   // while the head is parsed
  std::string* body_ = nullptr;  // while the body is parsed
  std::string target_;
  bool is_http_11_ = false;
  bool wants_keep_alive_ = false;
  std::uint64_t content_length_ = 0;
  std::uint64_t body_bytes_ = 0;
  std::uint64_t raw_bytes_ = 0;  // used after the head
  bool IsFramingTooLong(std::uint64_t unused_bytes) const {
    const std::uint64_t framing = raw_bytes_ + unused_bytes - body_bytes_;
    return chunked() && framing > max_framing_bytes_ + 8 * body_bytes_;
  }

 private:
  void on_request_impl(beast::http::verb /*method*/, beast::string_view method,
                       beast::string_view target, int version, error_code& /*ec*/) override {
    request_->method.assign(method.data(), method.size());
    target_.assign(target.data(), target.size());
    is_http_11_ = version == 11;
  }
  void on_response_impl(int /*code*/, beast::string_view /*reason*/, int /*version*/,
                        error_code& /*ec*/) override {}
  void on_field_impl(beast::http::field /*name*/, beast::string_view name, beast::string_view value,
                     error_code& /*ec*/) override {
    if (request_ == nullptr) return;  // a trailer
    request_->headers.emplace_back(ToLower({name.data(), name.size()}),
                                   std::string(value.data(), value.size()));
  }
  void on_header_impl(error_code& /*ec*/) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>& /*content_length*/,
                         error_code& /*ec*/) override {}
  std::size_t on_body_impl(beast::string_view body, error_code& /*ec*/) override {
    body_->append(body.data(), body.size());
    body_bytes_ += body.size();
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t size, beast::string_view /*extensions*/,
                            error_code& ec) override {
    if (size > kMaxChunkBytes) ec = beast::http::error::bad_chunk;
  }
  std::size_t on_chunk_body_impl(std::uint64_t /*remain*/, beast::string_view body,
                                 error_code& ec) override {
    return on_body_impl(body, ec);
  }
  void on_finish_impl(error_code& /*ec*/) override {}

  std::size_t max_framing_bytes_;
};

RequestParser::RequestParser(std::size_t max_framing_bytes)
    : parser_(std::make_unique<Parser>(max_framing_bytes)) {}
RequestParser::RequestParser(RequestParser&&) noexcept = default;
RequestParser& RequestParser::operator=(RequestParser&&) noexcept = default;
RequestParser::~RequestParser() = default;

Status RequestParser::ParseHead(std::string_view head, Request* request) {
  parser_->request_ = request;
  error_code ec;
  const std::size_t n_used = parser_->put(boost::asio::const_buffer(head.data(), head.size()), ec);
  parser_->request_ = nullptr;
  if (ec && ec != beast::http::error::need_more) {
    return Fail(Code::kInvalidArgument, ec.message());
  }
  if (n_used != head.size() || !parser_->is_header_done()) {
    return Fail(Code::kInvalidArgument, "malformed head");
  }
  parser_->wants_keep_alive_ = parser_->keep_alive();
  parser_->content_length_ = parser_->content_length().value_or(0);
  CORRAL_TRY(Target target, ParseTarget(request->method, parser_->target_));
  request->path = std::move(target.path);
  request->query = std::move(target.query);
  if (!target.authority.empty()) {
    std::erase_if(request->headers, [](const auto& field) { return field.first == "host"; });
    request->headers.emplace_back("host", std::move(target.authority));
  }
  return {};
}

Result<std::size_t> RequestParser::ParseBody(std::string_view bytes, std::string* body) {
  if (parser_->is_done() || bytes.empty()) return 0;
  if (parser_->chunked() && bytes.size() < kMinChunkedBytes) return 0;
  parser_->body_ = body;
  error_code ec;
  const std::size_t n_used =
      parser_->put(boost::asio::const_buffer(bytes.data(), bytes.size()), ec);
  parser_->body_ = nullptr;
  parser_->raw_bytes_ += n_used;
  if (ec && ec != beast::http::error::need_more) {
    return Fail(Code::kInvalidArgument, "malformed request body: " + ec.message());
  }
  const std::uint64_t n_waiting = parser_->is_done() ? 0 : bytes.size() - n_used;
  if (parser_->IsFramingTooLong(n_waiting)) {
    return Fail(Code::kInvalidArgument, "chunked encoding contains too much non-data");
  }
  return n_used;
}

bool RequestParser::IsDone() const { return parser_->is_done(); }
bool RequestParser::IsHttp11() const { return parser_->is_http_11_; }
bool RequestParser::WantsKeepAlive() const { return parser_->wants_keep_alive_; }
bool RequestParser::IsChunked() const { return parser_->chunked(); }
std::uint64_t RequestParser::content_length() const { return parser_->content_length_; }

}  // namespace corral::http
