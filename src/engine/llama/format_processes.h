// Chat formatting (chat_format.h) and the decoding of images and sounds (media_decode.h) where they
// can be ended: in processes of their own, each bounded in CPU time and memory.
//
// llama.cpp's Jinja has no limit on steps, and its schema compiler none on size, so a thread that
// runs one could be held for ever. Here a process does, and dies of its limits; the next request
// gets a fresh one. It knows no model and no file, only what it is sent. An image that breaks its
// decoder breaks such a process, and no model.
//
//   worker ──control socket──▶ nursery ──fork──▶ formatter (at most a few)
//     └────────── one socket pair per formatter ─────▲
//
// The nursery is forked while the worker has one thread and never does anything but fork, so that
// the copy is clean. There are two, and where one has died (killed, for want of memory say) the
// other forks the next. All of them end when the worker's end of their socket closes.
// Thread-safe once started.
#pragma once

#include <sys/types.h>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "core/files.h"
#include "core/result.h"
#include "core/stop.h"
#include "engine/llama/chat_format.h"
#include "engine/llama/media_decode.h"

namespace corral::engine {

struct MessageHead;

class FormatProcesses {
 public:
  // CPU time of one request, and its address space beyond what the request itself takes.
  struct Limits {
    std::chrono::milliseconds cpu_time{5000};
    std::int64_t memory_bytes = std::int64_t{1} << 30;
  };

  // Forks. Only while the process has a single thread. `confine` runs in the child before it takes
  // any request. `on_lost` runs, on the thread of a request that is about to fail with kIo, when
  // both nurseries have died at once: no request can be served any more. Errors: kIo.
  static Result<std::unique_ptr<FormatProcesses>> Start(const std::function<void()>& confine = {},
                                                        std::function<void()> on_lost = {});
  ~FormatProcesses();

  // Blocks. Errors: those of Formatter::Run; kTooLarge (a limit was reached, or the process died of
  // the request), kCancelled and the like (`stop`), kIo (no process could be had).
  Result<FormatReply> Run(const FormatRequest& request, const Limits& limits,
                          const StopToken& stop);
  // Blocks. A sound comes with so many samples a second. Errors: kInvalidArgument (it cannot be
  // decoded, or takes more than its limits), kCancelled and the like (`stop`), kIo.
  Result<DecodedMedia> DecodeMedia(std::string_view bytes, int sample_rate, const StopToken& stop);

 private:
  FormatProcesses(UniqueFd nursery, pid_t first, std::function<void()> on_lost);
  Result<UniqueFd> TakeFormatter();
  // For the process's end `fd` of a connection. False: there is no nursery.
  bool ForkFormatter(int fd);
  Result<UniqueFd> Ask(const MessageHead& head, std::string_view body, const StopToken& stop,
                       const std::function<bool(int fd)>& receive);
  void GiveBack(UniqueFd formatter, std::size_t n_bytes);

  const pid_t first_;  // nursery, our child; the later ones are children of each other
  const std::function<void()> on_lost_;
  std::mutex mutex_;
  std::array<UniqueFd, 2> nurseries_;  // guarded by mutex_: connections to them
  std::vector<UniqueFd> idle_;         // guarded by mutex_: connections to formatters that wait
};

}  // namespace corral::engine
