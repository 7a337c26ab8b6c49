// Takes away from this process what a worker never needs: opening files for writing, most files for
// reading, the network, starting programs. What the kernel does not offer (Landlock before 5.13,
// seccomp off) is left out and logged.
#pragma once

#include <vector>

namespace corral::worker {

// What may still be opened by path (/proc/self/fd/N), through descriptors that are open already.
struct SandboxFiles {
  std::vector<int> readable = {};
  int writable = -1;  // -1: none
};

// Affects all threads that are made later and the calling one; call before the model is touched.
// Idempotent.
void EnterSandbox(const SandboxFiles& files);

}  // namespace corral::worker
