#include "engine/llama/llama_engine.h"

#include <ggml-backend.h>
#include <llama-ext.h>
#include <log.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "core/host.h"
#include "core/log.h"
#include "core/queue.h"
#include "engine/llama/adapters.h"
#include "engine/llama/cores.h"
#include "engine/llama/embedder.h"
#include "engine/llama/generator.h"
#include "engine/llama/loaded_model.h"
#include "engine/llama/projector.h"
#include "engine/llama/prompt_builder.h"
#include "engine/llama/sampler.h"
#include "engine/media_memory.h"

namespace corral::engine {
namespace {

constexpr int kPrepareThreads = 2;
constexpr std::size_t kPrepareQueue = 4096;  // the server admits fewer
// Images and sounds of all jobs: a share of the memory that is free once the model is loaded.
constexpr int kMediaShare = 4;
constexpr std::int64_t kLeastMediaBytes = std::int64_t{512} << 20;
constexpr std::int64_t kMostMediaBytes = std::int64_t{2} << 30;

std::int64_t MediaBudget() {
  const std::int64_t available = ReadHostFacts().memory_available_bytes;
  if (available <= 0) return kMostMediaBytes;  // unknown
  return std::clamp(available / kMediaShare, kLeastMediaBytes, kMostMediaBytes);
}

// Bytes that the context and its model take, and how many of them lie on a GPU.
void AddMemory(const llama_context* context, ModelFacts* facts) {
  for (const auto& [buffer_type, used] : llama_get_memory_breakdown(context)) {
    const auto bytes = static_cast<std::int64_t>(used.total());
    facts->size_bytes += bytes;
    ggml_backend_dev_t device = ggml_backend_buft_get_device(buffer_type);
    if (!ggml_backend_buft_is_host(buffer_type) && device != nullptr &&
        ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_GPU) {
      facts->vram_bytes += bytes;
    }
  }
}

class LlamaEngine final : public Engine {
 public:
  // `projector` may be null.
  LlamaEngine(std::unique_ptr<LoadedModel> model, std::unique_ptr<Projector> projector,
              EngineConfig config, FormatProcesses& processes)
      : config_(std::move(config)),
        sink_(std::move(config_.sink)),
        model_(std::move(model)),
        projector_(std::move(projector)),
        media_memory_(MediaBudget()),
        builder_(*model_, processes, projector_.get(), media_memory_),
        cores_(model_->n_threads(), config_.options.num_thread > 0),
        adapters_(*model_, cores_),
        prepare_queue_(kPrepareQueue) {
    // Every last event takes the job off the table before the owner hears it.
    config_.sink = [this](JobId id, JobEvent event) {
      if (IsLast(event)) Forget(id);
      sink_(id, std::move(event));
    };
  }

  Status Start() {
    facts_.n_ctx_train = model_->n_ctx_train();
    facts_.n_vocab = model_->n_vocab();
    prepare_threads_.reserve(kPrepareThreads);
    if (config_.options.is_vocab_only) {
      prepare_threads_.emplace_back([this] { Prepare(); });
      return {};
    }
    if (!model_->is_embedding() && !model_->is_encoder_only()) {
      CORRAL_TRY(generator_, Generator::Create(*model_, projector_.get(), config_, cores_));
    }
    embedder_ = std::make_unique<Embedder>(*model_, config_, cores_, adapters_);
    for (int i = 0; i < kPrepareThreads; ++i) prepare_threads_.emplace_back([this] { Prepare(); });

    facts_.n_embd = llama_model_n_embd_out(model_->model());
    facts_.n_threads = model_->n_threads();
    facts_.has_chat_template = builder_.has_chat_template();
    facts_.is_embedding = model_->is_embedding();
    if (generator_) {
      facts_.n_ctx_seq = generator_->n_ctx_seq();
      facts_.n_slots = generator_->n_slots();
      AddMemory(generator_->context(), &facts_);
      if (projector_) facts_.size_bytes += projector_->memory_bytes();
    } else {
      const int n_train = facts_.n_ctx_train > 0 ? facts_.n_ctx_train : config_.options.num_ctx;
      facts_.n_ctx_seq = std::min(config_.options.num_ctx, n_train);
      facts_.n_slots = 1;
      CORRAL_TRY_STATUS(embedder_->Prepare());
      AddMemory(embedder_->context(), &facts_);
    }
    return {};
  }

