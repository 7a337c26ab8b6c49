#include "app/server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/request_metrics.h"
#include "api/routes.h"
#include "api/services.h"
#include "api/start_models.h"
#include "api/version.h"
#include "app/advice.h"
#include "core/files.h"
#include "core/host.h"
#include "core/init_process.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/script.h"
#include "core/settings.h"
#include "http/http.h"
#include "models/store.h"
#include "registry/registry.h"
#include "scheduler/scheduler.h"
#include "worker/client.h"

extern char** environ;

namespace corral::app {
namespace {

constexpr int kAutoLoadedModels = 3;  // Ollama's 3 x max(GPUs, 1) for a machine without GPUs
constexpr std::uint64_t kAutoContext = 4096;
constexpr std::chrono::seconds kWorkerGrace{2};

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

// corral-worker lies beside this program, or installed in ../lib/corral, unless a setting says
// otherwise.
std::filesystem::path WorkerProgram(const Settings& settings) {
  if (!settings.worker.empty()) return settings.worker;
  std::error_code error;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  const auto installed = folder.parent_path() / "lib" / "corral" / "corral-worker";
  return std::filesystem::exists(installed, error) ? installed : folder / "corral-worker";
}

scheduler::Options SchedulerOptions(const Settings& settings) {
  scheduler::Options options;
  options.worker_program = WorkerProgram(settings);
  options.max_loaded_models =
      settings.max_loaded_models == 0
          ? kAutoLoadedModels
          : static_cast<int>(std::min<std::uint64_t>(settings.max_loaded_models, 1000));
  options.max_queue = static_cast<int>(std::min<std::uint64_t>(settings.max_queue, 1'000'000));
  options.num_parallel = static_cast<int>(std::min<std::uint64_t>(settings.num_parallel, 64));
  options.default_num_ctx = static_cast<int>(std::min<std::uint64_t>(
      settings.context_length == 0 ? kAutoContext : settings.context_length, 1U << 30));
  options.default_keep_alive = settings.keep_alive;
  options.load_timeout = settings.load_timeout;
  options.flash_attention = settings.flash_attention.value_or(true);
  options.kv_cache_type = settings.kv_cache_type;
  options.prefix_cache_bytes = settings.prefix_cache_bytes
                                   ? static_cast<std::int64_t>(std::min<std::uint64_t>(
                                         *settings.prefix_cache_bytes, 1ULL << 50))
                                   : -1;  // each worker takes a share of what is free then
  return options;
}

registry::Options RegistryOptions(const Settings& settings) {
  registry::Options options;
  options.user_agent = UserAgent(api::kOllamaVersion, CORRAL_VERSION);
  options.mirror = settings.registry_mirror;
  options.environment = ProcessEnvironment();
  options.ca_file = settings.ca_file;
  options.key_file = settings.signing_key;
  options.auth_file = settings.registry_auth;
  options.allowed = settings.registries;
  return options;
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
    if (const std::optional<int> status = SplitOffInit()) return *status;
  }
  const StopSignals signals;
  std::vector<std::string> warnings;
  const Settings settings =
      ReadSettings(ProcessEnvironment(), ProcessEnvironmentNames(), &warnings);
  ConfigureLog(settings.log_level,
               settings.log_format == "json" ? LogFormat::kJson : LogFormat::kText);
  for (const std::string& warning : warnings) Log(LogLevel::kWarn, warning);
  LogSettings(settings);

  models::StoreOptions store_options;
  store_options.is_prune_enabled = !settings.no_prune;
  store_options.go_template = settings.go_template;
  auto store = models::Store::Open(settings.models, store_options);
  if (!store) return Failed(store.error(), StoreAdvice(settings.models));
  WarnIfReadOnly(settings.models);

  Metrics metrics;
  const auto scheduler = scheduler::MakeScheduler(
      SchedulerOptions(settings), std::shared_ptr<worker::Launcher>(worker::MakeProcessLauncher()));
  const auto registry = std::make_unique<registry::Registry>(**store, RegistryOptions(settings));
  api::RequestMetrics request_metrics(metrics);
  api::Readiness readiness;
  const api::Services services{**store, *scheduler, *registry, settings, metrics, readiness};
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
    Log(LogLevel::kInfo, "request",
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
  readiness.StartDraining();
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
  scheduler->Shutdown(kWorkerGrace);
  server->reset();
  Log(LogLevel::kInfo, "stopped");
  return 0;
}

}  // namespace corral::app
