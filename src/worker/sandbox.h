// Takes away from this process what a worker never needs: opening files for writing, most files for
// reading, the network, starting programs. What the kernel does not offer (Landlock before 5.13,
// seccomp off) is left out and logged.
#pragma once

namespace corral::worker {

// Affects all threads that are made later and the calling one; call before the model is touched.
// Idempotent.
void EnterSandbox();

}  // namespace corral::worker
