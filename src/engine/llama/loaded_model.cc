#include "engine/llama/loaded_model.h"

#include <ggml-backend.h>
#include <llama-model.h>
#include <mtmd.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "core/host.h"
#include "core/kv_cache_types.h"
#include "core/log.h"
#include "core/text.h"
#include "engine/llama/load_progress.h"

namespace corral::engine {
namespace {

constexpr int kMostThreads = 512;                              // ggml's GGML_MAX_N_THREADS
constexpr std::size_t kMostTextBytes = std::size_t{32} << 20;  // each takes some 30 bytes meanwhile

std::mutex log_mutex;
std::string last_error;  // guarded by log_mutex
std::string open_line;   // guarded by log_mutex: GGML_LOG_LEVEL_CONT adds to it

void OnLlamaLog(ggml_log_level level, const char* text, void*) {
  static ggml_log_level open_level = GGML_LOG_LEVEL_NONE;
  const std::lock_guard lock(log_mutex);
  if (level != GGML_LOG_LEVEL_CONT) open_level = level;
  open_line += text;
  if (!open_line.ends_with('\n')) return;
  open_line.pop_back();
  const std::string line = std::exchange(open_line, {});
  if (line.empty()) return;
  if (open_level == GGML_LOG_LEVEL_ERROR) last_error = line;
  const bool is_loud = open_level == GGML_LOG_LEVEL_ERROR || open_level == GGML_LOG_LEVEL_WARN;
  Log(is_loud ? LogLevel::kDebug : LogLevel::kTrace, line, {{"from", "llama.cpp"}});
}

Result<ggml_type> KvType(const std::string& name) {
  if (name.empty()) return GGML_TYPE_F16;
  CORRAL_TRY(const std::string known, ParseKvCacheType(name));
  for (int i = 0; i < GGML_TYPE_COUNT; ++i) {
    const auto type = static_cast<ggml_type>(i);
    const char* const type_name = ggml_type_name(type);
    if (type_name != nullptr && known == type_name) return type;
  }
  return Fail(Code::kInternal, "llama.cpp has no type " + known);
}

// Why llama.cpp would make no context with such cells (llama_init_from_model); empty: it would.
std::string WhyNot(ggml_type type, const llama_model& model, bool flash_attention) {
  if (!ggml_is_quantized(type)) return {};
  if (!flash_attention) return "it needs flash attention, which is off";
  const auto n_block = static_cast<std::uint32_t>(ggml_blck_size(type));
  for (std::uint32_t i = 0; i < model.hparams.n_layer(); ++i) {
    for (const std::uint32_t size :
         {model.hparams.n_embd_head_k(i), model.hparams.n_embd_head_v(i)}) {
      if (size % n_block != 0) {
        return "the model's heads of " + std::to_string(size) + " values are no multiple of its " +
               std::to_string(n_block);
      }
    }
  }
  return {};
}

// SentencePiece with byte tokens and byte-level BPE cover every byte of a text by a token's own
// bytes.
std::size_t MaxTokenBytes(const LoadedModel& model) {
  const enum llama_vocab_type type = llama_vocab_type(model.vocab());
  if (type != LLAMA_VOCAB_TYPE_SPM && type != LLAMA_VOCAB_TYPE_BPE) return 0;
  std::size_t most = 0;
  for (Token token = 0; token < model.n_vocab(); ++token)
    most = std::max(most, model.TokenText(token, true).size());
  return most;
}

int CountGpus() {
  int n = 0;
  for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i)
    n += ggml_backend_dev_type(ggml_backend_dev_get(i)) == GGML_BACKEND_DEVICE_TYPE_GPU ? 1 : 0;
  return n;
}

}  // namespace

std::unique_ptr<std::FILE, FileCloser> OpenStream(int fd) {
  const int own = ::dup(fd);
  std::unique_ptr<std::FILE, FileCloser> file(own < 0 ? nullptr : ::fdopen(own, "rb"));
  if (file) {
    std::rewind(file.get());
  } else if (own >= 0) {
    ::close(own);
  }
  return file;
}

void InstallLlamaLog() {
  llama_log_set(OnLlamaLog, nullptr);
  mtmd_log_set(OnLlamaLog, nullptr);
}

