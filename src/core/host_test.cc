#include "core/host.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "core/result.h"

namespace corral {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kGiB = 1 << 30;

// A folder that looks like a machine's root: 8 processors on 4 cores, 16 GiB, 12 of them available.
class HostFactsTest : public testing::Test {
 protected:
  HostFactsTest() {
    std::string name = (fs::temp_directory_path() / "corral-host-XXXXXX").string();
    CORRAL_CHECK(mkdtemp(name.data()) != nullptr, "no temporary folder");
    root_ = name;
    Put("proc/meminfo",
        "MemTotal:       16777216 kB\nMemFree:  1048576 kB\nMemAvailable:   12582912 kB\n");
    Put("proc/self/status", "Name:\tcorral\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n");
    for (int cpu = 0; cpu < 8; ++cpu) {
      const std::string topology =
          "sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
      Put(topology + "core_id", std::to_string(cpu % 4) + "\n");
      Put(topology + "physical_package_id", "0\n");
    }
  }
  ~HostFactsTest() override { fs::remove_all(root_); }

  void Put(const std::string& file, const std::string& text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }
  void UseV2(const std::string& group, const std::string& mounted_group = "/") {
    Put("proc/self/cgroup", "0::" + group + "\n");
    Put("proc/self/mountinfo",
        "22 1 0:21 / /proc rw - proc proc rw\n"
        "31 23 0:28 " +
            mounted_group + " /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");
  }
  void UseV1(const std::string& group, const std::string& mounted_group = "/") {
    Put("proc/self/cgroup", "5:memory:" + group + "\n4:cpuset:" + group +
                                "\n3:cpu,cpuacct:" + group + "\n1:name=systemd:/\n");
    std::string mounts;
    for (const char* name : {"memory", "cpuset", "cpu,cpuacct"}) {
      mounts += "33 31 0:30 " + mounted_group + " /sys/fs/cgroup/" + name +
                " ro master:9 - cgroup cgroup rw," + name + "\n";
    }
    Put("proc/self/mountinfo", mounts);
  }
  HostFacts Read() const { return ReadHostFacts(root_); }

