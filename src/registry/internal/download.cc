#include "registry/internal/download.h"

#include <pthread.h>

#include <utility>

#include "core/log.h"
#include "registry/internal/fetch.h"

namespace corral::registry::internal {

Download::Download(models::Store& store, models::Layer layer, std::shared_ptr<Remote> remote)
    : store_(store),
      layer_(std::move(layer)),
      remote_(std::move(remote)),
      thread_([this] { Run(); }) {
  ::pthread_setname_np(thread_.native_handle(), "blob-download");
}

Download::~Download() { stop_.RequestStop(StopReason::kUser); }

bool Download::Wait(Deadline deadline, const StopToken& stop) {
  const StopCallback wake(stop, [this] {
    const MutexLock lock(mutex_);
    changed_.NotifyAll();
  });
  const MutexLock lock(mutex_);
  while (!is_over_ && !stop.StopRequested() && changed_.WaitUntil(mutex_, deadline)) {
  }
  return is_over_;
}

Status Download::status() const {
  const MutexLock lock(mutex_);
  return status_;
}

void Download::Run() {
  Status status = Work();
  const MutexLock lock(mutex_);
  status_ = std::move(status);
  is_over_ = true;
  changed_.NotifyAll();
}

Status Download::Work() {
  const StopToken stop = stop_.token();
  const StopCallback wake(stop, [this] {
    const MutexLock lock(mutex_);
    changed_.NotifyAll();
  });
  for (int n_wrong = 0;;) {
    if (stop.StopRequested()) return Fail(stop.ToError());
    if (store_.HasLayer(layer_)) {  // another process may have brought it
      completed_ = layer_.size;
      return {};
    }
    CORRAL_TRY(const std::unique_ptr<models::PartialBlob> partial,
               store_.OpenPartial(layer_.digest, layer_.size));
    if (!partial) {
      completed_ = store_.PartialBytes(layer_.digest);
      const Deadline next = Clock::now() + remote_->session().options().other_owner_interval;
      const MutexLock lock(mutex_);
      while (!stop.StopRequested() && changed_.WaitUntil(mutex_, next)) {
      }
      continue;
    }
    if (store_.HasLayer(layer_)) continue;
    bool was_resumed = false;
    Status status = Fill(*partial, &was_resumed);
    // What an earlier download left may have been wrong: once more, from the start.
    const bool is_wrong = !status && status.error().code == Code::kCorrupt && was_resumed;
    if (!is_wrong || n_wrong++ > 0) return status;
    Log(LogLevel::kWarn, "a download that was gone on with had wrong bytes and is begun anew",
        {{"digest", layer_.digest.ToString()}});
  }
}

Status Download::Fill(models::PartialBlob& partial, bool* was_resumed) {
  *was_resumed = partial.found().TotalBytes() > 0;
  Fetch fetch(*remote_, partial, layer_.digest, layer_.size, completed_);
  CORRAL_TRY(const Sha256::Hash hash, fetch.Run(stop_.token()));
  return partial.Commit(hash);
}

Downloads::Joined Downloads::Join(models::Store& store, const models::Layer& layer,
                                  const std::shared_ptr<Remote>& remote) {
  const MutexLock lock(mutex_);
  std::erase_if(running_, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<Download>& running = running_[layer.digest];
  Joined joined{running.lock(), false};
  if (!joined.download) {
    joined = {std::make_shared<Download>(store, layer, remote), true};
    running = joined.download;
  }
  return joined;
}

}  // namespace corral::registry::internal
