#include "worker/process_worker.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string_view>
#include <utility>

#include "core/log.h"
#include "worker/spawn.h"

namespace corral::worker {
namespace {

constexpr std::size_t kWaitingFrames =
    4096;  // jobs are refused beyond it; the worker never stops reading for long
// Room that is left then for cancels and credit: a lost one would leave a job waiting for ever.
constexpr std::size_t kOutboxFrames = 64 * kWaitingFrames;
constexpr std::chrono::seconds kReapTime{5};  // after the socket closed
constexpr std::string_view kStopped =
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal "
    "error, check ollama "
    "server logs for details";

}  // namespace

ProcessWorker::ProcessWorker(Launcher::Callbacks callbacks, std::string model_name,
                             std::chrono::milliseconds stall)
    : callbacks_(std::move(callbacks)),
      model_name_(std::move(model_name)),
      stall_(stall),
      outbox_(kOutboxFrames) {}

ProcessWorker::~ProcessWorker() {
  if (reader_.joinable()) {
    Stop(std::chrono::milliseconds(0));
    Join();
  }
}

Status ProcessWorker::Start(const Launch& launch) {
  wake_.Reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_.is_valid()) return Fail(ErrnoError(errno, "eventfd"));

  std::vector<std::filesystem::path> paths = {launch.model};
  paths.insert(paths.end(), launch.projectors.begin(), launch.projectors.end());
  std::vector<UniqueFd> files;
  std::vector<int> descriptors;
  for (const auto& path : paths) {
    CORRAL_TRY(UniqueFd file, OpenForReading(path));
    descriptors.push_back(file.get());
    files.push_back(std::move(file));
  }
  CORRAL_TRY(Spawned spawned, SpawnWorker(launch.program, descriptors));
  socket_ = std::move(spawned.socket);
  child_ = std::make_unique<ChildProcess>(std::move(spawned.child));
  pid_ = child_->pid();
  is_alive_ = true;

  LoadFrame load;
  load.build = BuildCheck();
  load.options = launch.options;
  load.n_projectors = static_cast<std::uint32_t>(launch.projectors.size());
  load.model_name = launch.model_name;
  outbox_.TryPush({.bytes = EncodeFrame(load)});
  if (stall_.count() > 0) stalled_at_ = std::chrono::steady_clock::now() + stall_;
  writer_ = std::jthread([this] { Write(); });
  reader_ = std::jthread([this] { Read(); });
  return {};
}

void ProcessWorker::Join() {
  if (reader_.joinable()) reader_.join();
  if (writer_.joinable()) writer_.join();
}

JobId ProcessWorker::Submit(Job job, EventSink sink) {
  JobId id{};
  bool is_added = false;
  {
    const std::lock_guard lock(mutex_);
    id = JobId{next_job_++};
    if (is_alive_ && !is_stopping_) is_added = jobs_.emplace(id, sink).second;
  }
  if (!is_added) {
    sink(Error{Code::kInternal, std::string(kStopped)});
    return id;
  }
  Outgoing outgoing;
  outgoing.job = id;
  const auto add_files = [&outgoing](const std::vector<AdapterUse>& adapters) {
    for (const AdapterUse& adapter : adapters) outgoing.files.emplace_back(adapter.file);
  };
  if (auto* generate = std::get_if<GenerateJob>(&job)) {
    add_files(generate->adapters);
    outgoing.bytes = EncodeFrame(GenerateFrame{id, std::move(*generate)});
  } else if (auto* embed = std::get_if<EmbedJob>(&job)) {
    add_files(embed->adapters);
    outgoing.bytes = EncodeFrame(EmbedFrame{id, std::move(*embed)});
  } else {
    outgoing.bytes = EncodeFrame(TokenFrame{id, std::move(std::get<TokenJob>(job))});
  }
  const bool is_too_large =
      outgoing.bytes.size() > kMaxPayload || outgoing.files.size() > kMostAdapters;
  PushResult pushed = PushResult::kFull;
  {
    const std::lock_guard lock(mutex_);
    const auto added = jobs_.find(id);
    if (added == jobs_.end()) return id;  // the worker died meanwhile and the reader has answered
    if (!is_too_large && outbox_.Size() < kWaitingFrames)
      pushed = outbox_.TryPush(std::move(outgoing));
    if (pushed == PushResult::kPushed) return id;
    jobs_.erase(added);
  }
  if (is_too_large) {
    sink(Error{Code::kTooLarge, "the request is too large for the model's worker"});
  } else if (pushed == PushResult::kFull) {
    sink(Error{Code::kBusy, "server busy, please try again.  maximum pending requests exceeded"});
  } else {
    sink(Error{Code::kInternal, std::string(kStopped)});
  }
  return id;
}