std::string TakeLastLlamaError() {
  const std::lock_guard lock(log_mutex);
  return std::exchange(last_error, {});
}

bool MentionsMemory(std::string_view text) {
  return text.find("alloc") != std::string_view::npos ||
         text.find("memory") != std::string_view::npos;
}

Result<std::unique_ptr<LoadedModel>> LoadedModel::Load(
    int model_fd, const LoadOptions& options, const std::function<bool(float)>& on_progress) {
  CORRAL_TRY(gguf::Info info, gguf::ReadFd(model_fd));
  CORRAL_TRY_STATUS(gguf::CheckLoadable(info));
  CORRAL_TRY_STATUS(gguf::CheckHoldsNoEncoder(info));
  CORRAL_TRY(ggml_type kv_type, KvType(options.kv_cache_type));

  llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = options.num_gpu;
  params.vocab_only = options.is_vocab_only;
  if (const int n_gpus = CountGpus(); options.main_gpu >= 0 && n_gpus > 0) {
    if (options.main_gpu >= n_gpus) {
      return Fail(Code::kInvalidArgument, "main_gpu " + std::to_string(options.main_gpu) +
                                              ": this machine has " + std::to_string(n_gpus) +
                                              (n_gpus == 1 ? " GPU" : " GPUs"));
    }
    params.main_gpu = options.main_gpu;
    params.split_mode = LLAMA_SPLIT_MODE_NONE;
  }
  if (options.use_mmap >= 0)
    params.load_mode = options.use_mmap != 0 ? LLAMA_LOAD_MODE_MMAP : LLAMA_LOAD_MODE_NONE;
  LoadProgress progress(on_progress);
  progress.Watch(params);

  auto file = OpenStream(model_fd);
  if (!file) return Fail(Code::kIo, "cannot open the model's descriptor");
  TakeLastLlamaError();
  llama_model* model = nullptr;
  try {
    model = llama_model_load_from_file_ptr(file.get(), params);
  } catch (const std::exception& error) {
    return Fail(Code::kCorrupt, std::string("unable to load model: ") + error.what());
  }
  file.reset();
  if (progress.is_cancelled()) {
    llama_model_free(model);
    return Fail(Code::kCancelled, "the load was ended");
  }
  if (model == nullptr) {
    const std::string why = TakeLastLlamaError();
    return Fail(MentionsMemory(why) ? Code::kNoMemory : Code::kCorrupt,
                "unable to load model" + (why.empty() ? std::string() : ": " + why));
  }

  auto loaded = std::unique_ptr<LoadedModel>(new LoadedModel());
  loaded->model_ = model;
  loaded->vocab_ = llama_model_get_vocab(model);
  loaded->options_ = options;
  // As Ollama does where a type cannot be had: one setting serves all models.
  if (const std::string why =
          options.is_vocab_only ? std::string() : WhyNot(kv_type, *model, options.flash_attention);
      !why.empty()) {
    Log(LogLevel::kWarn, "kv_cache_type does not suit this model, using f16",
        {{"kv_cache_type", options.kv_cache_type}, {"why", why}});
    kv_type = GGML_TYPE_F16;
  }
  loaded->kv_type_ = kv_type;
  const HostFacts host = ReadHostFacts();
  // ggml's threads spin: more than there are processors stop each other, and the machine.
  loaded->n_threads_ = options.num_thread > 0
                           ? std::min({options.num_thread, host.logical_cpus, kMostThreads})
                           : host.ComputeThreads();
  loaded->is_embedding_ = info.IsEmbeddingModel();
  char causal[8] = "true";
  llama_model_meta_val_str(model, (std::string(info.Architecture()) + ".attention.causal").c_str(),
                           causal, sizeof(causal));
  loaded->is_encoder_only_ = std::string_view(causal) == "false" || !llama_model_has_decoder(model);
  loaded->has_positional_cache_ = !llama_model_is_recurrent(model) &&
                                  !llama_model_is_hybrid(model) && !loaded->is_encoder_only_;
  if (!loaded->is_encoder_only_ && llama_model_has_encoder(model)) {
    return Fail(Code::kCorrupt,
                "unable to load model: models with an encoder and a decoder are not supported");
  }
  loaded->computes_on_cpu_ = options.num_gpu == 0 || CountGpus() == 0;
  char pooling[8] = "0";
  llama_model_meta_val_str(model, (std::string(info.Architecture()) + ".pooling_type").c_str(),
                           pooling, sizeof(pooling));
  if (pooling[0] >= '0' && pooling[0] <= '4' && pooling[1] == '\0') {
    loaded->pooling_ = static_cast<PoolingType>(pooling[0] - '0');
  }
  loaded->max_token_bytes_ = MaxTokenBytes(*loaded);
  loaded->info_ = std::move(info);
  return loaded;
}

