#include "api/start_models.h"

#include <algorithm>
#include <future>
#include <memory>
#include <utility>

#include "api/native/jobs.h"
#include "api/native/options.h"
#include "core/log.h"
#include "core/mutex.h"
#include "registry/registry.h"

namespace corral::api {
namespace {

constexpr std::chrono::seconds kFirstPause{1};
constexpr std::chrono::seconds kLongestPause{30};
constexpr int kMostSilentTries = 10;  // five minutes of the longest pause

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

Status PullFrom(registry::Registry& registry, const models::ModelName& name, const StopToken& stop,
                const std::function<void(std::string)>& say) {
  return registry.Pull({.name = name}, stop, [&say](const registry::Progress& progress) {
    std::string text = progress.status;
    if (progress.total > 0)
      text += ": " + std::to_string(progress.completed * 100 / progress.total) + "%";
    say(std::move(text));
  });
}

}  // namespace

StartModels::StartModels(const Services& services, Surroundings surroundings)
    : services_(services), surroundings_(std::move(surroundings)) {
  if (!surroundings_.pull) {
    surroundings_.pull = [this](const models::ModelName& name, const StopToken& stop,
                                const std::function<void(std::string)>& say) {
      return PullFrom(services_.registry, name, stop, say);
    };
  }
  if (!surroundings_.pause) surroundings_.pause = PauseOnClock;
  for (const std::string& name : services_.settings.pull) Add(Verb::kPull, name);
  for (const std::string& name : services_.settings.preload) Add(Verb::kLoad, name);
}

void StartModels::Add(Verb verb, const std::string& name) {
  const std::string what = (verb == Verb::kPull ? "pull " : "load ") + name;
  const auto parsed = models::ModelName::Parse(name);
  services_.readiness.WaitFor(what, parsed ? "waiting" : "not a name of a model");
  if (parsed) {
    jobs_.push_back({verb, *parsed, what});
    return;
  }
  Log(LogLevel::kError,
      "what is not a name of a model is to be there at start: the server will never be ready",
      {{"setting", verb == Verb::kPull ? "CORRAL_PULL" : "CORRAL_PRELOAD"}, {"name", name}});
}

void StartModels::Run(const StopToken& stop) {
  std::chrono::seconds pause = kFirstPause;
  while (!jobs_.empty() && !stop.StopRequested()) {
    std::vector<Job> left;
    for (Job& job : jobs_) {
      const Status done = job.verb == Verb::kPull ? Pull(job, stop) : Load(job, stop);
      if (stop.StopRequested()) return;
      if (done) {
        services_.readiness.Have(job.what);
        Log(LogLevel::kInfo, "done at start: " + job.what);
        continue;
      }
      Report(job, done.error(), pause);
      left.push_back(std::move(job));
    }
    jobs_ = std::move(left);
    if (jobs_.empty()) break;
    surroundings_.pause(pause, stop);
    pause = std::min(pause * 2, kLongestPause);
  }
}

Status StartModels::Pull(const Job& job, const StopToken& stop) {
  if (services_.store.Load(job.name)) return {};
  services_.readiness.WaitFor(job.what, "asking the registry");
  if (job.last_error.empty())
    Log(LogLevel::kInfo, "pulling at start", {{"model", job.name.Short()}});
  return surroundings_.pull(job.name, stop, [this, &job](std::string state) {
    services_.readiness.WaitFor(job.what, std::move(state));
  });
}

Status StartModels::Load(const Job& job, const StopToken& stop) {
  services_.readiness.WaitFor(job.what, "loading");
  auto model = services_.store.Load(job.name);
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
  if (job.last_error == error.message && ++job.n_silent_tries < kMostSilentTries) return;
  job.last_error = error.message;
  job.n_silent_tries = 0;
  std::string message = "cannot " + job.what + " at start; trying again until it works";
  if (job.verb == Verb::kPull && error.code == Code::kNotFound)
    message += ". The registry has no such model: is the name in CORRAL_PULL right?";
  Log(LogLevel::kWarn, message, {{"error", error.message}, {"next", FormatGoDuration(pause)}});
}

}  // namespace corral::api
