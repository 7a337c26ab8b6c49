#include "http/internal/head.h"

#include <gtest/gtest.h>

#include <string>

namespace corral::http {
namespace {

using namespace std::string_view_literals;

int StatusOf(std::string_view head) { return CheckHead(head).status; }

std::string WithLines(const std::string& lines) {
  return "POST /api/chat HTTP/1.1\r\nHost: localhost\r\n" + lines + "\r\n";
}

TEST(CheckHead, PassesWhatRealClientsSend) {
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\nHost: localhost:11434\r\nUser-Agent: "
                     "curl/7.88.1\r\nAccept: */*\r\n\r\n"),
            0);
  EXPECT_EQ(StatusOf("GET / HTTP/1.0\r\n\r\n"), 0);
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\nhost:\r\n\r\n"), 0);
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\nHost: [::1]:11434\r\n\r\n"), 0);
  EXPECT_EQ(StatusOf("GET /\xC3\xA9?q=%20 HTTP/1.1\r\nHost: a\r\nX: caf\xC3\xA9\t!\r\n\r\n"), 0);
  EXPECT_EQ(StatusOf(WithLines("Transfer-Encoding: chunked\r\n")), 0);
  EXPECT_EQ(StatusOf(WithLines("transfer-encoding:\t CHUNKED \r\n")), 0);
  EXPECT_EQ(StatusOf(WithLines("Content-Length: 0\r\n")), 0);
  EXPECT_EQ(StatusOf(WithLines("Content-Length: 007\r\n")), 0);
  EXPECT_EQ(StatusOf(WithLines("X-Empty:\r\n")), 0);
}

TEST(CheckHead, RefusesWhatDoesNotEndWithAnEmptyLine) {
  for (const std::string_view head :
       {""sv, "\r\n"sv, "\r\n\r\n"sv, "GET / HTTP/1.1\r\n"sv, "GET / HTTP/1.1\n\n"sv,
        "GET / HTTP/1.1\r\nHost: a\r\n\n"sv}) {
    EXPECT_EQ(StatusOf(head), 400) << head;
  }
}

TEST(CheckHead, RefusesBrokenRequestLines) {
  for (const std::string_view line :
       {"GET"sv, "GET /"sv, "GET / "sv, " GET / HTTP/1.1"sv, "GET  / HTTP/1.1"sv,
        "GET /  HTTP/1.1"sv, "GET / HTTP/1.1 "sv, "GET /a b HTTP/1.1"sv, "G T / HTTP/1.1"sv,
        "G(T / HTTP/1.1"sv, "GET /\x7F HTTP/1.1"sv, "GET /\x01 HTTP/1.1"sv, "GET / XTTP/1.1"sv,
        "GET / http/1.1"sv, "AVERYLONGMETHODNAMEWITHMORETHAN32CHARACTERS / HTTP/1.1"sv}) {
    EXPECT_EQ(StatusOf(std::string(line) + "\r\nHost: a\r\n\r\n"), 400) << line;
  }
}

TEST(CheckHead, KnowsHttp10AndHttp11Only) {
  for (const std::string_view version :
       {"0.9"sv, "1.2"sv, "2.0"sv, "1.10"sv, "11"sv, "1.1x"sv, "9"sv}) {
    EXPECT_EQ(StatusOf("GET / HTTP/" + std::string(version) + "\r\nHost: a\r\n\r\n"), 505)
        << version;
  }
}

TEST(CheckHead, RefusesFieldLinesThatReadersMayReadDifferently) {
  for (const std::string_view line :
       {" folded"sv, "\tfolded"sv, "X: y\r\n folded"sv, "NoColon"sv, ": empty name"sv,
        "Name : value"sv, "Na me: value"sv, "N\xC3\xA9: v"sv, "X: a\rb"sv, "X: a\nb"sv, "X: a\0b"sv,
        "X: \x7F"sv, "X: \x0B"sv, "\0X: a"sv}) {
    EXPECT_EQ(StatusOf(WithLines(std::string(line) + "\r\n")), 400) << line;
  }
}

TEST(CheckHead, WantsExactlyOneHostInHttp11) {
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(CheckHead("GET / HTTP/1.1\r\n\r\n").reason, "missing required Host header");
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
  for (const std::string_view host :
       {"a b"sv, "a/b"sv, "a@b"sv, "a\"b"sv, "\xC3\xA9"sv, "a?b"sv, "a#b"sv}) {
    EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n"), 400) << host;
  }
}

