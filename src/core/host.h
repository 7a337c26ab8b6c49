// What this machine, as the container sees it, allows: processors and memory. Pure readers of
// /proc, /sys/fs/cgroup and /sys/devices/system/cpu below a root folder that tests replace. What
// can't be read counts as no limit.
//
// cgroup v1, v2 and both at once; limits of all groups from this process' own up to the top that is
// visible count, the tightest wins. Thread-safe, blocking (small reads).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace corral {

struct HostFacts {
  int physical_cores = 1;  // of the cpuset this process may use
  int logical_cpus = 1;    // of the cpuset
  double cpu_quota =
      0;  // processors by the cgroup's quota (v1 or v2, the tightest of the nested groups); 0: none
  std::int64_t memory_total_bytes =
      0;  // the least of the host's and the cgroup's limits; 0: unknown
  std::int64_t memory_available_bytes =
      0;  // cgroup: limit - (usage - inactive_file); host: MemAvailable; the least
  // Threads for computing: min(physical cores, quota rounded up), at least 1.
  int ComputeThreads() const;
};

// How our clients name themselves, "ollama/0.32.1 (amd64 linux) corral/0.1.0": with Ollama's
// version first, as Ollama does, because registries and servers look at it.
std::string UserAgent(std::string_view ollama_version, std::string_view corral_version);

HostFacts ReadHostFacts(const std::filesystem::path& root = "/");

}  // namespace corral
