#include "registry/internal/auth.h"

#include <gtest/gtest.h>

#include "core/text.h"

namespace corral::registry::internal {
namespace {

TEST(Challenge, IsReadAsOllamaReadsIt) {
  const auto challenge = ParseChallenge(
      R"(Bearer realm="https://r/token",service="reg",scope="repository:library/m:pull")");
  ASSERT_TRUE(challenge);
  EXPECT_EQ(challenge->scheme, Challenge::Scheme::kBearer);
  EXPECT_EQ(challenge->realm, "https://r/token");
  EXPECT_EQ(challenge->service, "reg");
  EXPECT_EQ(challenge->scope, "repository:library/m:pull");
  EXPECT_EQ(ParseChallenge(R"(bearer realm="https://r", scope="a,b")")->scope, "a,b");
  EXPECT_EQ(ParseChallenge(R"(Bearer realm="a"b",service="x")")->realm, "a\"b");
  EXPECT_EQ(ParseChallenge(R"(Bearer xrealm="a",realm="b")")->realm, "b");
  EXPECT_EQ(ParseChallenge("Basic realm=\"x\"")->scheme, Challenge::Scheme::kBasic);
}

TEST(Challenge, IsNoneWithoutAKnownSchemeOrARealm) {
  for (const char* header : {"", "Bearer", "Bearer realm=", "Bearer realm=\"", "Digest realm=\"x\"",
                             "Bearer service=\"x\"", "Bearer realm=\"x"}) {
    EXPECT_FALSE(ParseChallenge(header)) << header;
  }
}

TEST(TokenUrl, HasItsKeysSortedAndOneScopeAWord) {
  const Challenge challenge{Challenge::Scheme::kBearer, "https://r/token", "reg",
                            "repository:library/m:pull repository:a/b:push"};
  EXPECT_EQ(TokenUrl(challenge, "n0nce-_", 1700000000)->text,
            "https://r/token?nonce=n0nce-_&scope=repository%3Alibrary%2Fm%3Apull&scope=repository%"
            "3Aa%2Fb%3Apush&service=reg&ts=1700000000");
  EXPECT_FALSE(TokenUrl({Challenge::Scheme::kBearer, "file:///etc/passwd", "", ""}, "n", 1));
}

TEST(Nonce, Is16BytesInBase64Url) {
  const std::string nonce = MakeNonce();
  EXPECT_EQ(nonce.size(), 22U);
  EXPECT_EQ(nonce.find_first_of("+/="), std::string::npos);
  EXPECT_NE(nonce, MakeNonce());
}

TEST(Token, IsAnyOfTheTwoNames) {
  EXPECT_EQ(ParseToken(R"({"token":"a"})").value(), "a");
  EXPECT_EQ(ParseToken(R"({"access_token":"b","expires_in":60})").value(), "b");
  for (const char* text : {"", "{}", "[]", R"({"token":7})", R"({"token":"a\r\nX: y"})"})
    EXPECT_FALSE(ParseToken(text)) << text;
}

TEST(Credentials, AreDockers) {
  const Credentials credentials = ParseCredentials(
      R"({"auths":{"r.example:5000":{"auth":"dTpw"},"https://Index.docker.io/v1/":{"auth":"eA=="},
          "u.example":{"username":"u","password":"p"},"none":{},"bad":{"auth":"a\nb"},"odd":7},
          "credsStore":"x"})");
  EXPECT_EQ(credentials.size(), 3U);
  EXPECT_EQ(credentials.at("r.example:5000"), "Basic dTpw");
  EXPECT_EQ(credentials.at("index.docker.io"), "Basic eA==");
  EXPECT_EQ(credentials.at("u.example"), "Basic " + Base64Encode("u:p"));
  EXPECT_TRUE(ParseCredentials("{").empty());
  EXPECT_TRUE(ParseCredentials(R"({"auths":[1]})").empty());
  EXPECT_TRUE(LoadCredentials("/nonexistent/config.json").empty());
}

}  // namespace
}  // namespace corral::registry::internal
