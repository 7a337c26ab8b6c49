// Which addresses are nobody's business from outside: this machine, its networks, and what stands
// for them.
//
// Source: the special-purpose registries of IANA (RFC 6890 and what followed). Pure. Thread-safe.
#pragma once

#include <sys/socket.h>

#include <string_view>

namespace corral::registry::internal {

// Loopback, private, link-local, shared (carrier NAT), multicast, unspecified, reserved; IPv6 that
// carries such an IPv4 address. True also for what is neither IPv4 nor IPv6.
bool IsPrivateAddress(const sockaddr& address);
// The same of an address written as text, or of "localhost" and names below it; false for other
// names.
bool IsPrivateHost(std::string_view host);

}  // namespace corral::registry::internal
