// corral-worker with the fake engine, for tests.
#include "convert/convert.h"
#include "engine/fake_engine.h"
#include "worker/host.h"

int main() {
  using corral::Task;
  return corral::worker::RunHost(
      corral::engine::MakeFakeEngine, [](const Task& task, const corral::TaskFiles& files,
                                         const std::function<void(float)>& on_progress) {
        return task.kind == Task::Kind::kQuantize
                   ? corral::engine::FakeQuantize(task, files, on_progress)
                   : corral::convert::Run(task, files, on_progress);
      });
}