  ~LlamaEngine() override {
    {
      const std::lock_guard lock(mutex_);
      for (auto& [id, source] : jobs_) source.RequestStop(StopReason::kUser);
    }
    prepare_queue_.Close();
    prepare_threads_.clear();  // joins; what they held has been answered
    // Before any member goes: a sink may ask for the counters until the last event.
    if (generator_) generator_->Stop();
    if (embedder_) embedder_->Stop();
  }

  ModelFacts facts() const override { return facts_; }

  void Submit(JobId id, GenerateJob job, AdapterFiles adapters) override {
    if (!generator_) {
      sink_(id, Error{Code::kInvalidArgument, "the model does not support generate"});
      return;
    }
    Push({id, std::move(job), std::move(adapters), Remember(id)});
  }

  void Submit(JobId id, TokenJob job) override { Push({id, std::move(job), {}, Remember(id)}); }

  void Submit(JobId id, EmbedJob job, AdapterFiles adapters) override {
    if (!embedder_) {
      sink_(id, Error{Code::kInvalidArgument, "the model does not support embeddings"});
      return;
    }
    embedder_->Submit(id, std::move(job), std::move(adapters), Remember(id));
  }

  void Cancel(JobId id) override {
    {
      const std::lock_guard lock(mutex_);
      const auto job = jobs_.find(id);
      if (job == jobs_.end()) return;
      job->second.RequestStop(StopReason::kUser);
    }
    if (generator_) generator_->Wake();
    if (embedder_) embedder_->Wake();
  }

  void AddCredit(JobId id, int pieces) override {
    if (generator_) generator_->AddCredit(id, pieces);
  }

  void SetSharers(Sharers sharers) override {
    cores_.SetSharers(sharers.n_computing);
    if (generator_) generator_->SetParkSharers(sharers.n_parking);
  }

  EngineCounters Counters() const override {
    EngineCounters counters = generator_ ? generator_->Counters() : EngineCounters{};
    counters.jobs_waiting += static_cast<std::int64_t>(prepare_queue_.Size());
    if (projector_) {
      counters.media_encoded = projector_->n_encoded();
      counters.media_reused = projector_->n_reused();
    }
    if (embedder_) {
      counters.prompt_tokens_evaluated += embedder_->n_evaluated();
      counters.decode_calls += embedder_->n_decodes();
      counters.jobs_waiting += embedder_->n_waiting();
    }
    return counters;
  }

 private:
  struct Waiting {
    JobId id{};
    std::variant<GenerateJob, TokenJob> job;
    AdapterFiles adapters;  // of a GenerateJob
    StopToken stop;
  };

  void Push(Waiting waiting) {
    const JobId id = waiting.id;
    if (prepare_queue_.TryPush(std::move(waiting)) != PushResult::kPushed) {
      config_.sink(id, Error{Code::kBusy,
                             "server busy, please try again.  maximum pending requests exceeded"});
    }
  }

  StopToken Remember(JobId id) {
    const std::lock_guard lock(mutex_);
    return jobs_[id].token();
  }
  void Forget(JobId id) {
    const std::lock_guard lock(mutex_);
    jobs_.erase(id);
  }

  void Prepare() {
    while (std::optional<Waiting> waiting = prepare_queue_.Pop()) {
      Status status;
      try {
        status =
            waiting->stop.StopRequested()
                ? Status(Fail(waiting->stop.ToError()))
                : std::visit([&](auto& job) { return PrepareOne(*waiting, job); }, waiting->job);
      } catch (const std::exception&
                   error) {  // of llama.cpp's, or no memory: this job's end and no other's
        status = Fail(Code::kInternal, std::string("cannot prepare the prompt: ") + error.what());
      }
      if (!status) config_.sink(waiting->id, std::move(status).error());
    }
  }

  Status PrepareOne(const Waiting& waiting, TokenJob& job) {
    TokenText result;
    if (job.is_detokenize) {
      for (const Token token : job.tokens) {
        if (token < 0 || token >= model_->n_vocab()) {
          return Fail(Code::kInvalidArgument, "token " + std::to_string(token) +
                                                  " is not in the model's vocabulary of " +
                                                  std::to_string(model_->n_vocab()) + " tokens");
        }
      }
      result.text = model_->Detokenize(job.tokens);
    } else {
      CORRAL_TRY(result.tokens, model_->Tokenize(job.text, job.add_special, job.parse_special));
    }
    config_.sink(waiting.id, std::move(result));
    return {};
  }

