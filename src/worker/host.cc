#include "worker/host.h"

#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "core/log.h"
#include "worker/outbox.h"
#include "worker/protocol.h"
#include "worker/sandbox.h"

namespace corral::worker {
namespace {

class Host {
 public:
  Host(const engine::EngineFactory& factory, const TaskFunction& run_task)
      : factory_(factory),
        run_task_(run_task),
        reader_(kSocketFd, /*takes_files=*/true),
        outbox_(
            kSocketFd, [this] { SendCountersIfNew(); }, [] { ::_exit(0); }) {}

  int Run() {
    for (;;) {
      auto frame = reader_.Next();
      if (!frame) {
        Log(LogLevel::kError, "cannot read a frame", {{"error", frame.error().message}});
        ::_exit(1);
      }
      if (!*frame) ::_exit(0);  // the server is gone: nobody hears what is computed
      if (std::holds_alternative<StopFrame>(**frame)) break;
      std::visit([this](auto& body) { On(std::move(body)); }, **frame);
    }
    is_stopping_ = true;
    loader_ = {};  // joins a running load, which looks at is_stopping_
    {
      const std::lock_guard lock(counters_mutex_);
      is_counting_ = false;
    }
    engine_.reset();  // ends what runs; its last events go to the outbox
    return 0;         // whose end writes what it holds
  }

 private:
  void On(LoadFrame load) {
    if (load.build != BuildCheck()) {
      Send(LoadFailedFrame{{Code::kInternal, "corral and corral-worker are of different builds"}});
      return;
    }
    // Loading takes long, and the lifeline must be read meanwhile.
    loader_ = std::jthread([this, load = std::move(load)] { Load(load); });
  }
  void On(TaskFrame frame) {
    loader_ =
        std::jthread([this, frame = std::move(frame)] { Send(TaskEndFrame{RunTask(frame)}); });
  }
  void On(GenerateFrame frame) { SubmitWithFiles(frame.job, std::move(frame.body)); }
  void On(EmbedFrame frame) { SubmitWithFiles(frame.job, std::move(frame.body)); }
  void On(TokenFrame frame) { Submit(frame.job, std::move(frame.body)); }
  void On(CancelFrame frame) {
    if (is_loaded_) engine_->Cancel(frame.job);
  }
  void On(CreditFrame frame) {
    if (is_loaded_) engine_->AddCredit(frame.job, frame.pieces);
  }
  void On(SharersFrame frame) {
    const std::lock_guard lock(sharers_mutex_);
    sharers_ = frame.sharers;
    if (is_loaded_) engine_->SetSharers(sharers_);
  }
  // The server never gets here: these go the other way.
  template <class Other>
  void On(Other) {
    Log(LogLevel::kError, "the server sent a frame that only workers send");
    ::_exit(1);
  }

  template <class Job>
  void SubmitWithFiles(JobId id, Job job) {
    auto files = reader_.TakeFiles(job.adapters.size());
    if (!files) {
      Log(LogLevel::kError, "cannot read a frame", {{"error", files.error().message}});
      ::_exit(1);
    }
    Submit(id, std::move(job), *std::move(files));
  }

  template <class Job, class... Files>
  void Submit(JobId id, Job job, Files... files) {
    if (!is_loaded_) {
      Send(JobErrorFrame{id, {Code::kInternal, "the model is not loaded"}});
      return;
    }
    ++n_jobs_;
    engine_->Submit(id, std::move(job), std::move(files)...);
  }

  void Load(const LoadFrame& load) {
    engine::ModelFiles files;
    int fd = kFirstFileFd;
    files.model = fd++;
    for (std::uint32_t i = 0; i < load.n_projectors; ++i) files.projectors.push_back(fd++);

    // By path too (/proc/self/fd): libmtmd opens what it loads itself.
    SandboxFiles allowed;
    allowed.readable = files.projectors;
    EnterSandbox(allowed);
    engine::EngineConfig config;
    config.options = load.options;
    config.sink = [this](JobId id, JobEvent event) { OnEvent(id, std::move(event)); };
    config.on_progress = [this, last = -1.0F](float fraction) mutable {
      if (fraction - last >= 0.01F || fraction >= 1.0F) Send(ProgressFrame{last = fraction});
      return !is_stopping_;
    };
    auto engine = MakeEngine(files, std::move(config));
    if (!engine) {
      Send(LoadFailedFrame{std::move(engine).error()});
      return;
    }
    engine_ = std::move(*engine);
    {
      const std::lock_guard lock(counters_mutex_);
      is_counting_ = true;
    }
    {
      const std::lock_guard lock(sharers_mutex_);
      engine_->SetSharers(sharers_);  // what was said while it loaded
      is_loaded_ = true;
    }
    Send(LoadedFrame{BuildCheck(), engine_->facts()});
  }