void ProcessWorker::Cancel(JobId job) {
  {
    const std::lock_guard lock(mutex_);
    if (!jobs_.contains(job)) return;
  }
  outbox_.TryPush({.bytes = EncodeFrame(CancelFrame{job})});
}

void ProcessWorker::AddCredit(JobId job, int pieces) {
  outbox_.TryPush({.bytes = EncodeFrame(CreditFrame{job, pieces})});
}

void ProcessWorker::SetSharers(Sharers sharers) {
  outbox_.TryPush({.bytes = EncodeFrame(SharersFrame{sharers})});
}

ModelFacts ProcessWorker::facts() const {
  const std::lock_guard lock(mutex_);
  return facts_;
}

EngineCounters ProcessWorker::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

void ProcessWorker::Stop(std::chrono::milliseconds grace) {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
    kill_at_ = std::min(kill_at_, std::chrono::steady_clock::now() + grace);
  }
  if (grace.count() > 0) outbox_.TryPush({.bytes = EncodeFrame(StopFrame{})});
  const std::uint64_t one = 1;
  if (wake_.is_valid()) (void)!::write(wake_.get(), &one, sizeof(one));
}

int ProcessWorker::PollTimeout() {
  const std::lock_guard lock(mutex_);
  const auto deadline = std::min(kill_at_, stalled_at_);
  if (deadline == std::chrono::steady_clock::time_point::max()) return -1;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 3'600'000));
}

