#include "registry/internal/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace corral::registry::internal {
namespace {

struct Network {
  std::array<std::uint8_t, 4> address;
  unsigned n_bits;
};

constexpr Network kPrivate4[] = {
    {{0, 0, 0, 0}, 8},      {{10, 0, 0, 0}, 8},    {{100, 64, 0, 0}, 10}, {{127, 0, 0, 0}, 8},
    {{169, 254, 0, 0}, 16}, {{172, 16, 0, 0}, 12}, {{192, 0, 0, 0}, 24},  {{192, 168, 0, 0}, 16},
    {{198, 18, 0, 0}, 15},  {{224, 0, 0, 0}, 4},   {{240, 0, 0, 0}, 4},
};

bool IsPrivate4(std::span<const std::uint8_t> address) {
  return std::any_of(std::begin(kPrivate4), std::end(kPrivate4), [address](const Network& network) {
    for (unsigned bit = 0; bit < network.n_bits; ++bit) {
      const unsigned mask = 0x80U >> (bit % 8);
      if ((address[bit / 8] & mask) != (network.address[bit / 8] & mask)) return false;
    }
    return true;
  });
}

bool StartsWith(std::span<const std::uint8_t> address, std::initializer_list<std::uint8_t> prefix) {
  return std::equal(prefix.begin(), prefix.end(), address.begin());
}

bool IsPrivate6(std::span<const std::uint8_t> address) {
  // ::, ::1, IPv4-mapped and -compatible addresses, NAT64, 6to4.
  const bool is_zero80 =
      std::all_of(address.begin(), address.begin() + 10, [](std::uint8_t b) { return b == 0; });
  if (is_zero80 &&
      ((address[10] == 0xFF && address[11] == 0xFF) || (address[10] == 0 && address[11] == 0))) {
    return IsPrivate4(address.subspan(12));
  }
  if (StartsWith(address, {0x00, 0x64, 0xFF, 0x9B})) return IsPrivate4(address.subspan(12));
  if (StartsWith(address, {0x20, 0x02})) return IsPrivate4(address.subspan(2, 4));
  const bool is_local = (address[0] & 0xFEU) == 0xFC;                    // fc00::/7
  const bool is_link = address[0] == 0xFE && (address[1] & 0x80U) != 0;  // fe80::/9
  const bool is_multicast = address[0] == 0xFF;                          // ff00::/8
  return is_local || is_link || is_multicast;
}

}  // namespace

bool IsPrivateAddress(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof(v4));
    std::array<std::uint8_t, 4> bytes{};
    std::memcpy(bytes.data(), &v4.sin_addr, bytes.size());
    return IsPrivate4(bytes);
  }
  if (address.sa_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof(v6));
    std::array<std::uint8_t, 16> bytes{};
    std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
    return IsPrivate6(bytes);
  }
  return true;
}

bool IsPrivateHost(std::string_view host) {
  if (host == "localhost" || host.ends_with(".localhost")) return true;
  const std::string text(host);
  std::array<std::uint8_t, 16> bytes{};
  if (inet_pton(AF_INET, text.c_str(), bytes.data()) == 1)
    return IsPrivate4(std::span(bytes).first(4));
  if (inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return IsPrivate6(bytes);
  return false;
}

}  // namespace corral::registry::internal
