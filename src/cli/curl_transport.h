// HTTP by libcurl, to the server that the settings name.
#pragma once

#include <memory>
#include <string>

#include "cli/client.h"
#include "core/settings.h"

namespace corral::cli {

struct CurlOptions {
  Host server;
  std::string proxy;  // URL; empty: none
  std::string user_agent;
  std::string abstract_socket = {};  // instead of the network, unix(7); empty: none
  std::string ca_file;  // more authorities to trust (SSL_CERT_FILE); empty: the system's
};

// Used by one thread at a time; a StopToken may stop it from another. Keeps its connection open
// between requests.
std::unique_ptr<Transport> MakeCurlTransport(CurlOptions options);

}  // namespace corral::cli