  // The error that ended the task, if one did.
  std::optional<Error> RunTask(const TaskFrame& frame) {
    if (frame.build != BuildCheck())
      return Error{Code::kInternal, "corral and corral-worker are of different builds"};
    TaskFiles files;
    int fd = kFirstFileFd;
    for (std::uint32_t i = 0; i < frame.n_inputs; ++i) files.inputs.push_back(fd++);
    files.output = fd;
    // By path too (/proc/self/fd): libllama opens what it quantises itself.
    SandboxFiles allowed;
    allowed.readable = files.inputs;
    allowed.writable = files.output;
    EnterSandbox(allowed);
    const auto on_progress = [this, last = -1.0F](float fraction) mutable {
      if (fraction - last >= 0.01F || fraction >= 1.0F) Send(ProgressFrame{last = fraction});
    };
    try {
      const Status done = run_task_(frame.task, files, on_progress);
      if (!done) return done.error();
      return std::nullopt;
    } catch (const std::bad_alloc&) {
      return Error{Code::kNoMemory, "out of memory"};
    } catch (const std::exception& error) {
      return Error{Code::kCorrupt, error.what()};
    }
  }

  Result<std::unique_ptr<engine::Engine>> MakeEngine(const engine::ModelFiles& files,
                                                     engine::EngineConfig config) {
    try {
      return factory_(files, std::move(config));
    } catch (const std::bad_alloc&) {
      return Fail(Code::kNoMemory, "unable to load model: out of memory");
    } catch (const std::exception& error) {
      return Fail(Code::kCorrupt, std::string("unable to load model: ") + error.what());
    }
  }

  // nullopt: no engine, or one that is being taken down.
  std::optional<EngineCounters> ReadCounters() {
    const std::lock_guard lock(counters_mutex_);
    if (!is_counting_) return std::nullopt;
    return engine_->Counters();
  }

  void OnEvent(JobId id, JobEvent event) {
    if (IsLast(event)) {
      --n_jobs_;
      // Before the last event: who reads the counters after an answer finds it counted.
      if (const auto counters = ReadCounters()) SendCounters(*counters);
    }
    std::visit([this, id](auto& body) { SendEvent(id, std::move(body)); }, event);
  }
  void SendEvent(JobId id, Piece piece) { Send(PieceFrame{id, std::move(piece)}); }
  void SendEvent(JobId id, Finish finish) { Send(FinishFrame{id, std::move(finish)}); }
  void SendEvent(JobId id, Embeddings embeddings) {
    Send(EmbeddingsFrame{id, std::move(embeddings)});
  }
  void SendEvent(JobId id, TokenText text) { Send(TokenTextFrame{id, std::move(text)}); }
  void SendEvent(JobId id, Error error) { Send(JobErrorFrame{id, std::move(error)}); }

  void Send(const Frame& frame) { outbox_.Send(EncodeFrame(frame)); }

  void SendCounters(const EngineCounters& counters) {
    told_parked_bytes_ = counters.parked_bytes;
    Send(CountersFrame{counters});
  }

  // While there is work, and when an idle model has forgotten what others want the memory for.
  void SendCountersIfNew() {
    const auto counters = ReadCounters();
    if (counters && (n_jobs_ > 0 || counters->parked_bytes != told_parked_bytes_))
      SendCounters(*counters);
  }

  const engine::EngineFactory& factory_;
  const TaskFunction& run_task_;
  FrameReader reader_;  // of the main thread
  std::atomic<bool> is_loaded_{false};
  std::atomic<bool> is_stopping_{false};
  std::atomic<int> n_jobs_{0};
  std::mutex sharers_mutex_;  // also while the engine hears of it: the newest is the last
  Sharers sharers_;           // guarded by sharers_mutex_
  std::atomic<std::int64_t> told_parked_bytes_{0};
  std::mutex counters_mutex_;
  bool is_counting_ = false;                // guarded by counters_mutex_: engine_ may be asked
  Outbox outbox_;                           // outlives what sends through it
  std::unique_ptr<engine::Engine> engine_;  // set before is_loaded_
  std::jthread loader_;
};

}  // namespace

int RunHost(const engine::EngineFactory& factory, const TaskFunction& run_task) {
  return Host(factory, run_task).Run();
}

}  // namespace corral::worker
