// Chat formatting (chat_format.h) where it can be ended: in processes of its own, each bounded in
// CPU time and memory.
//
// llama.cpp's Jinja has no limit on steps, and its schema compiler none on size, so a thread that
// runs one could be held for ever. Here a process does, and dies of its limits; the next request
// gets a fresh one. It knows no model and no file, only the text it is sent.
//
//   worker ──control socket──▶ nursery ──fork──▶ formatter (at most a few)
//     └────────── one socket pair per formatter ─────▲
//
// The nursery is forked while the worker has one thread and never does anything but fork, so that
// the copy is clean. All of them end when the worker's end of their socket closes.
// Thread-safe once started.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "core/files.h"
#include "core/result.h"
#include "core/stop.h"
#include "engine/llama/chat_format.h"

namespace corral::engine {

class FormatProcesses {
 public:
  // CPU time of one request, and its address space beyond what the request itself takes.
  struct Limits {
    std::chrono::milliseconds cpu_time{5000};
    std::int64_t memory_bytes = std::int64_t{1} << 30;
  };

  // Forks. Only while the process has a single thread. `confine` runs in the child before it takes
  // any request. Errors: kIo.
  static Result<std::unique_ptr<FormatProcesses>> Start(const std::function<void()>& confine = {});
  ~FormatProcesses();

  // Blocks. Errors: those of Formatter::Run; kTooLarge (a limit was reached, or the process died of
  // the request), kCancelled and the like (`stop`), kIo (no process could be had).
  Result<FormatReply> Run(const FormatRequest& request, const Limits& limits,
                          const StopToken& stop);

 private:
  explicit FormatProcesses(UniqueFd control, pid_t nursery);
  Result<UniqueFd> TakeFormatter();

  const UniqueFd control_;
  const pid_t nursery_;
  std::mutex mutex_;
  std::vector<UniqueFd> idle_;  // guarded by mutex_: connections to formatters that wait
};

}  // namespace corral::engine
