// The Host rule against DNS rebinding (CVE-2024-28224): a page of evil.example that resolves to
// 127.0.0.1 still sends its own name as Host. Ollama's rule (server/routes.go,
// allowedHostsMiddleware) for a loopback address; with `allowed_hosts` set, the same rule and these
// names on any address. Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace corral::http {

class HostRule {
 public:
  // `allowed_hosts`: names or addresses, without a port; "*.example.com" is every name below
  // example.com.
  HostRule(bool is_loopback_bind, const std::vector<std::string>& allowed_hosts);

  enum class Outcome {
    kPass,
    kPassByName,  // an allowed name: OPTIONS is answered with 204 at once
    kForbidden,   // 403, empty body
  };
  // `host`: the Host field as sent, with or without a port.
  Outcome Check(std::string_view host) const;

  // For tests: the machine's name and whether an address is one of its interfaces'.
  void ReplaceHostFacts(std::string machine_name,
                        std::function<bool(std::string_view)> is_local_ip);

 private:
  bool IsListed(std::string_view lower_host) const;

  bool applies_;
  std::vector<std::string> allowed_hosts_;  // lower case
  std::string machine_name_;                // lower case
  std::function<bool(std::string_view)> is_local_ip_;
};

// "host:port" without its port, "[::1]" without brackets; anything else as it is.
std::string_view StripPort(std::string_view host);

}  // namespace corral::http
