// The steps of create, in order: convert, merge, quantize, and the store's own.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "api/native/create_spec.h"
#include "api/services.h"
#include "core/result.h"
#include "core/stop.h"

namespace corral::api {

// One status line. `total` 0: a line without numbers.
struct MakeProgress {
  std::string status;
  std::uint64_t total = 0, completed = 0;
  std::string digest = {};  // of a blob that is pulled; empty: what is made has none yet
  bool is_passing = false;  // more of its like will come: a slow reader may leave it out
};

// Blocking, for minutes where a model is converted or quantized: on a thread of its own.
// Progress is told on this thread; while the store is locked it must not wait (models/store.h).
// When `stop` stops nothing is left behind. Errors: those of Store::Create; kNotFound (the base);
// kInvalidArgument (what the files are not); kInternal (Ollama's 500 for what cannot be quantized,
// or a worker that died).
Status MakeModel(const Services& services, CreatePlan plan,
                 const std::function<void(MakeProgress)>& progress, const StopToken& stop);

}  // namespace corral::api