  fs::path root_;
};

TEST_F(HostFactsTest, WithoutGroupsIsTheHost) {
  const HostFacts facts = Read();
  EXPECT_EQ(facts.logical_cpus, 8);
  EXPECT_EQ(facts.physical_cores, 4);
  EXPECT_EQ(facts.cpu_quota, 0);
  EXPECT_EQ(facts.memory_total_bytes, 16 * kGiB);
  EXPECT_EQ(facts.memory_available_bytes, 12 * kGiB);
  EXPECT_EQ(facts.ComputeThreads(), 4);
}

TEST_F(HostFactsTest, OldKernelsHaveNoMemAvailable) {
  Put("proc/meminfo", "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 20 kB\nCached: 3 kB\n");
  EXPECT_EQ(Read().memory_available_bytes, 123 * 1024);
}

TEST_F(HostFactsTest, V2LimitsCount) {
  UseV2("/");
  Put("sys/fs/cgroup/cpu.max", "150000 100000\n");
  Put("sys/fs/cgroup/memory.max", std::to_string(2 * kGiB) + "\n");
  Put("sys/fs/cgroup/memory.current", std::to_string(kGiB) + "\n");
  Put("sys/fs/cgroup/memory.stat",
      "anon 1\nfile 2\ninactive_file " + std::to_string(256 * kMiB) + "\n");
  const HostFacts facts = Read();
  EXPECT_DOUBLE_EQ(facts.cpu_quota, 1.5);
  EXPECT_EQ(facts.ComputeThreads(), 2);
  EXPECT_EQ(facts.memory_total_bytes, 2 * kGiB);
  EXPECT_EQ(facts.memory_available_bytes, kGiB + 256 * kMiB);
}

TEST_F(HostFactsTest, V2MaxIsNoLimit) {
  UseV2("/");
  Put("sys/fs/cgroup/cpu.max", "max 100000\n");
  Put("sys/fs/cgroup/memory.max", "max\n");
  Put("sys/fs/cgroup/memory.current", std::to_string(kGiB) + "\n");
  EXPECT_EQ(Read().cpu_quota, 0);
  EXPECT_EQ(Read().memory_total_bytes, 16 * kGiB);
  EXPECT_EQ(Read().memory_available_bytes, 12 * kGiB);
}

TEST_F(HostFactsTest, TheTightestOfNestedGroupsWins) {
  UseV2("/pod/container");
  Put("sys/fs/cgroup/cpu.max", "max 100000\n");
  Put("sys/fs/cgroup/pod/cpu.max", "100000 100000\n");
  Put("sys/fs/cgroup/pod/container/cpu.max", "300000 100000\n");
  Put("sys/fs/cgroup/pod/memory.max", std::to_string(4 * kGiB));
  Put("sys/fs/cgroup/pod/memory.current", std::to_string(3 * kGiB));
  Put("sys/fs/cgroup/pod/container/memory.max", std::to_string(2 * kGiB));
  Put("sys/fs/cgroup/pod/container/memory.current", "0");
  const HostFacts facts = Read();
  EXPECT_DOUBLE_EQ(facts.cpu_quota, 1);
  EXPECT_EQ(facts.memory_total_bytes, 2 * kGiB);
  EXPECT_EQ(facts.memory_available_bytes, kGiB);  // a neighbour in the pod has the rest
}

// Docker without a cgroup namespace: /proc names the group from the host's root, the mount shows it
// as its top.
TEST_F(HostFactsTest, AMountThatShowsTheOwnGroupAsItsTop) {
  UseV2("/docker/abc/inner", "/docker/abc");
  Put("sys/fs/cgroup/cpu.max", "200000 100000\n");
  Put("sys/fs/cgroup/inner/cpu.max", "50000 100000\n");
  EXPECT_DOUBLE_EQ(Read().cpu_quota, 0.5);
  EXPECT_EQ(Read().ComputeThreads(), 1);
}

TEST_F(HostFactsTest, AGroupOutsideOfTheNamespaceFallsBackToTheTop) {
  UseV2("/../other");
  Put("sys/fs/cgroup/cpu.max", "200000 100000\n");
  Put("sys/fs/other/cpu.max", "10000 100000\n");
  EXPECT_DOUBLE_EQ(Read().cpu_quota, 2);
}

TEST_F(HostFactsTest, V1LimitsCount) {
  UseV1("/docker/abc", "/docker/abc");
  Put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
  Put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  Put("sys/fs/cgroup/memory/memory.limit_in_bytes", std::to_string(8 * kGiB));
  Put("sys/fs/cgroup/memory/memory.usage_in_bytes", std::to_string(6 * kGiB));
  Put("sys/fs/cgroup/memory/memory.stat",
      "inactive_file 1\ntotal_inactive_file " + std::to_string(4 * kGiB) + "\n");
  const HostFacts facts = Read();
  EXPECT_DOUBLE_EQ(facts.cpu_quota, 2.5);
  EXPECT_EQ(facts.ComputeThreads(), 3);
  EXPECT_EQ(facts.memory_total_bytes, 8 * kGiB);
  EXPECT_EQ(facts.memory_available_bytes, 6 * kGiB);
}

TEST_F(HostFactsTest, V1WithoutLimits) {
  UseV1("/");
  Put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  Put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  Put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  Put("sys/fs/cgroup/memory/memory.usage_in_bytes", std::to_string(3 * kGiB));
  EXPECT_EQ(Read().cpu_quota, 0);
  EXPECT_EQ(Read().memory_total_bytes, 16 * kGiB);
  EXPECT_EQ(Read().memory_available_bytes, 12 * kGiB);
}

TEST_F(HostFactsTest, ACpusetNarrowsTheCores) {
  Put("proc/self/status", "Cpus_allowed_list:\t0,4-5\n");
  EXPECT_EQ(Read().logical_cpus, 3);
  EXPECT_EQ(Read().physical_cores, 2);  // 0 and 4 are one core
}

TEST_F(HostFactsTest, TheCpusetIsReadFromTheGroupWhereTheKernelTellsNoList) {
  Put("proc/self/status", "Name:\tcorral\n");
  UseV2("/a");
  Put("sys/fs/cgroup/a/cpuset.cpus.effective", "1-2\n");
  EXPECT_EQ(Read().logical_cpus, 2);
  UseV1("/");
  Put("sys/fs/cgroup/cpuset/cpuset.cpus", "3\n");
  EXPECT_EQ(Read().logical_cpus, 1);
}

TEST_F(HostFactsTest, WithoutTopologyEveryProcessorIsACore) {
  fs::remove_all(root_ / "sys/devices");
  EXPECT_EQ(Read().physical_cores, 8);
}

TEST_F(HostFactsTest, BrokenFilesAreNoLimits) {
  UseV2("/a\n::\n0:");
  Put("proc/self/mountinfo", "31 23\n- - -\n31 23 0:28 / /sys/fs/cgroup rw - cgroup2\n");
  Put("proc/self/status", "Cpus_allowed_list:\t0-99999999999\n");
  Put("sys/fs/cgroup/cpu.max", "-5 0\n");
  Put("sys/fs/cgroup/memory.max", "99999999999999999999999\n");
  Put("proc/meminfo", "MemTotal: many kB\nMemAvailable: -1 kB\n");
  const HostFacts facts = Read();
  EXPECT_EQ(facts.logical_cpus, 1);
  EXPECT_EQ(facts.cpu_quota, 0);
  EXPECT_EQ(facts.memory_total_bytes, 0);
  EXPECT_EQ(facts.memory_available_bytes, 0);
  EXPECT_EQ(facts.ComputeThreads(), 1);
}

TEST(HostFacts, ThisMachineHasSomething) {
  const HostFacts facts = ReadHostFacts();
  EXPECT_GE(facts.logical_cpus, facts.physical_cores);
  EXPECT_GE(facts.physical_cores, 1);
  EXPECT_GT(facts.memory_total_bytes, 0);
  EXPECT_LE(facts.memory_available_bytes, facts.memory_total_bytes);
}

}  // namespace
}  // namespace corral
