#include "app/server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "api/request_metrics.h"
#include "api/routes.h"
#include "api/services.h"
#include "api/start_models.h"
#include "api/version.h"
#include "app/advice.h"
#include "app/rooms.h"
#include "core/files.h"
#include "core/init_process.h"
#include "core/log.h"
#include "core/script.h"
#include "core/settings.h"
#include "http/http.h"

extern char** environ;

namespace corral::app {
namespace {

// SIGTERM and SIGINT as a descriptor: blocked in every thread that is made from here on.
class StopSignals {
 public:
  StopSignals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    fd_.Reset(::signalfd(-1, &signals, SFD_CLOEXEC));
    std::signal(SIGPIPE, SIG_IGN);
  }
  // Blocks for the next one, or until `wake_fd` is readable (then 0).
  int Wait(int wake_fd = -1) const {
    for (;;) {
      pollfd events[2] = {{fd_.get(), POLLIN, 0}, {wake_fd, POLLIN, 0}};
      if (::poll(events, 2, -1) < 0 && errno != EINTR) return 0;
      signalfd_siginfo info{};
      if ((events[0].revents & POLLIN) != 0 &&
          ::read(fd_.get(), &info, sizeof(info)) == sizeof(info)) {
        return static_cast<int>(info.ssi_signo);
      }
      if ((events[1].revents & POLLIN) != 0) return 0;
    }
  }

 private:
  UniqueFd fd_;
};

std::vector<std::string> EnvironmentVariables() {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable)
    variables.emplace_back(*variable);
  return variables;
}

// What came out of the environment and the defaults, for whoever asks for more (OLLAMA_DEBUG).
void LogSettings(const Settings& settings) {
  Log(LogLevel::kDebug, "settings",
      {{"host", settings.host.Url()},
       {"models", settings.models},
       {"num_parallel", settings.num_parallel},
       {"max_loaded_models", settings.max_loaded_models},
       {"max_queue", settings.max_queue},
       {"context_length", settings.context_length},
       {"keep_alive", FormatGoDuration(settings.keep_alive)},
       {"load_timeout", FormatGoDuration(settings.load_timeout)},
       {"shutdown_grace", FormatGoDuration(settings.shutdown_grace)},
       {"version", CORRAL_VERSION}});
}

int Failed(const Error& error, const std::string& advice = {}) {
  std::fprintf(stderr, "Error: %s\n", error.message.c_str());
  if (!advice.empty()) std::fprintf(stderr, "%s\n", advice.c_str());
  return 1;
}

// What an orchestrator asks every few seconds: it would bury the lines that matter.
bool IsProbe(std::string_view path) {
  return path == "/healthz" || path == "/readyz" || path == "/metrics";
}

// What runs beside the server from its start on, and ends with it.
class StartJobs {
 public:
  StartJobs(api::StartModels& models, const Settings& settings)
      : models_([this, &models] { models.Run(stop_.token()); }) {
    if (!settings.init_script.empty())
      script_ = std::jthread([this, file = settings.init_script] { RunInit(file); });
  }
  ~StartJobs() { stop_.RequestStop(StopReason::kShutdown); }
  StartJobs(const StartJobs&) = delete;
  StartJobs& operator=(const StartJobs&) = delete;

 private:
  void RunInit(const std::string& file) const {
    const ScriptOptions options{.file = file, .environment = EnvironmentVariables()};
    const Status status = RunScript(options, stop_.token());
    if (!status && !stop_.StopRequested()) {
      Log(LogLevel::kWarn, "init script: " + status.error().message, {{"path", file}});
    }
  }

  StopSource stop_;
  std::jthread models_, script_;
};

}  // namespace

int RunServer() {
  if (IsInitProcess()) {
    if (const std::optional<int> status = SplitOffInit()) {
      SayIfKilled(*status);
      return *status;
    }
  }
  const StopSignals signals;
  std::vector<std::string> warnings;
  const Settings settings =
      ReadSettings(ProcessEnvironment(), ProcessEnvironmentNames(), &warnings);
  ConfigureLog(settings.log_level,
               settings.log_format == "json" ? LogFormat::kJson : LogFormat::kText);
  for (const std::string& warning : warnings) Log(LogLevel::kWarn, warning);
  LogSettings(settings);

  auto rooms = Rooms::Make(settings);
  if (!rooms) return Failed(rooms.error(), StoreAdvice(settings.models));
  WarnIfReadOnly(settings.models);
  WarnIfNoWorker(WorkerProgram(settings));

  api::RequestMetrics request_metrics((*rooms)->metrics());
  const api::Services services = (*rooms)->services();
  api::StartModels start_models(services);
  http::Router router;
  api::AddRoutes(router, services);

  http::ServerOptions options;
  options.address = settings.host.host;
  options.port = settings.host.port;
  options.max_body_bytes = settings.max_body_bytes;
  options.origins = settings.origins;
  options.allowed_hosts = settings.allowed_hosts;
  options.on_access = [&request_metrics](const http::Request& request, int status,
                                         std::chrono::nanoseconds took) {
    request_metrics.Observe(request.path, status, took);
    Log(IsProbe(request.path) ? LogLevel::kDebug : LogLevel::kInfo, "request",
        {{"method", request.method},
         {"path", request.path},
         {"status", status},
         {"took", FormatGoDuration(took)},
         {"remote", request.remote},
         {"id", request.id}});
  };
  auto server = http::Start(std::move(options), std::move(router));
  if (!server) return Failed(server.error(), ListenAdvice(server.error(), settings.host));
  Log(LogLevel::kInfo,
      "Listening on " + (*server)->address() + " (version " + std::string(api::kOllamaVersion) +
          ")",
      {{"models", settings.models}});
  auto start_jobs = std::make_unique<StartJobs>(start_models, settings);

  const int signal = signals.Wait();
  Log(LogLevel::kInfo, "stopping", {{"signal", ::strsignal(signal)}});
  (*rooms)->readiness().StartDraining();
  {
    // A second signal ends the grace; the end of the drain ends the wait for one.
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) return Failed(ErrnoError(errno, "pipe"));
    const UniqueFd drained(ends[0]);
    UniqueFd drain(ends[1]);
    const std::jthread watcher([&] {
      if (signals.Wait(drained.get()) != 0) (*server)->HastenDrain();
    });
    (*server)->Drain(
        std::chrono::duration_cast<std::chrono::milliseconds>(settings.shutdown_grace));
    (void)!::write(drain.get(), "x", 1);
  }
  start_jobs.reset();
  (*rooms)->StopWorkers();
  server->reset();
  Log(LogLevel::kInfo, "stopped");
  return 0;
}

}  // namespace corral::app
