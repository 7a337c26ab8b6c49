// The download of one blob, shared by all pulls of this process that want it.
//
// It works on a thread of its own and belongs to those who wait: when the last one lets go of it,
// it stops, and what has arrived stays. Another process that downloads the same blob is waited for.
// Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <thread>

#include "core/mutex.h"
#include "core/result.h"
#include "core/stop.h"
#include "models/store.h"
#include "registry/internal/remote.h"

namespace corral::registry::internal {

class Download {
 public:
  // `store` must outlive it. `remote` is used on the download's thread as long as it runs.
  Download(models::Store& store, models::Layer layer, std::shared_ptr<Remote> remote);
  ~Download();  // stops, and waits for the thread
  Download(const Download&) = delete;
  Download& operator=(const Download&) = delete;

  // Bytes that are there.
  std::int64_t completed() const { return completed_.load(); }
  // True: it is over. False: the deadline has passed, or `stop` has stopped.
  bool Wait(Deadline deadline, const StopToken& stop);
  // After Wait was true. Errors: those of Fetch::Run, kCorrupt (`digest mismatch, …`), kForbidden,
  // kIo.
  Status status() const;

 private:
  void Run();
  Status Work();
  // One go at the partial file, which is ours. `*was_resumed`: some bytes were there already.
  Status Fill(models::PartialBlob& partial, bool* was_resumed);

  models::Store& store_;
  const models::Layer layer_;
  const std::shared_ptr<Remote> remote_;
  StopSource stop_;
  std::atomic<std::int64_t> completed_{0};
  mutable Mutex mutex_;
  CondVar changed_;
  bool is_over_ CORRAL_GUARDED_BY(mutex_) = false;
  Status status_ CORRAL_GUARDED_BY(mutex_);
  std::jthread thread_;  // last: uses the rest
};

// Which downloads run, by digest.
class Downloads {
 public:
  struct Joined {
    std::shared_ptr<Download> download;  // shared: by all who wait for it
    bool is_new = false;
  };
  // The download that runs, or a new one that uses `remote`.
  Joined Join(models::Store& store, const models::Layer& layer,
              const std::shared_ptr<Remote>& remote);

 private:
  Mutex mutex_;
  std::map<models::Digest, std::weak_ptr<Download>> running_ CORRAL_GUARDED_BY(mutex_);
};

}  // namespace corral::registry::internal
