#include "http/internal/origins.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "http/internal/head.h"

namespace corral::http {
namespace {

constexpr std::string_view kMethods = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS";
// Ollama's list (server/routes.go), then the four that browsers send to the Anthropic dialect.
constexpr std::string_view kHeaders =
    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,"
    "X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,"
    "X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,"
    "X-Stainless-Runtime,X-Stainless-Runtime-Version,X-Stainless-Timeout,"
    "x-api-key,anthropic-version,anthropic-beta,anthropic-dangerous-direct-browser-access";
constexpr std::string_view kMaxAge = "43200";  // 12 h

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}
bool EndsWith(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}

}  // namespace

Origins::Origins(const std::vector<std::string>& entries, std::vector<std::string>* warnings) {
  for (const std::string& entry : entries) Add(entry, warnings);
  for (const std::string host : {"localhost", "127.0.0.1", "0.0.0.0"}) {
    Add("http://" + host, warnings);
    Add("https://" + host, warnings);
    Add("http://" + host + ":*", warnings);
    Add("https://" + host + ":*", warnings);
  }
  for (const std::string_view scheme : {"app", "file", "tauri", "vscode-webview", "vscode-file"}) {
    Add(std::string(scheme) + "://*", warnings);
  }
}

void Origins::Add(std::string_view entry, std::vector<std::string>* warnings) {
  const std::string_view clean = TrimBlanks(entry);
  if (clean.empty()) return;
  const auto n_stars = std::count(clean.begin(), clean.end(), '*');
  if (clean == "*") {
    allows_all_ = true;
  } else if (n_stars > 1) {
    warnings->push_back("origin '" + std::string(clean) + "' is ignored: only one * is allowed");
  } else if (n_stars == 1) {
    const std::size_t star = clean.find('*');
    wildcards_.emplace_back(clean.substr(0, star), clean.substr(star + 1));
  } else {
    std::string lower = ToLower(clean);
    constexpr std::array<std::string_view, 6> kSchemes = {"http://",
                                                          "https://",
                                                          "chrome-extension://",
                                                          "safari-extension://",
                                                          "moz-extension://",
                                                          "ms-browser-extension://"};
    const bool has_scheme = std::any_of(kSchemes.begin(), kSchemes.end(),
                                        [&](std::string_view s) { return StartsWith(lower, s); });
    if (has_scheme) {
      exact_.push_back(std::move(lower));
    } else {
      warnings->push_back("origin '" + std::string(clean) +
                          "' is ignored: origins must contain '*' or start with http://, https:// "
                          "or a browser extension's scheme");
    }
  }
}

bool Origins::IsAllowed(std::string_view origin) const {
  if (allows_all_) return true;
  if (std::find(exact_.begin(), exact_.end(), origin) != exact_.end()) return true;
  return std::any_of(wildcards_.begin(), wildcards_.end(), [&](const auto& wildcard) {
    const auto& [before, after] = wildcard;
    return origin.size() >= before.size() + after.size() && StartsWith(origin, before) &&
           EndsWith(origin, after);
  });
}

Origins::Decision Origins::Check(std::string_view method, std::string_view origin,
                                 std::string_view host) const {
  Decision decision;
  if (origin.empty()) return decision;
  if ((StartsWith(origin, "http://") && origin.substr(7) == host) ||
      (StartsWith(origin, "https://") && origin.substr(8) == host)) {
    return decision;  // same origin
  }
  if (!IsAllowed(origin)) {
    decision.outcome = Decision::Outcome::kForbidden;
    return decision;
  }
  const std::string allowed(allows_all_ ? std::string_view("*") : origin);
  decision.headers.emplace_back("Access-Control-Allow-Origin", allowed);
  if (!allows_all_) decision.headers.emplace_back("Vary", "Origin");
  if (method != "OPTIONS") return decision;
  decision.outcome = Decision::Outcome::kPreflight;
  if (!allows_all_) {
    decision.headers.emplace_back("Vary", "Access-Control-Request-Method");
    decision.headers.emplace_back("Vary", "Access-Control-Request-Headers");
  }
  decision.headers.emplace_back("Access-Control-Allow-Methods", kMethods);
  decision.headers.emplace_back("Access-Control-Allow-Headers", kHeaders);
  decision.headers.emplace_back("Access-Control-Max-Age", kMaxAge);
  return decision;
}

}  // namespace corral::http
