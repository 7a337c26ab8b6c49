// `corral-worker`: one loaded model, or one task. Started by the server with its socket and files;
// not meant for hands.
#include <unistd.h>

#include "convert/convert.h"
#include "core/log.h"
#include "engine/llama/format_processes.h"
#include "engine/llama/llama_engine.h"
#include "engine/llama/quantize.h"
#include "worker/host.h"
#include "worker/sandbox.h"

namespace {

// A worker that formats no prompt is of no use: the server starts another one for the next request.
[[noreturn]] void EndWithoutFormatters() {
  corral::Log(corral::LogLevel::kError, "the processes that format prompts have ended");
  ::_exit(1);
}

}  // namespace

int main() {
  // While there is one thread: they are copies of this process.
  const auto formatters = corral::engine::FormatProcesses::Start(
      [] { corral::worker::EnterSandbox({}); }, EndWithoutFormatters);
  if (!formatters) {
    corral::Log(corral::LogLevel::kError, "cannot start the processes that format prompts",
                {{"error", formatters.error().message}});
    return 1;
  }
  corral::engine::LoadComputeLibraries();
  using corral::Task;
  return corral::worker::RunHost(corral::engine::LlamaEngines(**formatters),
                                 [](const Task& task, const corral::TaskFiles& files,
                                    const std::function<void(float)>& on_progress) {
                                   return task.kind == Task::Kind::kQuantize
                                              ? corral::engine::Quantize(task, files, on_progress)
                                              : corral::convert::Run(task, files, on_progress);
                                 });
}
