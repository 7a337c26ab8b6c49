// One worker process as the server sees it. Inside the room: others use worker/client.h.
//
// A reader and a writer thread. Whoever calls Submit never waits for the socket: frames go through
// a bounded outbox. The reader alone calls sinks and callbacks, reaps the process, and ends the
// jobs that are left when it dies.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "core/files.h"
#include "core/process.h"
#include "core/queue.h"
#include "worker/client.h"
#include "worker/protocol.h"

namespace corral::worker {

class ProcessWorker final : public Worker {
 public:
  ProcessWorker(Launcher::Callbacks callbacks, std::string model_name,
                std::chrono::milliseconds stall);
  ~ProcessWorker() override;

  // Starts the process and its threads. Errors: kNotFound, kForbidden, kIo; then no callback comes.
  Status Start(const Launch& launch);
  // Blocks until both threads have ended. Not from a callback.
  void Join();
  bool HasEnded() const { return has_ended_; }

  JobId Submit(Job job, EventSink sink) override;
  void Cancel(JobId job) override;
  void AddCredit(JobId job, int pieces) override;
  void SetSharers(Sharers sharers) override;
  bool IsAlive() const override { return is_alive_; }
  pid_t pid() const override { return pid_; }
  ModelFacts facts() const override;
  EngineCounters counters() const override;
  void Stop(std::chrono::milliseconds grace) override;

 private:
  struct Outgoing {
    std::string bytes;                              // of a frame
    JobId job{};                                    // that the files are for
    std::vector<std::filesystem::path> files = {};  // opened where they are sent: a disk may wait
  };
  void Read();
  void Write();
  Status Send(const Outgoing& frame);
  // Takes in what has come. False, as in Handle: the conversation is over.
  bool ReadFrames(FrameReader& frames);
  bool Handle(Frame frame);
  void Deliver(JobId job, JobEvent event);
  void FinishLoad(Result<ModelFacts> result);
  void EndAll(const ExitStatus& status);
  // Milliseconds until the next deadline (load stall, stop grace); -1: none.
  int PollTimeout();

  const Launcher::Callbacks callbacks_;
  const std::string model_name_;
  const std::chrono::milliseconds stall_;

  std::unique_ptr<ChildProcess> child_;  // set before the threads start; then the reader's
  pid_t pid_ = -1;
  UniqueFd socket_;  // written by the writer, read by the reader
  UniqueFd wake_;    // eventfd: the reader looks at its deadlines again
  BoundedQueue<Outgoing> outbox_;

  std::atomic<bool> is_alive_{false};
  std::atomic<bool> has_ended_{false};

  mutable std::mutex mutex_;
  std::unordered_map<JobId, EventSink> jobs_;  // guarded by mutex_
  std::uint64_t next_job_ = 1;                 // guarded by mutex_
  ModelFacts facts_;                           // guarded by mutex_
  EngineCounters counters_;                    // guarded by mutex_
  bool is_stopping_ = false;                   // guarded by mutex_: asked to stop
  std::chrono::steady_clock::time_point kill_at_ =
      std::chrono::steady_clock::time_point::max();  // guarded by mutex_

  // The reader's own.
  bool is_load_answered_ = false;
  bool has_load_failed_ = false;  // the worker said why and ends: no crash
  std::chrono::steady_clock::time_point stalled_at_ = std::chrono::steady_clock::time_point::max();

  std::jthread reader_, writer_;
};

}  // namespace corral::worker