void ProcessWorker::Read() {
  FrameReader frames(socket_.get());
  for (;;) {
    pollfd events[2] = {{socket_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    const int n = ::poll(events, 2, PollTimeout());
    if (n < 0 && errno != EINTR) break;
    if ((events[1].revents & POLLIN) != 0) {
      std::uint64_t count = 0;
      (void)!::read(wake_.get(), &count, sizeof(count));
    }
    if (PollTimeout() == 0) {
      if (std::chrono::steady_clock::now() >= stalled_at_) {
        FinishLoad(
            Fail(Code::kDeadline, "timed out waiting for the model to load: no progress for " +
                                      std::to_string(stall_.count() / 1000) + " s"));
      }
      child_->Signal(SIGKILL);
      break;
    }
    const bool is_readable = n > 0 && (events[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0;
    if (is_readable && !ReadFrames(frames)) break;
  }

  is_alive_ = false;
  outbox_.Close();
  ::shutdown(socket_.get(), SHUT_RDWR);
  auto status = child_->Wait(std::chrono::steady_clock::now() + kReapTime);
  if (!status) {
    child_->Signal(SIGKILL);
    status = child_->Wait(std::chrono::steady_clock::now() + kReapTime);
  }
  EndAll(status.value_or(ExitStatus{}));
  callbacks_.on_gone();
  has_ended_ = true;  // last: who sees it joins this thread, and may hold what on_gone waits for
}

bool ProcessWorker::ReadFrames(FrameReader& frames) {
  const auto is_open = frames.Fill();
  if (is_open && !*is_open) return false;
  auto frame = is_open ? frames.Take() : Result<std::optional<Frame>>(Fail(is_open.error()));
  for (; frame && *frame; frame = frames.Take()) {
    if (!Handle(std::move(**frame))) return false;
  }
  if (!frame)
    Log(LogLevel::kError, "worker sent what is no frame",
        {{"pid", pid_}, {"error", frame.error().message}});
  return frame.has_value();
}

void ProcessWorker::Write() {
  while (const auto frame = outbox_.Pop()) {
    if (!Send(*frame)) return;  // the reader sees the same end
  }
}

Status ProcessWorker::Send(const Outgoing& frame) {
  std::vector<UniqueFd> files;
  std::vector<int> descriptors;
  for (const auto& path : frame.files) {
    auto file = OpenForReading(path);
    if (!file) {  // the end of this job and of no other
      Deliver(frame.job, std::move(file).error().Within("unable to load adapter"));
      return {};
    }
    descriptors.push_back(file->get());
    files.push_back(*std::move(file));
  }
  return WriteWithFiles(socket_.get(), frame.bytes, descriptors);
}

bool ProcessWorker::Handle(Frame frame) {
  if (auto* piece = std::get_if<PieceFrame>(&frame)) {
    Deliver(piece->job, std::move(piece->piece));
  } else if (auto* finish = std::get_if<FinishFrame>(&frame)) {
    Deliver(finish->job, std::move(finish->finish));
  } else if (auto* embeddings = std::get_if<EmbeddingsFrame>(&frame)) {
    Deliver(embeddings->job, std::move(embeddings->embeddings));
  } else if (auto* text = std::get_if<TokenTextFrame>(&frame)) {
    Deliver(text->job, std::move(text->text));
  } else if (auto* failed = std::get_if<JobErrorFrame>(&frame)) {
    Deliver(failed->job, std::move(failed->error));
  } else if (auto* counters = std::get_if<CountersFrame>(&frame)) {
    const std::lock_guard lock(mutex_);
    counters_ = counters->counters;
  } else if (auto* progress = std::get_if<ProgressFrame>(&frame)) {
    if (stall_.count() > 0 && !is_load_answered_)
      stalled_at_ = std::chrono::steady_clock::now() + stall_;
    if (callbacks_.on_progress) callbacks_.on_progress(progress->fraction);
  } else if (auto* loaded = std::get_if<LoadedFrame>(&frame)) {
    FinishLoad(loaded->facts);
  } else if (auto* load_failed = std::get_if<LoadFailedFrame>(&frame)) {
    has_load_failed_ = true;
    FinishLoad(Fail(std::move(load_failed->error)));
    return false;
  } else {
    Log(LogLevel::kError, "worker sent a frame that only the server sends", {{"pid", pid_}});
    return false;
  }
  return true;
}

void ProcessWorker::Deliver(JobId job, JobEvent event) {
  EventSink sink;
  {
    const std::lock_guard lock(mutex_);
    const auto found = jobs_.find(job);
    if (found == jobs_.end()) return;
    if (IsLast(event)) {
      // Ended by Stop and not by its client, who waits for an answer.
      auto* error = std::get_if<Error>(&event);
      if (is_stopping_ && error != nullptr && error->code == Code::kCancelled)
        error->code = Code::kBusy;
      sink = std::move(found->second);
      jobs_.erase(found);
    } else {
      sink = found->second;
    }
  }
  sink(std::move(event));
}

void ProcessWorker::FinishLoad(Result<ModelFacts> result) {
  if (std::exchange(is_load_answered_, true)) return;
  stalled_at_ = std::chrono::steady_clock::time_point::max();
  if (result) {
    const std::lock_guard lock(mutex_);
    facts_ = *result;
  }
  callbacks_.on_loaded(std::move(result));
}

void ProcessWorker::EndAll(const ExitStatus& status) {
  std::unordered_map<JobId, EventSink> jobs;
  bool was_asked = false;
  {
    const std::lock_guard lock(mutex_);
    jobs.swap(jobs_);
    was_asked = is_stopping_;
  }
  if (!was_asked && !has_load_failed_) {
    Log(LogLevel::kError, "worker ended",
        {{"model", model_name_}, {"pid", pid_}, {"status", status.ToString()}});
  }
  FinishLoad(
      was_asked ? Result<ModelFacts>(Fail(Code::kCancelled, "the load was ended"))
                : Result<ModelFacts>(Fail(Code::kInternal, "llama-server process has terminated: " +
                                                               status.ToString())));
  const Error error =
      was_asked ? Error{Code::kBusy, "the model was unloaded"}
                : Error{Code::kInternal, std::string(kStopped) + ": " + status.ToString()};
  for (auto& [id, sink] : jobs) sink(error);
}

namespace {

// Keeps every worker until its threads are joined: a callback may drop the last handle on the
// reader thread itself.
class ProcessLauncher final : public Launcher {
 public:
  ~ProcessLauncher() override {
    for (const auto& worker : workers_) worker->Stop(std::chrono::milliseconds(0));
    for (const auto& worker : workers_) worker->Join();
  }

  Result<std::shared_ptr<Worker>> Start(const Launch& launch, std::chrono::milliseconds stall,
                                        Callbacks callbacks) override {
    auto worker = std::make_shared<ProcessWorker>(std::move(callbacks), launch.model_name, stall);
    const std::lock_guard lock(mutex_);
    for (auto ended = workers_.begin(); ended != workers_.end();) {
      if ((*ended)->HasEnded()) {
        (*ended)->Join();
        ended = workers_.erase(ended);
      } else {
        ++ended;
      }
    }
    CORRAL_TRY_STATUS(worker->Start(launch));
    workers_.push_back(worker);
    return std::shared_ptr<Worker>(worker);
  }

 private:
  std::mutex mutex_;
  std::vector<std::shared_ptr<ProcessWorker>> workers_;  // guarded by mutex_
};

}  // namespace

std::unique_ptr<Launcher> MakeProcessLauncher() { return std::make_unique<ProcessLauncher>(); }

}  // namespace corral::worker
