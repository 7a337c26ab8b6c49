#include "api/start_models.h"

#include <algorithm>
#include <future>
#include <memory>
#include <utility>

#include "api/native/jobs.h"
#include "api/native/options.h"
#include "core/log.h"
#include "core/mutex.h"

namespace corral::api {
namespace {

constexpr std::chrono::seconds kFirstPause{1};
constexpr std::chrono::seconds kLongestPause{30};

void PauseOnClock(std::chrono::nanoseconds duration, const StopToken& stop) {
  Mutex mutex;
  CondVar stopped;
  const Deadline deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(duration);
  const StopCallback on_stop(stop, [&] {
    const MutexLock lock(mutex);
    stopped.NotifyAll();
  });
  const MutexLock lock(mutex);
  while (!stop.StopRequested() && stopped.WaitUntil(mutex, deadline)) {
  }
}

}  // namespace

StartModels::StartModels(const Services& services, Pause pause)
    : services_(services), pause_(pause ? std::move(pause) : Pause(PauseOnClock)) {
  for (const std::string& name : services_.settings.preload) {
    Job job{.name = name, .what = "load " + name};
    if (!models::ModelName::Parse(name)) {
      services_.readiness.WaitFor(job.what, "not a name of a model");
      Log(LogLevel::kError,
          "CORRAL_PRELOAD holds what is not a name of a model; the server will never be ready",
          {{"name", name}});
      continue;
    }
    services_.readiness.WaitFor(job.what, "waiting");
    jobs_.push_back(std::move(job));
  }
}

void StartModels::Run(const StopToken& stop) {
  std::chrono::seconds pause = kFirstPause;
  while (!jobs_.empty() && !stop.StopRequested()) {
    std::vector<Job> left;
    for (Job& job : jobs_) {
      const Status done = Load(job, stop);
      if (stop.StopRequested()) return;
      if (done) {
        services_.readiness.Have(job.what);
        Log(LogLevel::kInfo, "model loaded at start", {{"model", job.name}});
        continue;
      }
      Report(job, done.error(), pause);
      left.push_back(std::move(job));
    }
    jobs_ = std::move(left);
    if (jobs_.empty()) break;
    pause_(pause, stop);
    pause = std::min(pause * 2, kLongestPause);
  }
}

Status StartModels::Load(const Job& job, const StopToken& stop) {
  services_.readiness.WaitFor(job.what, "loading");
  auto model = services_.store.Load(*models::ModelName::Parse(job.name));
  if (!model) {
    if (model.error().code != Code::kNotFound) return Fail(std::move(model).error());
    return Fail(Code::kNotFound, "the model is not there: pull or create it");
  }
  CORRAL_TRY(const ResolvedOptions options, ResolveOptions((*model)->params, {}));
  // Shared: the scheduler's thread may still be in set_value when get has returned.
  const auto answer = std::make_shared<std::promise<Result<scheduler::Lease>>>();
  services_.scheduler.Acquire(
      ToModelRequest(*std::move(model), options, std::nullopt, services_.settings.go_template),
      stop, [answer](Result<scheduler::Lease> lease) { answer->set_value(std::move(lease)); });
  const Result<scheduler::Lease> lease = answer->get_future().get();
  if (!lease) return Fail(lease.error());
  return {};
}

void StartModels::Report(Job& job, const Error& error, std::chrono::seconds pause) {
  services_.readiness.WaitFor(job.what, error.message);
  // Each cause once: what is waited for may take long.
  if (job.last_error == error.message) return;
  job.last_error = error.message;
  Log(LogLevel::kWarn, "cannot load a model at start; trying again until it works",
      {{"model", job.name}, {"error", error.message}, {"next", FormatGoDuration(pause)}});
}

}  // namespace corral::api
