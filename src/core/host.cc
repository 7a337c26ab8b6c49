#include "core/host.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/text.h"

namespace corral {
namespace {

using Path = std::filesystem::path;

constexpr std::int64_t kMostBytes = std::numeric_limits<std::int64_t>::max();
constexpr int kMostCpus = 65'536;  // no kernel has more; keeps a broken list from filling memory

std::optional<std::string> ReadText(const Path& file) {
  std::ifstream stream(file);
  if (!stream) return std::nullopt;
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (stream.bad()) return std::nullopt;
  return text;
}

// The parts between blanks, without empty ones.
std::vector<std::string_view> Words(std::string_view text) {
  std::vector<std::string_view> words;
  constexpr std::string_view kBlanks = " \t\n";
  for (;;) {
    const std::size_t start = text.find_first_not_of(kBlanks);
    if (start == std::string_view::npos) return words;
    text.remove_prefix(start);
    const std::size_t end = std::min(text.find_first_of(kBlanks), text.size());
    words.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

// The first word of a file as a number. nullopt: no such file, or "max".
std::optional<std::int64_t> ReadNumber(const Path& file) {
  const auto text = ReadText(file);
  if (!text) return std::nullopt;
  const auto words = Words(*text);
  return words.empty() ? std::nullopt : ParseInt(words[0]);
}

// The number behind `name` (with its colon, if it has one) in a file of lines "name number".
std::optional<std::int64_t> FindNumber(std::string_view text, std::string_view name) {
  for (const std::string_view line : Split(text, '\n')) {
    const auto words = Words(line);
    if (words.size() >= 2 && words[0] == name) return ParseInt(words[1]);
  }
  return std::nullopt;
}

// "0-3,8" as a set; empty if it is no list.
std::set<int> ParseCpuList(std::string_view text) {
  std::set<int> cpus;
  const auto words = Words(text);
  if (words.size() != 1) return {};
  for (const std::string_view part : Split(words[0], ',')) {
    const std::size_t dash = part.find('-');
    const auto first = ParseUint(part.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : ParseUint(part.substr(dash + 1));
    if (!first || !last || *last < *first || *last >= kMostCpus) return {};
    for (std::uint64_t cpu = *first; cpu <= *last; ++cpu) cpus.insert(static_cast<int>(cpu));
  }
  return cpus;
}

// ---- where the groups of this process are ----

struct Mount {
  std::string group;  // the part of the hierarchy that is mounted: field 4 of mountinfo
  Path folder;
  std::vector<std::string> controllers;  // v1; empty for v2
  bool is_v2 = false;
};

// A space, a tab, a line's end and a backslash are \040, \011, \012 and \134 there (proc(5)).
std::string UnescapeMountPath(std::string_view text) {
  std::string path;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto is_octal = [&](std::size_t at) {
      return at < text.size() && text[at] >= '0' && text[at] <= '7';
    };
    if (text[i] == '\\' && is_octal(i + 1) && is_octal(i + 2) && is_octal(i + 3)) {
      path += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                (text[i + 3] - '0'));
      i += 3;
    } else {
      path += text[i];
    }
  }
  return path;
}

std::vector<Mount> ReadMounts(const Path& root) {
  std::vector<Mount> mounts;
  const std::string text = ReadText(root / "proc/self/mountinfo").value_or("");
  for (const std::string_view line : Split(text, '\n')) {
    // 36 35 98:0 /group /sys/fs/cgroup/memory rw,noatime master:1 - cgroup cgroup rw,memory
    const auto words = Words(line);
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || std::distance(dash, words.end()) < 4) continue;
    if (dash[1] != "cgroup" && dash[1] != "cgroup2") continue;
    Mount mount;
    mount.group = UnescapeMountPath(words[3]);
    mount.folder = UnescapeMountPath(words[4]);
    mount.is_v2 = dash[1] == "cgroup2";
    for (const std::string_view option : Split(dash[3], ','))
      mount.controllers.emplace_back(option);
    mounts.push_back(std::move(mount));
  }
  if (mounts.empty()) mounts.push_back({"/", "/sys/fs/cgroup", {}, true});
  return mounts;
}

// This process' group in the hierarchy of `controller` (v1), or in the one hierarchy of v2 if it is
// empty.
std::optional<std::string> OwnGroup(std::string_view proc_self_cgroup,
                                    std::string_view controller) {
  for (const std::string_view line : Split(proc_self_cgroup, '\n')) {
    // "4:memory:/docker/abc", "2:cpu,cpuacct:/", "0::/system.slice"
    const std::size_t first = line.find(':');
    if (first == std::string_view::npos) continue;
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const auto controllers = Split(line.substr(first + 1, second - first - 1), ',');
    if (std::find(controllers.begin(), controllers.end(), controller) != controllers.end()) {
      return std::string(line.substr(second + 1));
    }
  }
  return std::nullopt;
}

// The folders of this process' own group and of all groups above it that the mount shows, innermost
// first.
std::vector<Path> GroupFolders(const Path& root, const Mount& mount, const std::string& group) {
  const Path top = root / mount.folder.relative_path();
  // In a container the mount often shows the own group as its top, while /proc names it from the
  // host's root.
  Path relative;
  if (mount.group == "/") {
    relative = Path(group).relative_path();
  } else if (group == mount.group || group.starts_with(mount.group + "/")) {
    relative = Path(group.substr(mount.group.size())).relative_path();
  }
  for (const Path& part : relative) {
    if (part == "..") relative.clear();  // a group outside of this cgroup namespace
    if (relative.empty()) break;
  }
  std::vector<Path> folders;
  std::error_code ignored;
  for (; !relative.empty(); relative = relative.parent_path()) {
    if (std::filesystem::is_directory(top / relative, ignored)) folders.push_back(top / relative);
  }
  folders.push_back(top);
  return folders;
}

struct Groups {
  bool is_v2 = false;
  std::vector<Path> folders;
};

// Where the limits of `controller` ("cpu", "memory", "cpuset") are. On a machine with both versions
// each controller is in one.
std::vector<Groups> FindGroups(const Path& root, std::string_view controller) {
  const std::string own = ReadText(root / "proc/self/cgroup").value_or("0::/");
  std::vector<Groups> found;
  for (const Mount& mount : ReadMounts(root)) {
    const bool has_controller = std::find(mount.controllers.begin(), mount.controllers.end(),
                                          controller) != mount.controllers.end();
    if (!mount.is_v2 && !has_controller) continue;
    const auto group = OwnGroup(own, mount.is_v2 ? "" : controller);
    found.push_back({mount.is_v2, GroupFolders(root, mount, group.value_or("/"))});
  }
  return found;
}

// ---- processors ----

double ReadQuota(const Path& root) {
  double quota = 0;
  const auto add = [&quota](std::optional<std::int64_t> share_us,
                            std::optional<std::int64_t> period_us) {
    if (!share_us || !period_us || *share_us <= 0 || *period_us <= 0) return;
    const double cpus = static_cast<double>(*share_us) / static_cast<double>(*period_us);
    quota = quota == 0 ? cpus : std::min(quota, cpus);
  };
  for (const Groups& groups : FindGroups(root, "cpu")) {
    for (const Path& folder : groups.folders) {
      if (!groups.is_v2) {
        add(ReadNumber(folder / "cpu.cfs_quota_us"), ReadNumber(folder / "cpu.cfs_period_us"));
        continue;
      }
      const std::string text =
          ReadText(folder / "cpu.max").value_or("");  // "150000 100000", "max 100000"
      const auto words = Words(text);
      if (words.size() == 2) add(ParseInt(words[0]), ParseInt(words[1]));
    }
  }
  return quota;
}

// Empty: not known.
std::set<int> ReadAllowedCpus(const Path& root) {
  constexpr std::string_view kName = "Cpus_allowed_list:";
  const std::string status = ReadText(root / "proc/self/status").value_or("");
  for (const std::string_view line : Split(status, '\n')) {
    if (!line.starts_with(kName)) continue;
    // The kernel has already put the cpuset in here.
    if (auto cpus = ParseCpuList(line.substr(kName.size())); !cpus.empty()) return cpus;
  }
  for (const Groups& groups : FindGroups(root, "cpuset")) {
    for (const Path& folder : groups.folders) {
      for (const char* name : {"cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"}) {
        if (auto cpus = ParseCpuList(ReadText(folder / name).value_or("")); !cpus.empty())
          return cpus;
      }
    }
  }
  return ParseCpuList(ReadText(root / "sys/devices/system/cpu/online").value_or(""));
}

int CountPhysicalCores(const Path& root, const std::set<int>& cpus) {
  std::set<std::pair<std::int64_t, std::int64_t>> cores;  // package, core
  for (const int cpu : cpus) {
    const Path topology =
        root / "sys/devices/system/cpu" / ("cpu" + std::to_string(cpu)) / "topology";
    const auto core = ReadNumber(topology / "core_id");
    if (!core) return static_cast<int>(cpus.size());  // not told: every processor may be a core
    cores.emplace(ReadNumber(topology / "physical_package_id").value_or(0), *core);
  }
  return static_cast<int>(cores.size());
}

// ---- memory ----

struct Memory {
  std::int64_t total = kMostBytes;
  std::int64_t available = kMostBytes;
};

void AddGroupLimit(Memory& memory, std::optional<std::int64_t> limit,
                   std::optional<std::int64_t> usage, const std::string& stat,
                   std::string_view inactive_name) {
  if (!limit || *limit <= 0) return;
  memory.total = std::min(memory.total, *limit);
  // Inactive pages of files are given back when memory is needed: without this, reading a model
  // would look like using it up.
  const std::int64_t inactive = FindNumber(stat, inactive_name).value_or(0);
  const std::int64_t used = std::max<std::int64_t>(usage.value_or(0) - inactive, 0);
  memory.available = std::min(memory.available, std::max<std::int64_t>(*limit - used, 0));
}

Memory ReadMemory(const Path& root) {
  Memory memory;
  const std::string meminfo = ReadText(root / "proc/meminfo").value_or("");
  const auto bytes_of = [&meminfo](std::string_view name) -> std::optional<std::int64_t> {
    const auto kib = FindNumber(meminfo, name);
    if (!kib || *kib < 0 || *kib > kMostBytes / 1024) return std::nullopt;
    return *kib * 1024;
  };
  if (const auto total = bytes_of("MemTotal:")) memory.total = memory.available = *total;
  if (const auto available = bytes_of("MemAvailable:")) {
    memory.available = *available;
  } else if (const auto free = bytes_of("MemFree:")) {  // kernels before 3.14
    memory.available = *free + bytes_of("Buffers:").value_or(0) + bytes_of("Cached:").value_or(0);
  }
  for (const Groups& groups : FindGroups(root, "memory")) {
    for (const Path& folder : groups.folders) {
      const std::string stat = ReadText(folder / "memory.stat").value_or("");
      if (groups.is_v2) {
        AddGroupLimit(memory, ReadNumber(folder / "memory.max"),
                      ReadNumber(folder / "memory.current"), stat, "inactive_file");
      } else {
        // "No limit" is a number near 2^63 there: larger than any total, so that it never wins.
        AddGroupLimit(memory, ReadNumber(folder / "memory.limit_in_bytes"),
                      ReadNumber(folder / "memory.usage_in_bytes"), stat, "total_inactive_file");
      }
    }
  }
  return memory;
}

}  // namespace

int HostFacts::ComputeThreads() const {
  int threads = physical_cores;
  if (cpu_quota > 0 && cpu_quota < threads) threads = static_cast<int>(std::ceil(cpu_quota));
  return std::max(threads, 1);
}

std::string UserAgent(std::string_view ollama_version, std::string_view corral_version) {
#if defined(__aarch64__)
  constexpr std::string_view kMachine = "arm64";  // Go's names
#else
  constexpr std::string_view kMachine = "amd64";
#endif
  std::string text = "ollama/";
  text.append(ollama_version).append(" (").append(kMachine).append(" linux) corral/");
  return text.append(corral_version);
}

HostFacts ReadHostFacts(const Path& root) {
  HostFacts facts;
  const std::set<int> cpus = ReadAllowedCpus(root);
  facts.logical_cpus = std::max(1, static_cast<int>(cpus.size()));
  facts.physical_cores = std::max(1, CountPhysicalCores(root, cpus));
  facts.cpu_quota = ReadQuota(root);
  const Memory memory = ReadMemory(root);
  facts.memory_total_bytes = memory.total == kMostBytes ? 0 : memory.total;
  facts.memory_available_bytes =
      memory.available == kMostBytes ? 0 : std::min(memory.available, memory.total);
  return facts;
}

}  // namespace corral
