// Bytes in, bytes out: the body parser's limits and the answer's head.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "http/internal/answer_head.h"
#include "http/internal/request_parser.h"

namespace corral::http {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kFraming = 100;

RequestParser ParserFor(const std::string& lines, Request* request) {
  RequestParser parser(kFraming);
  const Status parsed =
      parser.ParseHead("POST /x HTTP/1.1\r\nHost: h\r\n" + lines + "\r\n", request);
  EXPECT_TRUE(parsed);
  return parser;
}

struct Parsed {
  std::string body;
  bool is_done = false;
  bool has_failed = false;
  std::string rest;
};

Parsed ParseInPieces(const std::string& lines, std::string_view bytes, std::size_t n_piece) {
  Request request;
  RequestParser parser = ParserFor(lines, &request);
  Parsed parsed;
  std::string held;
  for (;;) {
    const std::string_view piece = bytes.substr(0, n_piece);
    held += piece;
    bytes.remove_prefix(piece.size());
    const Result<std::size_t> used = parser.ParseBody(held, &parsed.body);
    if (!used) {
      parsed.has_failed = true;
      return parsed;
    }
    held.erase(0, *used);
    if (parser.IsDone() || (piece.empty() && *used == 0)) break;
  }
  parsed.is_done = parser.IsDone();
  parsed.rest = held + std::string(bytes);
  return parsed;
}

TEST(RequestParserTest, ReadsAHeadInOrderWithLowerCaseNames) {
  Request request;
  const RequestParser parser = ParserFor("X-B: 1\r\nX-A:  two words \r\nCookie:\r\n", &request);
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.path, "/x");
  ASSERT_EQ(request.headers.size(), 4U);
  EXPECT_EQ(request.headers[1].first, "x-b");
  EXPECT_EQ(request.headers[2].second, "two words");
  EXPECT_EQ(request.Header("x-a"), "two words");
  EXPECT_EQ(request.Header("nope"), "");
  EXPECT_TRUE(parser.IsDone());
  EXPECT_TRUE(parser.WantsKeepAlive());
  EXPECT_FALSE(parser.IsChunked());
}

TEST(RequestParserTest, ABodyWithLengthEndsThereInPiecesOfAnySize) {
  for (const std::size_t n_piece : {1U, 2U, 3U, 100U}) {
    const Parsed parsed = ParseInPieces("Content-Length: 5\r\n", "abcdeGET /", n_piece);
    EXPECT_TRUE(parsed.is_done);
    EXPECT_EQ(parsed.body, "abcde");
    EXPECT_EQ(parsed.rest, "GET /");
  }
}

TEST(RequestParserTest, AChunkedBodyIsReadInPiecesOfAnySize) {
  for (const std::size_t n_piece : {1U, 2U, 3U, 5U, 100U}) {
    const Parsed parsed = ParseInPieces(
        "Transfer-Encoding: chunked\r\n",
        "4\r\nWiki\r\n6;x=\"y;z\"\r\npedia \r\n0;e\r\nContent-Type: a\r\nB: c\r\n\r\nGET /",
        n_piece);
    EXPECT_TRUE(parsed.is_done) << n_piece;
    EXPECT_EQ(parsed.body, "Wikipedia ");
    EXPECT_EQ(parsed.rest, "GET /");
  }
}

// Beast 1.81 asserts on this one when it gets the bytes as they come. Found by fuzz/http_head.cc.
TEST(RequestParserTest, AnEmptyChunkedBodyIsReadInSingleBytes) {
  for (const std::string bytes : {"0\r\n\r\n", "0\r\nX: 1\r\n\r\n", "000;x=y\r\n\r\n"}) {
    const Parsed parsed = ParseInPieces("Transfer-Encoding: chunked\r\n", bytes + "GET /", 1);
    EXPECT_TRUE(parsed.is_done) << bytes;
    EXPECT_EQ(parsed.body, "");
    EXPECT_EQ(parsed.rest, "GET /");
  }
}

TEST(RequestParserTest, TrailersAreNoHeaders) {
  Request request;
  RequestParser parser = ParserFor("Transfer-Encoding: chunked\r\n", &request);
  std::string body;
  ASSERT_TRUE(parser.ParseBody("0\r\nX-Late: 1\r\n\r\n", &body));
  EXPECT_TRUE(parser.IsDone());
  EXPECT_EQ(request.Header("x-late"), "");
}

TEST(RequestParserTest, BrokenChunksFail) {
  for (const std::string bytes :
       {"\r\n", "g\r\n", "+1\r\na\r\n", " 1\r\na\r\n", "1\na\n\r\n", "1\r\nabcdef\r\n",
        "1\r\na\n0\r\n\r\n", "0\r\nContent-Length: 1\r\n\r\n", "10000000000000000\r\n",
        "fffffffffffffff\r\na", "0\r\nbroken\r\n\r\n"}) {
    EXPECT_TRUE(ParseInPieces("Transfer-Encoding: chunked\r\n", bytes + "\r\n\r\n", 100).has_failed)
        << bytes;
  }
}

TEST(RequestParserTest, FramingBytesHaveALimitOfTheirOwn) {
  const std::string lines = "Transfer-Encoding: chunked\r\n";
  EXPECT_TRUE(
      ParseInPieces(lines, "1;" + std::string(200, 'e') + "\r\na\r\n0\r\n\r\n", 1000).has_failed);
  EXPECT_TRUE(
      ParseInPieces(lines, "1;" + std::string(200, 'e'), 10).has_failed);  // before its end is seen
  EXPECT_TRUE(ParseInPieces(lines, "0\r\nX: " + std::string(200, 'e') + "\r\n\r\n", 7).has_failed);
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "1\r\na\r\n";
  EXPECT_EQ(ParseInPieces(lines, many + "0\r\n\r\n", 64).body.size(), 1000U);
}

TEST(AnswerHeadTest, WritesCheckedFieldsOnly) {
  AnswerHead head(true, 404);
  EXPECT_TRUE(head.Add("Content-Type", "text/plain"));
  EXPECT_TRUE(head.Add("X-Text", "caf\xC3\xA9\t!"));
  for (const std::string_view value : {"a\r\nb"sv, "a\nb"sv, "a\rb"sv, "a\0b"sv, "\x7F"sv}) {
    const Status added = head.Add("X-Bad", value);
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().code, Code::kInternal);
  }
  for (const std::string name : {"", "X Bad", "X:", "X\r\n", "\xC3\xA9"})
    EXPECT_FALSE(head.Add(name, "v"));
  EXPECT_EQ(std::move(head).Finish(),
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nX-Text: caf\xC3\xA9\t!\r\n\r\n");
  EXPECT_EQ(AnswerHead(false, 299).Finish(), "HTTP/1.0 299 \r\n\r\n");
}

TEST(AnswerHeadTest, DatesAreThoseOfRfc9110) {
  EXPECT_EQ(FormatHttpDate(std::chrono::system_clock::from_time_t(784111777)),
            "Sun, 06 Nov 1994 08:49:37 GMT");
}

}  // namespace
}  // namespace corral::http
