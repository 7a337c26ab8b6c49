#include "registry/registry.h"

#include <pthread.h>

#include <atomic>
#include <list>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "core/mutex.h"
#include "registry/internal/download.h"
#include "registry/internal/places.h"
#include "registry/internal/pull.h"
#include "registry/internal/push.h"

namespace corral::registry {

struct Registry::State {
  State(models::Store& model_store, Options transfer_options)
      : store(model_store), options(std::move(transfer_options)) {}

  // One transfer on its thread.
  struct Job {
    StopSource stop;
    std::atomic<bool> is_over{false};
    std::optional<StopCallback> on_stop;  // of the caller's token
    std::jthread thread;                  // last: uses the rest
  };

  // Runs `work` on a thread of its own, with a token that the caller's or a shutdown stops.
  Status Start(const StopToken& stop, std::function<void(const StopToken&)> work);

  models::Store& store;
  const Options options;
  internal::Downloads downloads;
  Mutex mutex;
  bool is_stopping CORRAL_GUARDED_BY(mutex) = false;
  std::list<Job> jobs CORRAL_GUARDED_BY(mutex);
};

Status Registry::State::Start(const StopToken& stop, std::function<void(const StopToken&)> work) {
  std::list<Job> ended;  // joined after the lock
  const MutexLock lock(mutex);
  for (auto job = jobs.begin(); job != jobs.end();) {
    const auto at = job++;
    if (at->is_over) ended.splice(ended.end(), jobs, at);
  }
  if (is_stopping) return Fail(Code::kBusy, "the server is shutting down");
  if (jobs.size() >= kMaxTransfers)
    return Fail(Code::kBusy, "too many models are pulled and pushed at once, please try again");
  Job& job = jobs.emplace_back();
  job.on_stop.emplace(stop, [&job, stop] { job.stop.RequestStop(stop.Reason()); });
  try {
    job.thread = std::jthread([&job, work = std::move(work)] {
      work(job.stop.token());
      job.is_over = true;
    });
  } catch (const std::system_error& error) {
    jobs.pop_back();
    return Fail(Code::kBusy, std::string("cannot start a thread: ") + error.what());
  }
  ::pthread_setname_np(job.thread.native_handle(), "transfer");
  return {};
}

Registry::Registry(models::Store& store, Options options)
    : state_(std::make_unique<State>(store, std::move(options))) {}

Registry::~Registry() {
  std::list<State::Job> jobs;
  {
    const MutexLock lock(state_->mutex);
    state_->is_stopping = true;
    jobs.splice(jobs.end(), state_->jobs);
  }
  for (State::Job& job : jobs) job.stop.RequestStop(StopReason::kShutdown);
  jobs.clear();
}

Status Registry::CheckAllowed(const models::ModelName& name, bool is_push) const {
  Options options = state_->options;
  if (is_push) options.mirror.clear();
  CORRAL_TRY_STATUS(internal::PlacesOf(name, false, options).map([](const auto&) {}));
  return {};
}

Status Registry::StartPull(TransferRequest request, StopToken stop, OnProgress on_progress,
                           OnEnd on_end) {
  return state_->Start(stop,
                       [this, request = std::move(request), on_progress = std::move(on_progress),
                        on_end = std::move(on_end)](const StopToken& token) {
                         on_end(Pull(request, token, on_progress));
                       });
}

Status Registry::StartPush(TransferRequest request, StopToken stop, OnProgress on_progress,
                           OnEnd on_end) {
  return state_->Start(stop,
                       [this, request = std::move(request), on_progress = std::move(on_progress),
                        on_end = std::move(on_end)](const StopToken& token) {
                         on_end(Push(request, token, on_progress));
                       });
}

Status Registry::Push(const TransferRequest& request, const StopToken& stop,
                      const OnProgress& on_progress) {
  internal::Push push(state_->store, state_->options, request, stop, on_progress);
  return push.Run();
}

Status Registry::Pull(const TransferRequest& request, const StopToken& stop,
                      const OnProgress& on_progress) {
  internal::Pull pull(state_->store, state_->downloads, state_->options, request, stop,
                      on_progress);
  return pull.Run();
}

}  // namespace corral::registry
