// For tests of the handlers: an exchange without a socket, a scheduler and a worker that do what
// the test says.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "http/http.h"
#include "scheduler/scheduler.h"
#include "worker/client.h"
#include "worker/task.h"

namespace corral::api {

// One request whose answer is recorded. RunBlocking runs at once, on the caller's thread.
class FakeExchange final : public http::Exchange {
 public:
  FakeExchange(boost::asio::io_context& io, std::string method, std::string path, std::string body)
      : io_(io), body_(std::move(body)) {
    request_.method = std::move(method);
    request_.path = std::move(path);
    request_.received = Clock::now();
  }

  const http::Request& request() const override { return request_; }
  http::Request& mutable_request() { return request_; }
  StopToken stop() const override { return stop_.token(); }
  StopSource& stop_source() { return stop_; }

  http::Task<Result<std::string>> ReadBody() override { co_return body_; }
  http::Task<Result<std::string>> ReadSome() override {
    if (read_error) co_return Fail(*read_error);
    std::string part = body_.substr(0, 3);
    body_.erase(0, part.size());
    co_return part;
  }
  http::Task<Status> Send(http::Response response) override {
    ++n_answers;
    sent = std::move(response);
    co_return Status();
  }
  http::Task<Status> StartStream(
      int status, std::string content_type,
      std::vector<std::pair<std::string, std::string>> /*headers*/) override {
    ++n_answers;
    stream_status = status;
    stream_type = std::move(content_type);
    co_return Status();
  }
  http::Task<Status> Write(std::string chunk) override {
    if (n_writes_until_gone && (*n_writes_until_gone)-- == 0) {
      stop_.RequestStop(StopReason::kClientGone);
      co_return Fail(Code::kCancelled, "client gone");
    }
    written += chunk;
    ++n_writes;
    if (on_write) on_write();
    co_return Status();
  }
  http::Task<Status> FinishStream() override {
    is_finished = true;
    co_return Status();
  }
  bool HasStarted() const override { return n_answers > 0; }
  http::Task<Status> RunBlocking(std::function<void()> work) override {
    if (is_pool_full) co_return Fail(Code::kBusy, "the pool is full");
    work();
    co_return Status();
  }
  boost::asio::any_io_executor executor() const override { return io_.get_executor(); }

  // What the test sets.
  std::optional<int> n_writes_until_gone;
  std::optional<Error> read_error;
  bool is_pool_full = false;
  std::function<void()> on_write;

  // What the handler did.
  int n_answers = 0;
  int n_writes = 0;
  http::Response sent;
  int stream_status = 0;
  std::string stream_type;
  std::string written;
  bool is_finished = false;

 private:
  boost::asio::io_context& io_;
  http::Request request_;
  std::string body_;
  StopSource stop_;
};

// Answers each job with what `on_submit` says; records what it was asked. Thread-safe.
class FakeWorker final : public worker::Worker {
 public:
  using OnSubmit = std::function<void(FakeWorker&, JobId, worker::Job&, worker::EventSink)>;
  explicit FakeWorker(OnSubmit on_submit) : on_submit_(std::move(on_submit)) {}

  JobId Submit(worker::Job job, worker::EventSink sink) override {
    const JobId id{++last_id_};
    {
      const std::lock_guard lock(mutex_);
      jobs_.push_back(job);
    }
    on_submit_(*this, id, job, std::move(sink));
    return id;
  }
  void Cancel(JobId job) override {
    std::function<void()> end;
    {
      const std::lock_guard lock(mutex_);
      ++n_cancels_;
      end = std::exchange(on_cancel_, nullptr);
    }
    (void)job;
    if (end) end();
  }
  void AddCredit(JobId /*job*/, int pieces) override {
    const std::lock_guard lock(mutex_);
    credit_ += pieces;
  }
  void SetSharers(Sharers /*sharers*/) override {}
  bool IsAlive() const override { return true; }
  pid_t pid() const override { return 1; }
  ModelFacts facts() const override { return {}; }
  EngineCounters counters() const override { return {}; }
  void Stop(std::chrono::milliseconds /*grace*/) override {}

  // Runs once, at the first Cancel from now on.
  void OnCancel(std::function<void()> end) {
    const std::lock_guard lock(mutex_);
    on_cancel_ = std::move(end);
  }
  std::vector<worker::Job> jobs() const {
    const std::lock_guard lock(mutex_);
    return jobs_;
  }
  int n_cancels() const {
    const std::lock_guard lock(mutex_);
    return n_cancels_;
  }
  int credit() const {
    const std::lock_guard lock(mutex_);
    return credit_;
  }

 private:
  OnSubmit on_submit_;
  std::uint64_t last_id_ = 0;
  mutable std::mutex mutex_;
  std::vector<worker::Job> jobs_;    // guarded by mutex_
  int n_cancels_ = 0;                // guarded by mutex_
  int credit_ = 0;                   // guarded by mutex_
  std::function<void()> on_cancel_;  // guarded by mutex_
};

// Leases one worker, at once. One thread.
class FakeScheduler final : public scheduler::Scheduler {
 public:
  void Acquire(scheduler::ModelRequest request, StopToken /*stop*/, OnLease on_lease) override {
    requests.push_back(request);
    if (on_acquire) on_acquire();
    if (error) {
      on_lease(Fail(*error));
      return;
    }
    ++n_leases;
    const int num_ctx = request.num_ctx.value_or(4096);
    on_lease(scheduler::Lease(worker, ModelFacts{}, num_ctx, [this] { --n_leases; }));
  }
  void Unload(const std::filesystem::path& model) override { unloaded.push_back(model); }
  std::vector<scheduler::LoadedModel> Loaded() override { return loaded; }
  EngineCounters TotalCounters() override { return counters; }
  int WaitingRequests() override { return n_waiting; }
  void StopAdmitting() override {}
  void Shutdown(std::chrono::milliseconds /*grace*/) override {}
  void Poke() override {}

  // What the test sets.
  std::shared_ptr<FakeWorker> worker;
  std::optional<Error> error;
  std::function<void()> on_acquire;
  std::vector<scheduler::LoadedModel> loaded;
  EngineCounters counters;
  int n_waiting = 0;

  // What was asked.
  std::vector<scheduler::ModelRequest> requests;
  std::vector<std::filesystem::path> unloaded;
  int n_leases = 0;  // not given back yet
};

// Does each task with what `on_run` says; records what it was asked. Thread-safe.
class FakeTasks final : public worker::TaskRunner {
 public:
  using OnRun = std::function<Status(const worker::TaskLaunch&, const std::function<void(float)>&)>;

  Status Run(const worker::TaskLaunch& launch, const std::function<void(float)>& on_progress,
             StopToken /*stop*/) override {
    const std::lock_guard lock(mutex_);
    launches_.push_back(launch);
    if (!on_run) return Fail(Code::kInternal, "no task was expected");
    return on_run(launch, on_progress);
  }
  std::vector<worker::TaskLaunch> launches() const {
    const std::lock_guard lock(mutex_);
    return launches_;
  }

  OnRun on_run;  // set before the tasks come

 private:
  mutable std::mutex mutex_;
  std::vector<worker::TaskLaunch> launches_;
};

}  // namespace corral::api
