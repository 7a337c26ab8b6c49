// Addresses of the web, as far as a registry needs them. Values; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace corral::registry::internal {

struct Url {
  std::string text;    // as it is sent to the server
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case; IPv6 without brackets
  std::uint16_t port = 0;
  std::string authority;  // "host:port" as written, Go's URL.Host

  bool HasSameOrigin(const Url& other) const {
    return scheme == other.scheme && host == other.host && port == other.port;
  }
};

// Only http and https with a host and without a user. Errors: kInvalidArgument.
Result<Url> ParseUrl(std::string_view text);
// `reference` as a Location header means it in a reply of `base`. Errors: kInvalidArgument.
Result<Url> ResolveUrl(const Url& base, std::string_view reference);
// The text as one part of a query: all but letters, digits and "-_.~" as %XX.
std::string EncodeQuery(std::string_view text);

}  // namespace corral::registry::internal
