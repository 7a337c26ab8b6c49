// What the connections of one server share. The rules are constant after Start; the rest is
// thread-safe by itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "http/http.h"
#include "http/internal/blocking_pool.h"
#include "http/internal/host_rule.h"
#include "http/internal/origins.h"
#include "http/internal/registry.h"
#include "http/internal/route_table.h"

namespace corral::http {

struct ServerState {
  ServerState(ServerOptions server_options, const Router& router, bool is_loopback_bind,
              std::vector<std::string>* warnings);

  // 16 hex digits, different for each request of this process and, most likely, of all others.
  std::string NewRequestId();

  const ServerOptions options;
  const RouteTable routes;
  const Origins origins;
  const HostRule host_rule;
  Registry registry;
  BlockingPool pool;

 private:
  const std::uint64_t id_seed_;
  std::atomic<std::uint64_t> n_ids_{0};
};

}  // namespace corral::http
