#include <gtest/gtest.h>

#include "core/settings.h"

namespace corral {
namespace {

std::string UrlOf(const char* text) {
  std::string warning;
  const std::string url = ParseHost(text, 11434, &warning).Url();
  EXPECT_EQ(warning, "") << text;
  return url;
}

TEST(ParseHost, FillsInWhatIsMissing) {
  EXPECT_EQ(UrlOf(""), "http://127.0.0.1:11434");
  EXPECT_EQ(UrlOf("1.2.3.4"), "http://1.2.3.4:11434");
  EXPECT_EQ(UrlOf(":1234"), "http://:1234");
  EXPECT_EQ(UrlOf("example.com"), "http://example.com:11434");
  EXPECT_EQ(UrlOf("example.com:1234"), "http://example.com:1234");
  EXPECT_EQ(UrlOf(":0"), "http://:0");
  EXPECT_EQ(UrlOf(":65535"), "http://:65535");
}

TEST(ParseHost, ReadsIpv6WithAndWithoutBrackets) {
  EXPECT_EQ(UrlOf("[::1]"), "http://[::1]:11434");
  EXPECT_EQ(UrlOf("::1"), "http://[::1]:11434");
  EXPECT_EQ(UrlOf("[::1]:1337"), "http://[::1]:1337");
  EXPECT_EQ(UrlOf("[::]"), "http://[::]:11434");
  EXPECT_EQ(UrlOf("0:0:0:0:0:0:0:1"), "http://[::1]:11434");
  EXPECT_EQ(UrlOf("::ffff:1.2.3.4"), "http://1.2.3.4:11434");
  EXPECT_EQ(UrlOf("[fe80::1%eth0]"), "http://[fe80::1%eth0]:11434");
  EXPECT_EQ(ParseHost("[::1]:1337", 11434, nullptr).host, "::1");
}

TEST(ParseHost, StripsBlanksAndQuotes) {
  EXPECT_EQ(UrlOf(" \" 1.2.3.4 \" "), "http://1.2.3.4:11434");
  EXPECT_EQ(UrlOf("'1.2.3.4'"), "http://1.2.3.4:11434");
}

TEST(ParseHost, TakesThePortOfTheScheme) {
  EXPECT_EQ(UrlOf("http://1.2.3.4"), "http://1.2.3.4:80");
  EXPECT_EQ(UrlOf("https://1.2.3.4"), "https://1.2.3.4:443");
  EXPECT_EQ(UrlOf("https://1.2.3.4:4321"), "https://1.2.3.4:4321");
  EXPECT_EQ(UrlOf("ftp://1.2.3.4"), "ftp://1.2.3.4:11434");
  EXPECT_EQ(UrlOf("ollama.com"), "https://ollama.com:443");
}

TEST(ParseHost, KeepsThePathWithoutTheLastSlash) {
  EXPECT_EQ(UrlOf("https://example.com/ollama"), "https://example.com:443/ollama");
  EXPECT_EQ(UrlOf("https://example.com/a/b/"), "https://example.com:443/a/b");
  EXPECT_EQ(UrlOf("example.com:1234/"), "http://example.com:1234");
}

TEST(ParseHost, WarnsOfABadPortAndTakesTheDefault) {
  for (const char* text : {":66000", ":-1", ":abc", "1.2.3.4:"}) {
    std::string warning;
    EXPECT_EQ(ParseHost(text, 11434, &warning).port, 11434) << text;
    EXPECT_NE(warning.find("invalid port"), std::string::npos) << text;
  }
  std::string warning;
  EXPECT_EQ(ParseHost(":66000", 11434, &warning).Url(), "http://:11434");
  EXPECT_EQ(ParseHost("https://x:70000", 11434, nullptr).port, 443);
}

TEST(ParseHost, ShowsNoPassword) {
  std::string warning;
  (void)ParseHost("http://user:secret@example.com", 11434, &warning);
  EXPECT_EQ(warning, "invalid port, using default 80");
}

TEST(ParseHost, UsesTheGivenDefaultPortWhereNoneIsNamed) {
  EXPECT_EQ(ParseHost("0.0.0.0", 9999, nullptr).port, 9999);
  EXPECT_EQ(ParseHost("0.0.0.0:1234", 9999, nullptr).port, 1234);
  EXPECT_EQ(ParseHost("http://0.0.0.0", 9999, nullptr).port, 80);
}

}  // namespace
}  // namespace corral
