// The scheduler of one server process. Inside the room: others use scheduler/scheduler.h.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "scheduler/scheduler.h"

namespace corral::scheduler {

class LocalScheduler final : public Scheduler {
 public:
  LocalScheduler(Options options, std::shared_ptr<worker::Launcher> launcher,
                 Surroundings surroundings);
  ~LocalScheduler() override;

  void Acquire(ModelRequest request, StopToken stop, OnLease on_lease) override;
  void Unload(const std::filesystem::path& model) override;
  std::vector<LoadedModel> Loaded() override;
  EngineCounters TotalCounters() override;
  int WaitingRequests() override;
  void StopAdmitting() override;
  void Shutdown(std::chrono::milliseconds grace) override;
  void Poke() override;

 private:
  using Message = std::function<void()>;
  using EntryId = std::uint64_t;

  // A request that has no lease yet.
  struct Waiting {
    ModelRequest request;
    StopToken stop;
    OnLease on_lease;
    std::unique_ptr<StopCallback> on_stop;
  };
  // kLoading -> kReady -> kStopping -> gone from the table; kLoading and kReady also go when the
  // worker dies.
  enum class State { kLoading, kReady, kStopping };
  struct Entry {
    EntryId id = 0;
    State state = State::kLoading;
    ModelRequest loaded_for;  // what decided the load options
    std::shared_ptr<worker::Worker> worker;
    ModelFacts facts;
    std::chrono::nanoseconds keep_alive{0};
    int leases = 0;
    Sharers told;
    int shown_num_ctx = 0;                          // of the newest request
    Clock::time_point idle_since;                   // while leases == 0
    bool must_go = false;                           // as soon as it is idle: replaced
    std::vector<std::unique_ptr<Waiting>> waiters;  // while kLoading
  };

  void Post(Message message);
  // Posts and waits for the answer.
  template <class T>
  T Ask(std::function<T()> question);
  void Run();
  Clock::time_point NextDeadline() const;

  void OnAcquire(std::unique_ptr<Waiting> waiting);
  void OnStopped();
  void OnLoaded(EntryId id, Result<ModelFacts> result);
  void OnGone(EntryId id);
  void OnReleased(EntryId id);
  void ServeWaiting();
  // True if the request was granted, refused, or joined a load; false: it must wait on.
  bool TryServe(std::unique_ptr<Waiting>& waiting);
  bool StartLoad(std::unique_ptr<Waiting>& waiting);
  bool MakeRoom(const ModelRequest& request);
  Entry* LongestIdle(bool is_vocab_only);
  void Grant(Entry& entry, std::unique_ptr<Waiting> waiting);
  void TellSharers();
  void ExpireIdle();
  void Evict(Entry& entry, std::chrono::milliseconds grace);
  bool CanServe(const Entry& entry, const ModelRequest& request) const;
  int NumCtx(const ModelRequest& request) const;
  // With the server's value where the request has none.
  LoadOptions LoadOptionsOf(const ModelRequest& request) const;
  Clock::time_point ExpiryOf(const Entry& entry) const;
  Entry* Find(EntryId id);
  Entry* FindModel(const ModelRequest& request);
  // Entries with weights, or without.
  int CountEntries(bool is_vocab_only) const;
  int CountWaiting() const;

  const Options options_;
  const std::shared_ptr<worker::Launcher> launcher_;
  const Surroundings surroundings_;

  // The scheduler thread's own.
  std::list<Entry> entries_;
  std::vector<std::shared_ptr<std::promise<void>>> waits_for_empty_;  // of Shutdown
  std::deque<std::unique_ptr<Waiting>> waiting_;
  EntryId next_entry_ = 1;
  EngineCounters gone_counters_;  // of workers that are no more
  bool is_admitting_ = true;

  std::mutex mutex_;
  std::condition_variable event_;
  std::deque<Message>
      inbox_;  // guarded by mutex_; bounded by the callers: connections, workers and leases
  bool is_closed_ = false;  // guarded by mutex_

  std::jthread thread_;
};

}  // namespace corral::scheduler
