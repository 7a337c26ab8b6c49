// `corral-worker`: one loaded model, or one task. Started by the server with its socket and files;
// not meant for hands.
#include "convert/convert.h"
#include "engine/llama/llama_engine.h"
#include "engine/llama/quantize.h"
#include "worker/host.h"

int main() {
  corral::engine::LoadComputeLibraries();
  using corral::Task;
  return corral::worker::RunHost(corral::engine::MakeLlamaEngine,
                                 [](const Task& task, const corral::TaskFiles& files,
                                    const std::function<void(float)>& on_progress) {
                                   return task.kind == Task::Kind::kQuantize
                                              ? corral::engine::Quantize(task, files, on_progress)
                                              : corral::convert::Run(task, files, on_progress);
                                 });
}
