// Which proxy a request goes through, by the environment, as Go's net/http has it
// (golang.org/x/net/http/httpproxy): HTTP_PROXY, HTTPS_PROXY, NO_PROXY or the same in lower case;
// this machine itself is never proxied. Pure.
#pragma once

#include <string>

#include "core/settings.h"

namespace corral {

// The proxy's URL; empty: none.
std::string ProxyFor(const Host& server, const Environment& environment);

// Whether `host` names this machine: localhost, a loopback address, an unspecified one or none at
// all.
bool IsThisMachine(const std::string& host);

}  // namespace corral