TEST(CheckHead, WantsOneDecimalLength) {
  for (const std::string_view value : {""sv, "+1"sv, "-1"sv, "1 1"sv, "1,1"sv, "0x1"sv, "1.0"sv,
                                       "1e3"sv, "\xD9\xA1"sv, "1234567890123456789"sv}) {
    EXPECT_EQ(StatusOf(WithLines("Content-Length: " + std::string(value) + "\r\n")), 400) << value;
  }
  EXPECT_EQ(StatusOf(WithLines("Content-Length: 1\r\nContent-Length: 1\r\n")), 400);
}

TEST(CheckHead, KnowsTheChunkedCodingOnly) {
  for (const std::string_view value :
       {""sv, "gzip"sv, "identity"sv, "chunked, gzip"sv, "gzip, chunked"sv, "chunked;q=1"sv,
        "xchunked"sv, "chunked,"sv, "\"chunked\""sv}) {
    EXPECT_EQ(StatusOf(WithLines("Transfer-Encoding: " + std::string(value) + "\r\n")), 501)
        << value;
  }
  EXPECT_EQ(StatusOf(WithLines("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
            400);
  EXPECT_EQ(StatusOf(WithLines("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n")), 400);
  EXPECT_EQ(StatusOf(WithLines("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")), 400);
  EXPECT_EQ(StatusOf("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

TEST(ParseTarget, KnowsThreeForms) {
  const auto origin = ParseTarget("GET", "/a%20b/c?x=%20&y");
  ASSERT_TRUE(origin);
  EXPECT_EQ(origin->path, "/a b/c");
  EXPECT_EQ(origin->query, "x=%20&y");
  EXPECT_EQ(origin->authority, "");
  const auto absolute = ParseTarget("GET", "HTTP://h:1/p?q");
  ASSERT_TRUE(absolute);
  EXPECT_EQ(absolute->path, "/p");
  EXPECT_EQ(absolute->query, "q");
  EXPECT_EQ(absolute->authority, "h:1");
  EXPECT_EQ(ParseTarget("GET", "http://h")->path, "/");
  EXPECT_EQ(ParseTarget("GET", "http://h?q")->query, "q");
  EXPECT_EQ(ParseTarget("OPTIONS", "*")->path, "*");
}

TEST(ParseTarget, RefusesEverythingElse) {
  for (const std::string_view target :
       {""sv, "x"sv, "*"sv, "h:1"sv, "ftp://h/"sv, "http:///p"sv, "http://u@h/"sv, "/%"sv, "/%1"sv,
        "/%g1"sv, "/%1g"sv, "#x"sv}) {
    EXPECT_FALSE(ParseTarget("GET", target)) << target;
  }
}

TEST(EncodePath, LeavesNoByteThatCouldEndALine) {
  std::string all;
  for (int c = 0; c < 256; ++c) all.push_back(static_cast<char>(c));
  const std::string encoded = EncodePath(all);
  for (const char c : encoded) EXPECT_TRUE(c > ' ' && c < '\x7F' && c != '"' && c != '<');
  EXPECT_EQ(EncodePath("/a b/\xC3\xA9%"), "/a%20b/%C3%A9%25");
}

TEST(RequestId, IsEchoedOnlyWhenHarmless) {
  EXPECT_TRUE(IsRequestId("0af7651916cd43dd8448eb211c80319c"));
  EXPECT_TRUE(IsRequestId("a.b_c~d:e/f+g=h@i-j"));
  EXPECT_TRUE(IsRequestId(std::string(128, 'x')));
  EXPECT_FALSE(IsRequestId(std::string(129, 'x')));
  for (const std::string_view id : {""sv, "a b"sv, "a\"b"sv, "a\r"sv, "<b>"sv, "\xC3\xA9"sv})
    EXPECT_FALSE(IsRequestId(id));
}

TEST(MayStartRequest, SeesOtherProtocolsByTheirFirstByte) {
  EXPECT_TRUE(MayStartRequest('G'));
  EXPECT_TRUE(MayStartRequest('\r'));
  for (const char c : {'\x16', '\0', ' ', '\n', '(', '\x80'}) EXPECT_FALSE(MayStartRequest(c));
}

}  // namespace
}  // namespace corral::http
