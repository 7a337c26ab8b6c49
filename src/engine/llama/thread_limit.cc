#include "engine/llama/thread_limit.h"

#include <exception>

namespace corral::engine {

bool CanLimitThreads() {
#ifdef _OPENMP
  return true;
#else
  return false;
#endif
}

void WithThreadLimit([[maybe_unused]] int n_threads, const std::function<void()>& work) {
  std::exception_ptr error;  // none may leave the construct
#ifdef _OPENMP
#pragma omp teams num_teams(1) thread_limit(n_threads)
#endif
  {
    try {
      work();
    } catch (...) {
      error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace corral::engine
