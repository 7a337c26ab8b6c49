#include "app/rooms.h"

#include <algorithm>
#include <string>
#include <utility>

#include "app/store_options.h"
#include "worker/client.h"

namespace corral::app {
namespace {

constexpr int kAutoLoadedModels = 3;  // Ollama's 3 x max(GPUs, 1) for a machine without GPUs
constexpr std::uint64_t kAutoContext = 4096;
constexpr std::chrono::seconds kWorkerGrace{2};

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
                                   : -1;  // a share of what is free, chosen by the workers
  return options;
}

}  // namespace

std::filesystem::path WorkerProgram(const Settings& settings) {
  if (!settings.worker.empty()) return settings.worker;
  std::error_code error;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  const auto installed = folder.parent_path() / "lib" / "corral" / "corral-worker";
  return std::filesystem::exists(installed, error) ? installed : folder / "corral-worker";
}

Result<std::unique_ptr<Rooms>> Rooms::Make(const Settings& settings) {
  CORRAL_TRY(auto store, models::Store::Open(settings.models, StoreOptionsOf(settings)));
  return std::unique_ptr<Rooms>(new Rooms(settings, std::move(store)));
}

Rooms::Rooms(const Settings& settings, std::unique_ptr<models::Store> store)
    : settings_(settings),
      store_(std::move(store)),
      scheduler_(scheduler::MakeScheduler(
          SchedulerOptions(settings),
          std::shared_ptr<worker::Launcher>(worker::MakeProcessLauncher()))),
      registry_(std::make_unique<registry::Registry>(*store_, RegistryOptionsOf(settings))),
      tasks_(worker::MakeProcessTaskRunner(WorkerProgram(settings))) {}

Rooms::~Rooms() { StopWorkers(); }

void Rooms::StopWorkers() {
  if (!std::exchange(has_stopped_, true)) scheduler_->Shutdown(kWorkerGrace);
}

}  // namespace corral::app
