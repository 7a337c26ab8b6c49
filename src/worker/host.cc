#include "worker/host.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "core/log.h"
#include "core/queue.h"
#include "worker/protocol.h"
#include "worker/sandbox.h"

namespace corral::worker {
namespace {

constexpr std::size_t kOutboxFrames = 4096;
constexpr std::chrono::seconds kCountersEvery{1};

class Host {
 public:
  explicit Host(const engine::EngineFactory& factory) : factory_(factory), outbox_(kOutboxFrames) {}

  int Run() {
    std::jthread writer([this] { Write(); });
    FrameReader reader(kSocketFd);
    for (;;) {
      auto frame = reader.Next();
      if (!frame) {
        Log(LogLevel::kError, "cannot read a frame", {{"error", frame.error().message}});
        ::_exit(1);
      }
      if (!*frame) ::_exit(0);  // the server is gone: nobody hears what is computed
      if (std::holds_alternative<StopFrame>(**frame)) break;
      std::visit([this](auto& body) { On(std::move(body)); }, **frame);
    }
    loader_ = {};  // joins a running load
    engine_.reset();  // ends what runs; its last events go to the outbox
    outbox_.Close();
    writer.join();
    return 0;
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
  void On(GenerateFrame frame) { Submit(frame.job, std::move(frame.body)); }
  void On(EmbedFrame frame) { Submit(frame.job, std::move(frame.body)); }
  void On(CancelFrame frame) {
    if (is_loaded_) engine_->Cancel(frame.job);
  }
  void On(CreditFrame frame) {
    if (is_loaded_) engine_->AddCredit(frame.job, frame.pieces);
  }
  // The server never gets here: these go the other way.
  template <class Other>
  void On(Other) {
    Log(LogLevel::kError, "the server sent a frame that only workers send");
    ::_exit(1);
  }

  template <class Job>
  void Submit(JobId id, Job job) {
    if (!is_loaded_) {
      Send(JobErrorFrame{id, {Code::kInternal, "the model is not loaded"}});
      return;
    }
    ++n_jobs_;
    engine_->Submit(id, std::move(job));
  }

  void Load(const LoadFrame& load) {
    engine::ModelFiles files;
    int fd = kFirstModelFd;
    files.model = fd++;
    for (std::uint32_t i = 0; i < load.n_projectors; ++i) files.projectors.push_back(fd++);
    for (std::uint32_t i = 0; i < load.n_adapters; ++i) files.adapters.push_back(fd++);

    EnterSandbox();
    engine::EngineConfig config;
    config.options = load.options;
    config.sink = [this](JobId id, JobEvent event) { OnEvent(id, std::move(event)); };
    config.on_progress = [this, last = -1.0F](float fraction) mutable {
      if (fraction - last >= 0.01F || fraction >= 1.0F) Send(ProgressFrame{last = fraction});
      return true;
    };
    auto engine = factory_(files, std::move(config));
    if (!engine) {
      Send(LoadFailedFrame{std::move(engine).error()});
      return;
    }
    engine_ = std::move(*engine);
    is_loaded_ = true;
    Send(LoadedFrame{BuildCheck(), engine_->facts()});
  }

  void OnEvent(JobId id, JobEvent event) {
    const bool is_last = IsLast(event);
    if (is_last) {
      --n_jobs_;
      // Before the last event: who reads the counters after an answer finds it counted.
      Send(CountersFrame{engine_->Counters()});
    }
    std::visit([this, id](auto& body) { SendEvent(id, std::move(body)); }, event);
  }
  void SendEvent(JobId id, Piece piece) { Send(PieceFrame{id, std::move(piece)}); }
  void SendEvent(JobId id, Finish finish) { Send(FinishFrame{id, std::move(finish)}); }
  void SendEvent(JobId id, Embeddings embeddings) { Send(EmbeddingsFrame{id, std::move(embeddings)}); }
  void SendEvent(JobId id, Error error) { Send(JobErrorFrame{id, std::move(error)}); }

  // Waits for a place: credit bounds what jobs may have on the way, so the outbox is only full while the server is slow to read.
  void Send(const Frame& frame) { outbox_.Push(EncodeFrame(frame)); }

  void Write() {
    for (;;) {
      const auto bytes = outbox_.Pop(Clock::now() + kCountersEvery);
      if (!bytes) {
        if (outbox_.IsClosed()) return;
        if (is_loaded_ && n_jobs_ > 0) {
          if (!WriteAll(kSocketFd, EncodeFrame(CountersFrame{engine_->Counters()}))) return;
        }
        continue;
      }
      if (!WriteAll(kSocketFd, *bytes)) ::_exit(0);  // the server is gone
    }
  }

  const engine::EngineFactory& factory_;
  BoundedQueue<std::string> outbox_;
  std::unique_ptr<engine::Engine> engine_;  // set before is_loaded_
  std::atomic<bool> is_loaded_{false};
  std::atomic<int> n_jobs_{0};
  std::jthread loader_;
};

}  // namespace

int RunHost(const engine::EngineFactory& factory) { return Host(factory).Run(); }

}  // namespace corral::worker
