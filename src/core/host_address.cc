// OLLAMA_HOST: scheme, host, port and path, as Ollama's envconfig.Host reads them.
#include <arpa/inet.h>
#include <netinet/in.h>

#include <array>
#include <cstring>
#include <optional>

#include "core/settings.h"
#include "core/text.h"

namespace corral {
namespace {

struct HostPort {
  std::string_view host;
  std::string_view port;
};

// Go's net.SplitHostPort: nullopt without a port, with a bare IPv6 address, or with stray brackets.
std::optional<HostPort> SplitHostPort(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  HostPort result{text.substr(0, colon), text.substr(colon + 1)};
  if (text[0] == '[') {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos || end + 1 != colon) return std::nullopt;
    result.host = text.substr(1, end - 1);
  } else if (result.host.find(':') != std::string_view::npos) {
    return std::nullopt;
  }
  constexpr std::string_view kBrackets = "[]";
  if (result.host.find_first_of(kBrackets) != std::string_view::npos ||
      result.port.find_first_of(kBrackets) != std::string_view::npos) {
    return std::nullopt;
  }
  return result;
}

// The usual spelling of an IP address (Go's net.IP.String); nullopt if `text` is none.
std::optional<std::string> CanonicalIp(std::string_view text) {
  const std::string address(text);
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  in_addr v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) {
    return inet_ntop(AF_INET, &v4, buffer.data(), buffer.size());
  }
  in6_addr v6{};
  if (inet_pton(AF_INET6, address.c_str(), &v6) != 1) return std::nullopt;
  if (IN6_IS_ADDR_V4MAPPED(&v6)) {
    return inet_ntop(AF_INET, &v6.s6_addr[12], buffer.data(), buffer.size());
  }
  return inet_ntop(AF_INET6, &v6, buffer.data(), buffer.size());
}

std::string_view TrimBrackets(std::string_view text) {
  while (!text.empty() && (text.front() == '[' || text.front() == ']')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == '[' || text.back() == ']')) text.remove_suffix(1);
  return text;
}

}  // namespace

std::string Host::Url() const {
  const bool is_v6 = host.find(':') != std::string::npos;
  return scheme + "://" + (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port) + path;
}

Host ParseHost(std::string_view text, std::uint16_t default_port, std::string* warning) {
  const std::string clean = CleanValue(text);
  std::string_view rest = TrimSpace(clean);
  Host result;
  if (const std::size_t mark = rest.find("://"); mark != std::string_view::npos) {
    result.scheme = rest.substr(0, mark);
    rest.remove_prefix(mark + 3);
    if (result.scheme == "http") default_port = 80;
    if (result.scheme == "https") default_port = 443;
  } else if (rest == "ollama.com") {
    result.scheme = "https";
    default_port = 443;
  }
  if (const std::size_t slash = rest.find('/'); slash != std::string_view::npos) {
    std::string_view path = rest.substr(slash);
    while (path.ends_with('/')) path.remove_suffix(1);
    result.path = path;
    rest = rest.substr(0, slash);
  }
  result.port = default_port;
  const std::optional<HostPort> parts = SplitHostPort(rest);
  if (!parts) {
    if (auto ip = CanonicalIp(TrimBrackets(rest))) {
      result.host = std::move(*ip);
    } else if (!rest.empty()) {
      // A name; or an IPv6 address with a zone, whose brackets Url() puts back.
      result.host = rest.find(':') != std::string_view::npos ? TrimBrackets(rest) : rest;
    }
    return result;
  }
  result.host = parts->host;
  const std::optional<std::int64_t> port = ParseInt(parts->port);
  if (port && *port >= 0 && *port <= 65'535) {
    result.port = static_cast<std::uint16_t>(*port);
  } else if (warning != nullptr) {
    // After a stray "user:" the port may be a password.
    const bool may_show = parts->port.find('@') == std::string_view::npos;
    *warning = "invalid port" + (may_show ? " " + GoQuote(parts->port) : "") + ", using default " +
               std::to_string(default_port);
  }
  return result;
}

}  // namespace corral
