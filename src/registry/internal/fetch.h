// Brings a blob's bytes into its partial file: many range requests at once, and behind them the
// hash.
//
//   offset 0 ......... hashed ....... window end ............ size
//   [ hashed, on disk ][ in flight, in chunks ][ not asked for yet ]
//
// Chunks are asked for in order and not further than a window ahead of the hash, so that the hash
// reads bytes which have just been written (from the page cache), each of them once. What an
// earlier download left is not fetched again, and read once.
//
// Threads: Run's caller works libcurl and writes; one thread hashes; one saves the state now and
// then (fdatasync).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <thread>

#include "core/mutex.h"
#include "core/result.h"
#include "core/sha256.h"
#include "core/stop.h"
#include "models/name.h"
#include "models/partial.h"
#include "registry/internal/remote.h"

namespace corral::registry::internal {

class Fetch {
 public:
  // All must outlive the fetch. `completed` is kept current: bytes that are there.
  Fetch(Remote& remote, models::PartialBlob& partial, const models::Digest& digest,
        std::int64_t size_bytes, std::atomic<std::int64_t>& completed);
  ~Fetch();
  Fetch(const Fetch&) = delete;
  Fetch& operator=(const Fetch&) = delete;

  // Until all bytes are there and hashed. Once only. A request that fails, or gives no byte for
  // Options::stall, is tried again from where it stopped, at an address asked for anew. Errors:
  // those of Remote; kUpstream `max retries exceeded: …`; kIo (disk), and what `stop` says. On an
  // error the state is saved.
  Result<Sha256::Hash> Run(const StopToken& stop);

 private:
  struct Part;  // one request on its way

  Status Work(const StopToken& stop);
  Status FindSource(const StopToken& stop);
  // Starts requests as long as there is something to ask for and room.
  Status StartParts();
  // The next bytes to ask for; nullopt: nothing now.
  std::optional<models::ByteRanges::Range> NextRange();
  Status Start(models::ByteRanges::Range range);
  // Takes finished and stalled requests out.
  Status CollectParts();
  Status CheckHead(const Part& part, const Head& head) const;
  Status Take(Part& part, std::string_view bytes);
  // A request failed: later again, or never.
  Status Retry(Error error);
  Status Arrived(std::int64_t offset, std::string_view bytes);

  void HashLoop(const std::stop_token& stop);
  void SaveLoop(const std::stop_token& stop);

  Remote& remote_;
  models::PartialBlob& partial_;
  const models::Digest digest_;
  const std::int64_t size_bytes_;
  std::atomic<std::int64_t>& completed_;
  const Options& options_;

  // Of Run's thread.
  struct FreeMulti {
    void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
  };
  std::unique_ptr<CURLM, FreeMulti> multi_;
  std::list<Part> parts_;
  std::optional<BlobSource> source_;
  Clock::time_point not_before_{};  // the next request
  int n_failures_ = 0;              // since the last new byte

  Mutex mutex_;
  CondVar arrived_;  // the hash thread waits
  CondVar ended_;    // the saving one
  models::ByteRanges present_ CORRAL_GUARDED_BY(mutex_);
  std::int64_t hashed_ CORRAL_GUARDED_BY(mutex_) = 0;
  Status hash_status_ CORRAL_GUARDED_BY(mutex_);
  bool is_over_ CORRAL_GUARDED_BY(mutex_) = false;
  Sha256 hash_;  // the hash thread's; Run's after its end
};

}  // namespace corral::registry::internal
