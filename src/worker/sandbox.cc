#include "worker/sandbox.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "core/files.h"
#include "core/log.h"

namespace corral::worker {
namespace {

constexpr __u64 kReadAccess = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
// All rights of Landlock's first version: whatever is not allowed below is refused.
constexpr __u64 kAllAccess = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

// Read by the C library and by llama.cpp while computing: processors, memory, time zone; and GPU
// devices with their drivers.
constexpr const char* kReadable[] = {"/proc", "/sys", "/etc/localtime", "/usr/share/zoneinfo"};

void Allow(int ruleset, int file, __u64 access) {
  landlock_path_beneath_attr rule{};
  rule.allowed_access = access;
  rule.parent_fd = file;
  ::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

bool RestrictFiles(const SandboxFiles& files) {
  landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = kAllAccess;
  const UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes,
                                                    sizeof(attributes.handled_access_fs), 0)));
  if (!ruleset.is_valid()) return false;
  for (const char* path : kReadable) {
    const UniqueFd folder(::open(path, O_PATH | O_CLOEXEC));
    if (!folder.is_valid()) continue;
    const bool is_file = std::strcmp(path, "/etc/localtime") == 0;
    Allow(ruleset.get(), folder.get(), is_file ? LANDLOCK_ACCESS_FS_READ_FILE : kReadAccess);
  }
  for (const int file : files.readable) Allow(ruleset.get(), file, LANDLOCK_ACCESS_FS_READ_FILE);
  if (files.writable >= 0) {
    Allow(ruleset.get(), files.writable,
          LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
  }
  return ::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) == 0;
}

bool RestrictSystemCalls() {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  if (filter == nullptr) return false;
  const std::uint32_t refuse = SCMP_ACT_ERRNO(EPERM);
  bool is_good = true;
  for (const int call :
       {SCMP_SYS(socket), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(listen), SCMP_SYS(accept),
        SCMP_SYS(accept4), SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(ptrace),
        SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(mount), SCMP_SYS(umount2),
        SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(bpf), SCMP_SYS(keyctl), SCMP_SYS(add_key)}) {
    is_good = is_good && seccomp_rule_add(filter, refuse, call, 0) == 0;
  }
  // On all threads at once: the writer runs already.
  is_good = is_good && seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) == 0 &&
            seccomp_load(filter) == 0;
  seccomp_release(filter);
  return is_good;
}

}  // namespace

void EnterSandbox(const SandboxFiles& files) {
  ::tzset();  // reads the time zone while it still can
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    Log(LogLevel::kWarn, "the worker runs without a sandbox", {{"error", std::strerror(errno)}});
    return;
  }
  const bool has_files = RestrictFiles(files);
  const bool has_calls = RestrictSystemCalls();
  Log(has_files && has_calls ? LogLevel::kDebug : LogLevel::kInfo, "worker sandbox",
      {{"landlock", has_files ? "on" : "not offered by this kernel"},
       {"seccomp", has_calls ? "on" : "not offered"}});
}

}  // namespace corral::worker