  Status PrepareOne(const Waiting& waiting, GenerateJob& job) {
    const JobId id = waiting.id;
    const StopToken& stop = waiting.stop;
    const int n_ctx = std::clamp(job.num_ctx, 1, generator_->n_ctx_seq());
    job.num_ctx = n_ctx;
    auto prepared = std::make_unique<PreparedJob>();
    CORRAL_TRY(prepared->adapters, adapters_.Get(job.adapters, waiting.adapters));
    CORRAL_TRY(prepared->prompt, builder_.Build(job, n_ctx, stop));
    if (job.render_only) {
      Finish rendered;
      rendered.prompt_tokens = static_cast<std::int64_t>(prepared->prompt.tokens.size());
      rendered.rendered_prompt = std::move(prepared->prompt.rendered);
      config_.sink(id, std::move(rendered));
      return {};
    }
    CORRAL_TRY(prepared->sampler, Sampler::Create(*model_, job.sampling, prepared->prompt, n_ctx));
    prepared->id = id;
    prepared->space = job.prefix_salt;
    if (prepared->adapters) prepared->space += "\n" + prepared->adapters->key;
    if (!prepared->prompt.media.empty()) {
      // Pictures are not slid out of the context; and some take more cells than positions, of which
      // the generator counts the latter.
      const std::size_t n_positions = prepared->prompt.tokens.size();
      job.shift = false;
      job.num_ctx -= static_cast<int>(prepared->prompt.CellsOf(n_positions) - n_positions);
    }
    prepared->job = std::move(job);
    prepared->job.prompt = {};  // rendered: its text and images are no longer needed
    prepared->stop = stop;
    generator_->Submit(std::move(prepared));
    return {};
  }

  EngineConfig config_;
  const EventSink sink_;  // the owner's
  ModelFacts facts_;
  const std::unique_ptr<LoadedModel> model_;
  const std::unique_ptr<Projector> projector_;  // null: the model neither sees nor hears
  MediaMemory media_memory_;                    // before what holds jobs
  PromptBuilder builder_;
  Cores cores_;
  Adapters adapters_;

  std::mutex mutex_;
  std::unordered_map<JobId, StopSource> jobs_;  // guarded by mutex_

  BoundedQueue<Waiting> prepare_queue_;
  std::unique_ptr<Generator> generator_;  // null: an embedding model
  std::unique_ptr<Embedder> embedder_;
  std::vector<std::jthread> prepare_threads_;
};

Result<std::unique_ptr<Engine>> Load(const ModelFiles& files, EngineConfig config,
                                     FormatProcesses& processes) {
  static std::once_flag once;
  std::call_once(once, [] {
    InstallLlamaLog();
    common_log_set_verbosity_thold(-1);  // it would write what models answer
    llama_backend_init();
  });
  if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == nullptr) {
    return Fail(
        Code::kInternal,
        "unable to load model: no compute library beside corral-worker runs on this processor");
  }
  CORRAL_TRY(std::unique_ptr<LoadedModel> model,
             LoadedModel::Load(files.model, config.options, config.on_progress));
  std::unique_ptr<Projector> projector;
  if (!files.projectors.empty() && !config.options.is_vocab_only && !model->is_embedding()) {
    if (files.projectors.size() > 1)
      Log(LogLevel::kWarn, "the model has several projectors; the first one is used");
    // The bar is full: this only asks whether to go on.
    const auto go_on = [&config](float) { return !config.on_progress || config.on_progress(1.0F); };
    CORRAL_TRY(projector, Projector::Load(files.projectors.front(), *model, go_on));
  }
  auto engine = std::make_unique<LlamaEngine>(std::move(model), std::move(projector),
                                              std::move(config), processes);
  CORRAL_TRY_STATUS(engine->Start());
  return engine;
}

}  // namespace

void LoadComputeLibraries() {
#ifdef GGML_BACKEND_DL
  InstallLlamaLog();
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  // A folder by name: without one ggml also looks into the current folder, which anybody may have
  // filled.
  if (!error) ggml_backend_load_all_from_path(program.parent_path().c_str());
#endif
}

EngineFactory LlamaEngines(FormatProcesses& processes) {
  return [&processes](const ModelFiles& files, EngineConfig config) {
    return Load(files, std::move(config), processes);
  };
}

}  // namespace corral::engine
