// Lets a cancelled request end the encoding of a picture or a sound in its middle.
//
// ggml's scheduler asks a callback at each node whether it wants to see the result, computes up to
// there, and stops where the callback says no (ggml_backend_sched_compute_splits in
// ggml-backend.cpp). Each part is a graph of its own, with a start and an end of the threads, so
// the result is asked for only where enough work lies behind: not a hundredth of the time.
//
// What libmtmd returns then is success, with embeddings of nothing: HasEnded() tells. Its context
// is as good as before, for each encode builds its graph anew. On the processor only: a graph over
// two devices goes on behind the stop with what was never computed.
// One thread, but for n_looks.
#pragma once

#include <ggml.h>

#include <atomic>
#include <cstdint>

#include "core/stop.h"

namespace corral::engine {

class EncodeWatch {
 public:
  EncodeWatch() = default;
  EncodeWatch(const EncodeWatch&) = delete;
  EncodeWatch& operator=(const EncodeWatch&) = delete;

  // mtmd_context_params. They keep this address.
  template <class Params>
  void Watch(Params& params) {
    params.cb_eval = OnNode;
    params.cb_eval_user_data = this;
  }

  // Before an encode. `stop` must outlive it.
  void Begin(const StopToken& stop);
  // Whether the encode was ended.
  bool HasEnded() const { return has_ended_; }
  // Since the start, from any thread: how often a StopToken was looked at.
  std::int64_t n_looks() const { return n_looks_; }

 private:
  static bool OnNode(ggml_tensor* node, bool is_asked, void* user);

  const StopToken* stop_ = nullptr;
  std::int64_t work_ = 0;  // since the last look
  bool has_ended_ = false;
  std::atomic<std::int64_t> n_looks_{0};
};

}  // namespace corral::engine
