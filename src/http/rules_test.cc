// Routes, origins, hosts: who is answered, and how, before a handler sees anything.
#include <gtest/gtest.h>

#include <string>

#include "http/internal/host_rule.h"
#include "http/internal/origins.h"
#include "http/internal/route_table.h"

namespace corral::http {
namespace {

using Kind = RouteMatch::Kind;
using Outcome = Origins::Decision::Outcome;

Handler Named(std::string* last, const std::string& name) {
  return [last, name](Exchange&) -> Task<> {
    *last = name;
    co_return;
  };
}

class RouteTableTest : public ::testing::Test {
 protected:
  RouteTableTest() {
    Router router;
    router.Add({"GET", "HEAD"}, "/", Named(&last_, "root"));
    router.Add({"GET"}, "/v1/models/{model...}", Named(&last_, "rest"));
    router.Add({"GET"}, "/v1/models/{model}", Named(&last_, "one"));
    router.Add({"GET"}, "/v1/models/special", Named(&last_, "literal"));
    router.Add({"POST", "HEAD"}, "/api/blobs/{digest}", Named(&last_, "blob"));
    router.Add({"DELETE"}, "/api/delete", Named(&last_, "delete"));
    router.Add({"POST"}, "/api/delete", Named(&last_, "post delete"));
    router.Add({"PUT"}, "/api/delete", Named(&last_, "put delete"));
    table_ = std::make_unique<RouteTable>(router);
  }
  std::string last_;
  std::unique_ptr<RouteTable> table_;
};

TEST_F(RouteTableTest, MatchesLiteralsBeforeParamsBeforeTheRest) {
  RouteMatch match = table_->Match("GET", "/v1/models/special");
  ASSERT_EQ(match.kind, Kind::kFound);
  EXPECT_TRUE(match.params.empty());
  match = table_->Match("GET", "/v1/models/x:7b");
  ASSERT_EQ(match.params.size(), 1U);
  EXPECT_EQ(match.params[0], (std::pair<std::string, std::string>("model", "x:7b")));
  match = table_->Match("GET", "/v1/models/ns/x");
  ASSERT_EQ(match.kind, Kind::kFound);
  EXPECT_EQ(match.params[0].second, "ns/x");
  EXPECT_EQ(table_->Match("GET", "/").kind, Kind::kFound);
}

TEST_F(RouteTableTest, AnEmptyParamIsNoMatch) {
  EXPECT_EQ(table_->Match("POST", "/api/blobs/").kind, Kind::kNotFound);
  EXPECT_EQ(table_->Match("POST", "/api/blobs").kind, Kind::kNotFound);
  EXPECT_EQ(table_->Match("GET", "/v1/models/").kind, Kind::kNotFound);
}

TEST_F(RouteTableTest, UnknownPathsAreNotFound) {
  for (const std::string path :
       {"", "*", "x", "/x", "/api", "/api/blobs/a/b", "/v1/models", "/API/delete"}) {
    EXPECT_EQ(table_->Match("GET", path).kind, Kind::kNotFound) << path;
  }
}

TEST_F(RouteTableTest, AWrongMethodGetsTheOthersInOllamasOrder) {
  RouteMatch match = table_->Match("PUT", "/");
  EXPECT_EQ(match.kind, Kind::kWrongMethod);
  EXPECT_EQ(match.allow, "HEAD, GET");
  EXPECT_EQ(table_->Match("GET", "/api/blobs/x").allow, "HEAD, POST");
  EXPECT_EQ(table_->Match("GET", "/api/delete").allow, "POST, DELETE, PUT");
  EXPECT_EQ(table_->Match("OPTIONS", "/api/delete").kind, Kind::kWrongMethod);
  EXPECT_EQ(table_->Match("get", "/").kind, Kind::kWrongMethod);
}

TEST_F(RouteTableTest, OneExtraSlashIsARedirectForTheSameMethodOnly) {
  RouteMatch match = table_->Match("POST", "/api/delete/");
  EXPECT_EQ(match.kind, Kind::kRedirect);
  EXPECT_EQ(match.redirect_path, "/api/delete");
  EXPECT_EQ(table_->Match("POST", "/api/blobs/x/").redirect_path, "/api/blobs/x");
  EXPECT_EQ(table_->Match("GET", "/api/delete/").kind, Kind::kNotFound);
  EXPECT_EQ(table_->Match("POST", "/api/delete//").kind, Kind::kNotFound);
}

std::vector<std::string> WarningsFor(std::vector<std::string> entries) {
  std::vector<std::string> warnings;
  const Origins origins(entries, &warnings);
  return warnings;
}

Outcome Check(const Origins& origins, std::string_view origin, std::string_view method = "GET") {
  return origins.Check(method, origin, "127.0.0.1:11434").outcome;
}

TEST(OriginsTest, LocalPagesAndAppsAreAllowedByDefault) {
  std::vector<std::string> warnings;
  const Origins origins({}, &warnings);
  EXPECT_TRUE(warnings.empty());
  for (const std::string origin :
       {"", "http://localhost", "https://localhost", "http://localhost:3000", "http://127.0.0.1",
        "https://127.0.0.1:1", "http://0.0.0.0:9", "app://x", "file://", "tauri://localhost",
        "vscode-webview://a", "vscode-file://b", "http://127.0.0.1:11434",
        "https://127.0.0.1:11434"}) {
    EXPECT_EQ(Check(origins, origin), Outcome::kContinue) << origin;
  }
  for (const std::string origin :
       {"http://evil.example", "http://localhost.evil.example", "http://LOCALHOST", "null",
        "localhost", "chrome-extension://abc", "moz-extension://abc", "ftp://localhost",
        "http://127.0.0.2"}) {
    EXPECT_EQ(Check(origins, origin), Outcome::kForbidden) << origin;
    EXPECT_EQ(Check(origins, origin, "OPTIONS"), Outcome::kForbidden) << origin;
  }
}

TEST(OriginsTest, SameOriginGetsNoHeaders) {
  std::vector<std::string> warnings;
  const Origins origins({"*"}, &warnings);
  EXPECT_TRUE(origins.Check("GET", "http://h:1", "h:1").headers.empty());
  EXPECT_FALSE(origins.Check("GET", "http://h:2", "h:1").headers.empty());
}

TEST(OriginsTest, ConfiguredEntriesAreTrimmedAndMatched) {
  std::vector<std::string> warnings;
  const Origins origins(
      {" https://Ai.Example ", "https://*.example.org", "chrome-extension://*", "", "  "},
      &warnings);
  EXPECT_TRUE(warnings.empty());
  EXPECT_EQ(Check(origins, "https://ai.example"), Outcome::kContinue);
  EXPECT_EQ(Check(origins, "https://Ai.Example"), Outcome::kForbidden);
  EXPECT_EQ(Check(origins, "https://a.b.example.org"), Outcome::kContinue);
  EXPECT_EQ(Check(origins, "https://.example.org"), Outcome::kContinue);
  EXPECT_EQ(Check(origins, "https://example.org"), Outcome::kForbidden);
  EXPECT_EQ(Check(origins, "https://a.example.org.evil"), Outcome::kForbidden);
  EXPECT_EQ(Check(origins, "chrome-extension://abc"), Outcome::kContinue);
}

TEST(OriginsTest, BadEntriesAreSkippedWithAWarning) {
  EXPECT_EQ(WarningsFor({"example.com"}).size(), 1U);
  EXPECT_EQ(WarningsFor({"http://*.a.*"}).size(), 1U);
  EXPECT_EQ(WarningsFor({"**"}).size(), 1U);
  EXPECT_EQ(
      WarningsFor({"safari-extension://x", "ms-browser-extension://y", "moz-extension://z"}).size(),
      0U);
}

TEST(OriginsTest, PreflightHeadersAreOllamasAndFourMore) {
  std::vector<std::string> warnings;
  const Origins origins({}, &warnings);
  const Origins::Decision decision = origins.Check("OPTIONS", "app://x", "h");
  EXPECT_EQ(decision.outcome, Outcome::kPreflight);
  ASSERT_EQ(decision.headers.size(), 7U);
  EXPECT_EQ(decision.headers[0].second, "app://x");
  EXPECT_EQ(decision.headers[1].second, "Origin");
  EXPECT_EQ(decision.headers[2].second, "Access-Control-Request-Method");
  EXPECT_EQ(decision.headers[3].second, "Access-Control-Request-Headers");
  EXPECT_EQ(decision.headers[5].second.substr(0, 27), "Authorization,Content-Type,");
  EXPECT_NE(decision.headers[5].second.find(
                ",X-Stainless-Timeout,x-api-key,anthropic-version,anthropic-beta,"),
            std::string::npos);
}

TEST(OriginsTest, AStarAllowsAllAndSaysSo) {
  std::vector<std::string> warnings;
  const Origins origins({"*"}, &warnings);
  const Origins::Decision simple = origins.Check("GET", "http://evil.example", "h");
  ASSERT_EQ(simple.headers.size(), 1U);
  EXPECT_EQ(simple.headers[0].second, "*");
  EXPECT_EQ(origins.Check("OPTIONS", "http://evil.example", "h").headers.size(), 4U);
}

HostRule MakeRule(bool is_loopback, const std::vector<std::string>& allowed = {}) {
  HostRule rule(is_loopback, allowed);
  rule.ReplaceHostFacts("MyMachine", [](std::string_view ip) { return ip == "203.0.113.7"; });
  return rule;
}

TEST(HostRuleTest, LoopbackServersKnowTheirNames) {
  const HostRule rule = MakeRule(true);
  for (const std::string host : {"", "localhost", "LOCALHOST:11434", "localhost:", "mymachine",
                                 "MYMACHINE:1", "a.localhost", "a.LOCAL", "b.internal:80"}) {
    EXPECT_EQ(rule.Check(host), HostRule::Outcome::kPassByName) << host;
  }
  for (const std::string host :
       {"127.0.0.1", "127.9.9.9:1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1:80",
        "0.0.0.0", "[::1]:11434", "[::1]", "::1", "[::]", "[fd00::1]:80", "[fc00::1]",
        "203.0.113.7:11434", "[::ffff:10.0.0.1]:80", "[::ffff:127.0.0.1]"}) {
    EXPECT_EQ(rule.Check(host), HostRule::Outcome::kPass) << host;
  }
  for (const std::string host :
       {"evil.example", "evil.example:11434", "localhost.evil.example", "xlocalhost", "local",
        "internal", "8.8.8.8", "172.32.0.1", "172.15.0.1", "192.169.0.1", "[2001:db8::1]:80",
        "a:b:c", "[::1", "127.0.0.1.evil.example", "0x7f.1", "2130706433", "127.1",
        "[::ffff:8.8.8.8]"}) {
    EXPECT_EQ(rule.Check(host), HostRule::Outcome::kForbidden) << host;
  }
}

TEST(HostRuleTest, OtherServersHaveNoRuleUnlessNamesAreListed) {
  EXPECT_EQ(MakeRule(false).Check("evil.example"), HostRule::Outcome::kPass);
  const HostRule rule =
      MakeRule(false, {" Ai.Example.com:443 ", "*.corp.example", "198.51.100.1", ""});
  EXPECT_EQ(rule.Check("evil.example"), HostRule::Outcome::kForbidden);
  EXPECT_EQ(rule.Check("ai.example.COM:11434"), HostRule::Outcome::kPassByName);
  EXPECT_EQ(rule.Check("x.ai.example.com"), HostRule::Outcome::kForbidden);
  EXPECT_EQ(rule.Check("a.b.corp.example"), HostRule::Outcome::kPassByName);
  EXPECT_EQ(rule.Check("corp.example"), HostRule::Outcome::kForbidden);
  EXPECT_EQ(rule.Check("198.51.100.1:80"), HostRule::Outcome::kPass);
  EXPECT_EQ(rule.Check("localhost"), HostRule::Outcome::kPassByName);
  EXPECT_EQ(rule.Check("192.168.1.5"), HostRule::Outcome::kPass);
  EXPECT_EQ(MakeRule(false, {""}).Check("evil.example"), HostRule::Outcome::kPass);
}

}  // namespace
}  // namespace corral::http
