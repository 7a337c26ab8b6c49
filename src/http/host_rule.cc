#include "http/internal/host_rule.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "http/internal/head.h"

namespace corral::http {
namespace {

// Always 16 bytes; IPv4 as ::ffff:a.b.c.d.
using Ip = std::array<unsigned char, 16>;

Ip Mapped(const in_addr& v4) {
  Ip ip{};
  ip[10] = ip[11] = 0xFF;
  std::memcpy(ip.data() + 12, &v4, 4);
  return ip;
}

std::optional<Ip> ParseIp(std::string_view text) {
  const std::string address(
      text.substr(0, text.find('%')));  // without the zone of a link-local one
  in_addr v4{};
  if (text.size() == address.size() && inet_pton(AF_INET, address.c_str(), &v4) == 1) {
    return Mapped(v4);
  }
  Ip ip{};
  if (inet_pton(AF_INET6, address.c_str(), ip.data()) == 1) return ip;
  return std::nullopt;
}

bool IsV4(const Ip& ip) { return std::memcmp(ip.data(), Mapped(in_addr{}).data(), 12) == 0; }

bool IsLoopbackPrivateOrUnspecified(const Ip& ip) {
  if (IsV4(ip)) {
    const unsigned a = ip[12];
    const unsigned b = ip[13];
    const bool is_unspecified = (a | b | ip[14] | ip[15]) == 0;
    return is_unspecified || a == 127 || a == 10 || (a == 172 && (b & 0xF0U) == 16) ||
           (a == 192 && b == 168);
  }
  Ip loopback{};
  loopback[15] = 1;
  return ip == Ip{} || ip == loopback || (ip[0] & 0xFEU) == 0xFC;
}

bool IsInterfaceAddress(std::string_view text) {
  const std::optional<Ip> wanted = ParseIp(text);
  if (!wanted) return false;
  ifaddrs* raw = nullptr;
  if (getifaddrs(&raw) != 0) return false;
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> list(raw, &freeifaddrs);
  for (const ifaddrs* entry = list.get(); entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    if (entry->ifa_addr->sa_family == AF_INET) {
      sockaddr_in v4{};
      std::memcpy(&v4, entry->ifa_addr, sizeof(v4));
      if (Mapped(v4.sin_addr) == *wanted) return true;
    } else if (entry->ifa_addr->sa_family == AF_INET6) {
      sockaddr_in6 v6{};
      std::memcpy(&v6, entry->ifa_addr, sizeof(v6));
      if (std::memcmp(&v6.sin6_addr, wanted->data(), 16) == 0) return true;
    }
  }
  return false;
}

std::string MachineName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return {};
  return ToLower(name.data());
}

bool EndsWith(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}

}  // namespace

std::string_view StripPort(std::string_view host) {
  const std::size_t colon = host.rfind(':');
  if (!host.empty() && host.front() == '[') {
    const std::size_t close = host.find(']');
    if (close == std::string_view::npos) return host;
    const bool ends_well = close + 1 == host.size() || close + 1 == colon;
    return ends_well ? host.substr(1, close - 1) : host;
  }
  if (colon == std::string_view::npos || host.find(':') != colon)
    return host;  // none, or bare IPv6
  return host.substr(0, colon);
}

HostRule::HostRule(bool is_loopback_bind, const std::vector<std::string>& allowed_hosts)
    : applies_(is_loopback_bind), machine_name_(MachineName()), is_local_ip_(IsInterfaceAddress) {
  for (const std::string& entry : allowed_hosts) {
    const std::string_view name = StripPort(TrimBlanks(entry));
    if (!name.empty()) allowed_hosts_.push_back(ToLower(name));
  }
  applies_ = applies_ || !allowed_hosts_.empty();
}

void HostRule::ReplaceHostFacts(std::string machine_name,
                                std::function<bool(std::string_view)> is_local_ip) {
  machine_name_ = ToLower(machine_name);
  is_local_ip_ = std::move(is_local_ip);
}

bool HostRule::IsListed(std::string_view lower_host) const {
  for (const std::string_view entry : allowed_hosts_) {
    if (entry == "*" || entry == lower_host) return true;
    if (entry.substr(0, 2) == "*." && lower_host.size() >= entry.size() &&
        EndsWith(lower_host, entry.substr(1))) {
      return true;
    }
  }
  return false;
}

HostRule::Outcome HostRule::Check(std::string_view host) const {
  if (!applies_) return Outcome::kPass;
  const std::string name = ToLower(StripPort(host));
  if (const std::optional<Ip> ip = ParseIp(name)) {
    if (IsLoopbackPrivateOrUnspecified(*ip) || IsListed(name) || is_local_ip_(name)) {
      return Outcome::kPass;
    }
    return Outcome::kForbidden;
  }
  if (name.empty() || name == "localhost" || name == machine_name_ ||
      EndsWith(name, ".localhost") || EndsWith(name, ".local") || EndsWith(name, ".internal") ||
      IsListed(name)) {
    return Outcome::kPassByName;
  }
  return Outcome::kForbidden;
}

}  // namespace corral::http