LoadedModel::~LoadedModel() { llama_model_free(model_); }

bool LoadedModel::can_shift_cells() const {
  constexpr std::uint32_t kTurned = 64;
  return !ggml_is_quantized(kv_type_) || model_->hparams.n_embd_head_k() % kTurned == 0;
}

std::int64_t LoadedModel::KvBytesPerToken() const {
  std::int64_t head_dim = llama_model_n_embd(model_) / std::max(1, llama_model_n_head(model_));
  char architecture[64] = "", key_length[16] = "";  // some say it themselves, Gemma for one
  llama_model_meta_val_str(model_, "general.architecture", architecture, sizeof(architecture));
  const std::string key = std::string(architecture) + ".attention.key_length";
  if (llama_model_meta_val_str(model_, key.c_str(), key_length, sizeof(key_length)) > 0)
    head_dim = ParseInt(key_length).value_or(head_dim);
  const std::int64_t kv_heads = std::max(1, llama_model_n_head_kv(model_));
  const auto values =
      2 * static_cast<std::int64_t>(llama_model_n_layer(model_)) * kv_heads * head_dim;
  return values * static_cast<std::int64_t>(ggml_type_size(kv_type_)) / ggml_blck_size(kv_type_);
}

Result<std::vector<Token>> LoadedModel::Tokenize(std::string_view text, bool add_special,
                                                 bool parse_special) const {
  if (text.size() > kMostTextBytes)
    return Fail(Code::kInvalidArgument, "the text is larger than 32 MiB");
  std::vector<Token> tokens(text.size() + 2);
  const auto tokenize = [&] {
    return llama_tokenize(vocab_, text.data(), static_cast<std::int32_t>(text.size()),
                          tokens.data(), static_cast<std::int32_t>(tokens.size()), add_special,
                          parse_special);
  };
  try {
    std::int32_t n = tokenize();
    if (n < 0) {
      tokens.resize(static_cast<std::size_t>(-static_cast<std::int64_t>(n)));
      n = tokenize();
    }
    tokens.resize(static_cast<std::size_t>(std::max(n, 0)));
  } catch (const std::out_of_range&) {
    // A SentencePiece vocabulary without byte tokens, and a text with what it does not know.
    return Fail(Code::kInvalidArgument, "the model's vocabulary has no tokens for this text");
  }
  tokens.shrink_to_fit();
  return tokens;
}

std::string LoadedModel::TokenText(Token token, bool special) const {
  std::string text(32, '\0');
  std::int32_t n = llama_token_to_piece(vocab_, token, text.data(),
                                        static_cast<std::int32_t>(text.size()), 0, special);
  if (n < 0) {
    text.resize(static_cast<std::size_t>(-n));
    n = llama_token_to_piece(vocab_, token, text.data(), -n, 0, special);
  }
  text.resize(static_cast<std::size_t>(std::max(n, 0)));
  return text;
}

std::string LoadedModel::Detokenize(const std::vector<Token>& tokens) const {
  std::string text;
  for (const Token token : tokens) text += TokenText(token, true);
  return text;
}

llama_context_params LoadedModel::ContextParams() const {
  llama_context_params params = llama_context_default_params();
  params.type_k = kv_type_;
  params.type_v = kv_type_;
  params.flash_attn_type =
      options_.flash_attention ? LLAMA_FLASH_ATTN_TYPE_AUTO : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.n_threads = n_threads_;
  params.n_threads_batch = n_threads_;
  params.no_perf = true;
  params.offload_kqv = options_.num_gpu != 0;
  return params;
}

}  // namespace corral::engine
