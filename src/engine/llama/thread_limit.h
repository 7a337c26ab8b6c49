// Fewer threads than a library asks ggml for.
//
// libmtmd sets the number of its context's creation before each encode (clip_encode in clip.cpp of
// the pinned release) and lends no handle to change it. ggml's CPU backend computes on as many
// threads as OpenMP gives it, which may be fewer than it asked for (ggml_graph_compute in
// ggml-cpu.c: "update the number of threads from the actual number of threads that we got from
// OpenMP"), and OpenMP gives a `teams` construct no more than its thread_limit.
#pragma once

#include <functional>

namespace corral::engine {

// Whether this build's ggml computes by OpenMP. Where it does not (ThreadSanitizer knows no
// OpenMP), what WithThreadLimit runs has the threads that it asks for.
bool CanLimitThreads();

// Runs `work` on this thread; at most `n_threads` (1 at least) compute each ggml graph of it.
// Throws what it throws.
void WithThreadLimit(int n_threads, const std::function<void()>& work);

}  // namespace corral::engine
