#include "registry/internal/url.h"

#include <gtest/gtest.h>

namespace corral::registry::internal {
namespace {

TEST(Url, HasItsPartsAndTheDefaultPort) {
  const auto url = ParseUrl("https://Registry.Example/v2/a/b?x=1");
  ASSERT_TRUE(url) << url.error().message;
  EXPECT_EQ(url->scheme, "https");
  EXPECT_EQ(url->host, "registry.example");
  EXPECT_EQ(url->port, 443);
  EXPECT_EQ(url->authority, "registry.example");
  const auto local = ParseUrl("http://[::1]:5000/v2/");
  ASSERT_TRUE(local);
  EXPECT_EQ(local->host, "::1");
  EXPECT_EQ(local->authority, "[::1]:5000");
}

TEST(Url, IsOnlyOfTheWebAndNamesNoUser) {
  for (const char* text : {"ftp://h/x", "file:///etc/passwd", "http://", "http://user@h/",
                           "h:99999", "http://h:0/", "gopher://h", "http://h/\r\nX: y"}) {
    EXPECT_FALSE(ParseUrl(text)) << text;
  }
}

TEST(Url, ResolvesWhatALocationHeaderSays) {
  const auto base = ParseUrl("https://r.example:5000/v2/library/m/blobs/x");
  ASSERT_TRUE(base);
  EXPECT_EQ(ResolveUrl(*base, "https://cdn.example/x?sig=a%2Fb&e=1")->text,
            "https://cdn.example/x?sig=a%2Fb&e=1");
  EXPECT_EQ(ResolveUrl(*base, "/other")->text, "https://r.example:5000/other");
  EXPECT_EQ(ResolveUrl(*base, "//h.example/y")->text, "https://h.example/y");
  EXPECT_FALSE(ResolveUrl(*base, "file:///etc/passwd"));
  EXPECT_FALSE(ResolveUrl(*base, "http://a:b@h/"));
}

TEST(Url, OriginsDifferByEachPart) {
  const auto at = [](const char* text) { return ParseUrl(text).value(); };
  EXPECT_TRUE(at("https://a/x").HasSameOrigin(at("https://A:443/y")));
  EXPECT_FALSE(at("https://a/x").HasSameOrigin(at("http://a/x")));
  EXPECT_FALSE(at("https://a/x").HasSameOrigin(at("https://a:444/x")));
  EXPECT_FALSE(at("https://a/x").HasSameOrigin(at("https://a.b/x")));
}

TEST(Url, QueriesAreEncodedAsGoDoes) {
  EXPECT_EQ(EncodeQuery("repository:library/m:pull,push"),
            "repository%3Alibrary%2Fm%3Apull%2Cpush");
  EXPECT_EQ(EncodeQuery("a-b_c.d~"), "a-b_c.d~");
}

}  // namespace
}  // namespace corral::registry::internal
