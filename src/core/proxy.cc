#include "core/proxy.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "core/text.h"

namespace corral {
namespace {

// 4 or 16 bytes in network order.
using Address = std::vector<std::uint8_t>;

std::optional<Address> ParseAddress(const std::string& text) {
  std::array<std::uint8_t, 16> bytes{};
  if (inet_pton(AF_INET, text.c_str(), bytes.data()) == 1)
    return Address(bytes.begin(), bytes.begin() + 4);
  if (inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) {
    constexpr std::array<std::uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (std::equal(kMapped.begin(), kMapped.end(), bytes.begin()))
      return Address(bytes.begin() + 12, bytes.end());
    return Address(bytes.begin(), bytes.end());
  }
  return std::nullopt;
}

bool IsInNetwork(const Address& address, const Address& network, std::size_t n_bits) {
  if (address.size() != network.size() || n_bits > address.size() * 8) return false;
  for (std::size_t bit = 0; bit < n_bits; ++bit) {
    const auto mask = static_cast<std::uint8_t>(0x80U >> (bit % 8));
    if ((address[bit / 8] & mask) != (network[bit / 8] & mask)) return false;
  }
  return true;
}

std::string WithoutBrackets(std::string_view host) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  return std::string(host);
}

// Splits "name:80" and "[::1]:80"; `port` stays empty where there is none.
void SplitPort(std::string_view entry, std::string* host, std::string* port) {
  const std::size_t colon = entry.rfind(':');
  const bool is_bare_v6 = entry.find(':') != colon && entry.front() != '[';
  if (colon == std::string_view::npos || is_bare_v6 || entry.back() == ']') {
    *host = WithoutBrackets(entry);
    return;
  }
  *host = WithoutBrackets(entry.substr(0, colon));
  *port = std::string(entry.substr(colon + 1));
}

bool Excludes(std::string_view entry, const std::string& host,
              const std::optional<Address>& address, std::uint16_t port) {
  if (entry.empty()) return false;
  if (entry == "*") return true;
  if (const std::size_t slash = entry.find('/'); slash != std::string_view::npos) {
    const std::optional<Address> network = ParseAddress(std::string(entry.substr(0, slash)));
    const std::optional<std::uint64_t> n_bits = ParseUint(entry.substr(slash + 1));
    return network && n_bits && address && IsInNetwork(*address, *network, *n_bits);
  }
  std::string name;
  std::string entry_port;
  SplitPort(entry, &name, &entry_port);
  if (name.empty() || (!entry_port.empty() && entry_port != std::to_string(port))) return false;
  if (const std::optional<Address> excluded = ParseAddress(name))
    return address && *excluded == *address;
  if (name.starts_with("*.")) name.erase(0, 1);
  if (name.front() == '.') return host.ends_with(name);  // its subdomains only
  return host == name || host.ends_with("." + name);
}

std::string FirstOf(const Environment& environment, std::string_view name, std::string_view lower) {
  if (const auto value = environment(name); value && !value->empty()) return *value;
  return environment(lower).value_or("");
}

}  // namespace

bool IsThisMachine(const std::string& host) {
  const std::string name = WithoutBrackets(host);
  if (name.empty() || name == "localhost") return true;
  const std::optional<Address> address = ParseAddress(name);
  if (!address) return false;
  if (std::all_of(address->begin(), address->end(), [](std::uint8_t byte) { return byte == 0; }))
    return true;
  if (address->size() == 4) return (*address)[0] == 127;
  return address->back() == 1 && std::all_of(address->begin(), address->end() - 1,
                                             [](std::uint8_t byte) { return byte == 0; });
}

std::string ProxyFor(const Host& server, const Environment& environment) {
  std::string proxy = server.scheme == "https" ? FirstOf(environment, "HTTPS_PROXY", "https_proxy")
                                               : FirstOf(environment, "HTTP_PROXY", "http_proxy");
  if (proxy.empty() || IsThisMachine(server.host)) return "";
  const std::string host = ToLowerAscii(WithoutBrackets(server.host));
  const std::optional<Address> address = ParseAddress(host);
  const std::string excluded = ToLowerAscii(FirstOf(environment, "NO_PROXY", "no_proxy"));
  for (const std::string_view entry : Split(excluded, ','))
    if (Excludes(TrimSpace(entry), host, address, server.port)) return "";
  if (proxy.find("://") == std::string::npos) proxy.insert(0, "http://");
  return proxy;
}

}  // namespace corral
