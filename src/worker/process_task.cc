#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>
#include <utility>

#include "core/log.h"
#include "worker/protocol.h"
#include "worker/spawn.h"
#include "worker/task.h"

namespace corral::worker {
namespace {

// Between two signs of life. One tensor of the largest models takes minutes on a slow machine.
constexpr std::chrono::minutes kSilence{10};
constexpr std::chrono::seconds kReapTime{5};  // from the last frame to the end of the process

using Progress = std::function<void(float)>;

// A descriptor that is readable once the token has stopped.
class StopDescriptor {
 public:
  explicit StopDescriptor(const StopToken& stop)
      : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), on_stop_(stop, [this] {
          const std::uint64_t one = 1;
          (void)!::write(fd_.get(), &one, sizeof(one));
        }) {}
  int get() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  StopCallback on_stop_;  // last: its destructor waits for a running callback
};

class ProcessTaskRunner final : public TaskRunner {
 public:
  explicit ProcessTaskRunner(std::filesystem::path program) : program_(std::move(program)) {}

  Status Run(const TaskLaunch& launch, const Progress& on_progress, StopToken stop) override {
    std::vector<UniqueFd> files;
    std::vector<int> descriptors;
    for (const auto& path : launch.inputs) {
      CORRAL_TRY(UniqueFd file, OpenForReading(path));
      descriptors.push_back(file.get());
      files.push_back(std::move(file));
    }
    descriptors.push_back(launch.output_fd);
    CORRAL_TRY(Spawned worker, SpawnWorker(program_, descriptors));
    files.clear();
    const TaskFrame frame{BuildCheck(), launch.task,
                          static_cast<std::uint32_t>(launch.inputs.size())};
    Status done = WriteAll(worker.socket.get(), EncodeFrame(frame));
    if (done) done = Listen(worker, on_progress, stop);
    if (stop.StopRequested()) done = Fail(stop.ToError());
    if (!done) (void)worker.child.Signal(SIGKILL);  // it may have ended already
    const auto status = worker.child.Wait(Clock::now() + kReapTime);
    if (!done && done.error().code == Code::kInternal) {
      Log(LogLevel::kError, "a task's worker failed",
          {{"error", done.error().message},
           {"status", status ? status->ToString() : std::string("running")}});
    }
    return done;
  }

 private:
  // Until the task has ended, the worker is gone, or `stop`.
  static Status Listen(const Spawned& worker, const Progress& on_progress, const StopToken& stop) {
    const StopDescriptor stopped(stop);
    FrameReader frames(worker.socket.get());
    for (;;) {
      CORRAL_TRY(std::optional<Frame> frame, frames.Take());
      if (frame) {
        if (const auto* progress = std::get_if<ProgressFrame>(&*frame)) {
          if (on_progress) on_progress(progress->fraction);
        } else if (auto* end = std::get_if<TaskEndFrame>(&*frame)) {
          if (end->error) return Fail(*std::move(end->error));
          return {};
        } else {
          return Fail(Code::kInternal, "the worker sent a frame that is not a task's");
        }
        continue;
      }
      pollfd events[2] = {{worker.socket.get(), POLLIN, 0}, {stopped.get(), POLLIN, 0}};
      const int n =
          ::poll(events, 2,
                 static_cast<int>(
                     std::chrono::duration_cast<std::chrono::milliseconds>(kSilence).count()));
      if (n < 0 && errno != EINTR) return Fail(ErrnoError(errno, "wait for the worker"));
      if (n == 0) return Fail(Code::kInternal, "the worker made no progress for ten minutes");
      if ((events[1].revents & POLLIN) != 0) return Fail(stop.ToError());
      if (n < 0 || events[0].revents == 0) continue;
      auto is_open = frames.Fill();
      if (!is_open || !*is_open) {
        return Fail(Code::kInternal,
                    "the worker has unexpectedly stopped; the server's log says more");
      }
    }
  }

  const std::filesystem::path program_;
};

}  // namespace

std::unique_ptr<TaskRunner> MakeProcessTaskRunner(std::filesystem::path program) {
  return std::make_unique<ProcessTaskRunner>(std::move(program));
}

}  // namespace corral::worker
