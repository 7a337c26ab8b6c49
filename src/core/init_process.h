// The first process of a container (pid 1). The kernel gives it two duties that no other process
// has: it inherits every orphan and must reap it, and a signal without a handler does not end it. A
// server that reaps strangers would take the exit status of its own children from under them
// (core/process.h), so the two are split: pid 1 only forwards signals and reaps, and its child is
// the server.
#pragma once

#include <optional>

namespace corral {

// True for pid 1.
bool IsInitProcess();

// Forks: call it before the process starts any thread. In the child, which goes on as the program:
// nullopt. In the parent, when the child has ended: its exit status (128 + the number of the signal
// that killed it), for exit. Until then the parent forwards every signal to the child and reaps
// whatever ends. The child leads a process group of its own, in the foreground of the terminal if
// there is one: Ctrl+C reaches it once. A fork that fails goes on as nullopt in the one process
// there is.
std::optional<int> SplitOffInit();

}  // namespace corral
