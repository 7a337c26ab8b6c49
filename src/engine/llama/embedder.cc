#include "engine/llama/embedder.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "core/log.h"

namespace corral::engine {
namespace {

constexpr int kEncoderBatch = 2048;  // tokens of an encoder's batch at most; a text never straddles two
constexpr int kCausalChunk = 128;    // every token is an output: the score buffer is this times the vocabulary
constexpr int kMaxSequences = 16;    // texts of an encoder's batch

struct Batch {
  explicit Batch(int n_tokens) : value(llama_batch_init(n_tokens, 0, 1)) {}
  ~Batch() { llama_batch_free(value); }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  void Add(Token token, std::size_t position, llama_seq_id sequence) {
    const auto i = static_cast<std::size_t>(value.n_tokens++);
    value.token[i] = token;
    value.pos[i] = static_cast<llama_pos>(position);
    value.n_seq_id[i] = 1;
    value.seq_id[i][0] = sequence;
    value.logits[i] = 1;
  }
  llama_batch value;
};

Status Normalize(std::vector<float>* vector, bool to_unit_length) {
  double square = 0;
  for (const float x : *vector) {
    if (!std::isfinite(x)) return Fail(Code::kInvalidArgument, "embedding contains NaN or Inf values");
    square += static_cast<double>(x) * static_cast<double>(x);
  }
  if (!to_unit_length || square <= 0) return {};
  const double scale = 1.0 / std::sqrt(square);
  for (float& x : *vector) x = static_cast<float>(static_cast<double>(x) * scale);
  return {};
}

}  // namespace

Embedder::Embedder(const LoadedModel& model, const EngineConfig& config, std::mutex& compute)
    : model_(model), config_(config), compute_(compute), thread_([this] { Run(); }) {}

Embedder::~Embedder() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  event_.notify_all();
}

void Embedder::Submit(JobId id, EmbedJob job, StopToken stop) {
  {
    const std::lock_guard lock(mutex_);
    items_.push_back({id, std::move(job), std::move(stop)});
  }
  event_.notify_all();
}

std::int64_t Embedder::n_waiting() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::int64_t>(items_.size());
}

void Embedder::Run() {
  for (;;) {
    std::unique_lock lock(mutex_);
    event_.wait(lock, [this] { return is_stopping_ || !items_.empty(); });
    if (is_stopping_) break;
    const Item item = std::move(items_.front());
    items_.pop_front();
    lock.unlock();
    auto embeddings = item.stop.StopRequested() ? Result<Embeddings>(Fail(item.stop.ToError())) : Embed(item.job, item.stop);
    if (embeddings) {
      config_.sink(item.id, std::move(*embeddings));
    } else {
      config_.sink(item.id, std::move(embeddings).error());
    }
  }
  const std::lock_guard lock(mutex_);
  for (const Item& item : items_) config_.sink(item.id, Error{Code::kCancelled, "the model is being unloaded"});
}

Status Embedder::MakeContext() {
  if (context_) return {};
  llama_context_params params = model_.ContextParams();
  params.embeddings = true;
  params.kv_unified = true;
  params.swa_full = true;
  const int n_train = model_.n_ctx_train() > 0 ? model_.n_ctx_train() : config_.options.num_ctx;
  const int n_ctx = std::min(config_.options.num_ctx, n_train);
  if (model_.is_encoder_only()) {
    n_batch_ = std::max(std::min(n_ctx, kEncoderBatch), 8);
    params.n_ctx = static_cast<std::uint32_t>(n_batch_);
    params.n_seq_max = kMaxSequences;
    params.pooling_type = model_.is_embedding() ? LLAMA_POOLING_TYPE_UNSPECIFIED : LLAMA_POOLING_TYPE_MEAN;
  } else {
    n_batch_ = std::min(n_ctx, kCausalChunk);
    params.n_ctx = static_cast<std::uint32_t>(n_ctx);
    params.n_seq_max = 1;
    params.pooling_type = LLAMA_POOLING_TYPE_NONE;
  }
  params.n_batch = static_cast<std::uint32_t>(n_batch_);
  params.n_ubatch = params.n_batch;
  try {
    context_.reset(llama_init_from_model(model_.model(), params));
  } catch (const std::exception& error) {
    return Fail(Code::kNoMemory, std::string("unable to create a context for embeddings: ") + error.what());
  }
  if (!context_) return Fail(Code::kNoMemory, "unable to create a context for embeddings: " + TakeLastLlamaError());
  return {};
}

// Each text as tokens with the vocabulary's own BOS and EOS, cut at the end where it must be.
Result<std::vector<std::vector<Token>>> Embedder::TokenizeAll(const EmbedJob& job) const {
  const int n_train = model_.n_ctx_train() > 0 ? model_.n_ctx_train() : job.num_ctx;
  const auto limit = static_cast<std::size_t>(
      std::max(0, std::min({job.num_ctx, n_train, model_.is_encoder_only() ? n_batch_ : job.num_ctx})));
  std::vector<std::vector<Token>> texts;
  for (const std::string& text : job.texts) {
    std::vector<Token> tokens = model_.Tokenize(text, true, false);
    if (tokens.size() > limit) {
      if (!job.truncate) return Fail(Code::kInvalidArgument, "the input length exceeds the context length");
      if (limit < 3) return Fail(Code::kInvalidArgument, "input after truncation exceeds maximum context length");
      // The closing special token, if the vocabulary adds one, stays.
      const Token last = tokens.back();
      const bool closes = llama_vocab_is_control(model_.vocab(), last);
      tokens.resize(limit);
      if (closes) tokens.back() = last;
    }
    if (tokens.empty()) tokens.push_back(std::max(llama_vocab_bos(model_.vocab()), 0));
    texts.push_back(std::move(tokens));
  }
  return texts;
}

Status Embedder::DecodeLocked(llama_batch& batch) {
  const std::lock_guard lock(compute_);
  int code = -1;
  try {
    code = llama_decode(context_.get(), batch);
  } catch (const std::exception& error) {
    return Fail(Code::kInternal, std::string("an error was encountered while running the model: ") + error.what());
  }
  if (code != 0) {
    return Fail(Code::kInternal,
                "an error was encountered while running the model: llama_decode returned " + std::to_string(code));
  }
  n_evaluated_ += batch.n_tokens;
  return {};
}

Status Embedder::EncodeBatch(const std::vector<std::vector<Token>>& texts, std::size_t first, std::size_t last,
                             std::vector<std::vector<float>>* vectors) {
  Batch batch(n_batch_);
  for (std::size_t i = first; i < last; ++i) {
    for (std::size_t k = 0; k < texts[i].size(); ++k) batch.Add(texts[i][k], k, static_cast<llama_seq_id>(i - first));
  }
  if (llama_memory_t memory = llama_get_memory(context_.get())) llama_memory_clear(memory, true);
  CORRAL_TRY_STATUS(DecodeLocked(batch.value));
  const auto n_embd = static_cast<std::size_t>(llama_model_n_embd_out(model_.model()));
  for (std::size_t i = first; i < last; ++i) {
    const float* vector = llama_get_embeddings_seq(context_.get(), static_cast<llama_seq_id>(i - first));
    if (vector == nullptr) return Fail(Code::kInternal, "the model gave no embedding");
    vectors->emplace_back(vector, vector + n_embd);
  }
  return {};
}

Result<std::vector<float>> Embedder::ReadCausal(const std::vector<Token>& text, const StopToken& stop) {
  char pooling_text[16] = "";
  char architecture[64] = "";
  llama_model_meta_val_str(model_.model(), "general.architecture", architecture, sizeof(architecture));
  llama_model_meta_val_str(model_.model(), (std::string(architecture) + ".pooling_type").c_str(), pooling_text,
                           sizeof(pooling_text));
  const std::string_view pooling = pooling_text;
  const bool takes_first = pooling == "2";  // llama_pooling_type: CLS
  const bool takes_last = pooling == "3";   // LAST

  llama_memory_clear(llama_get_memory(context_.get()), true);
  const auto n_embd = static_cast<std::size_t>(llama_model_n_embd_out(model_.model()));
  std::vector<double> sum(n_embd, 0.0);
  std::size_t n_summed = 0;
  for (std::size_t begin = 0; begin < text.size(); begin += static_cast<std::size_t>(n_batch_)) {
    if (stop.StopRequested()) return Fail(stop.ToError());
    const std::size_t end = std::min(text.size(), begin + static_cast<std::size_t>(n_batch_));
    Batch batch(n_batch_);
    for (std::size_t i = begin; i < end; ++i) batch.Add(text[i], i, 0);
    CORRAL_TRY_STATUS(DecodeLocked(batch.value));
    for (std::size_t i = begin; i < end; ++i) {
      if ((takes_first && i != 0) || (takes_last && i + 1 != text.size())) continue;
      const float* vector = llama_get_embeddings_ith(context_.get(), static_cast<std::int32_t>(i - begin));
      if (vector == nullptr) return Fail(Code::kInternal, "the model gave no embedding");
      for (std::size_t k = 0; k < n_embd; ++k) sum[k] += static_cast<double>(vector[k]);
      ++n_summed;
    }
  }
  std::vector<float> mean(n_embd);
  for (std::size_t k = 0; k < n_embd; ++k) mean[k] = static_cast<float>(sum[k] / static_cast<double>(std::max<std::size_t>(n_summed, 1)));
  return mean;
}

Result<Embeddings> Embedder::Embed(const EmbedJob& job, const StopToken& stop) {
  CORRAL_TRY_STATUS(MakeContext());
  CORRAL_TRY(const std::vector<std::vector<Token>> texts, TokenizeAll(job));
  Embeddings result;
  for (const auto& text : texts) result.prompt_tokens += static_cast<std::int64_t>(text.size());

  std::size_t first = 0;
  while (first < texts.size()) {
    if (stop.StopRequested()) return Fail(stop.ToError());
    if (!model_.is_encoder_only()) {
      CORRAL_TRY(std::vector<float> vector, ReadCausal(texts[first], stop));
      result.vectors.push_back(std::move(vector));
      ++first;
      continue;
    }
    // As many whole texts as fit into one batch.
    std::size_t last = first;
    std::size_t n_tokens = 0;
    while (last < texts.size() && last - first < kMaxSequences &&
           n_tokens + texts[last].size() <= static_cast<std::size_t>(n_batch_)) {
      n_tokens += texts[last++].size();
    }
    CORRAL_TRY_STATUS(EncodeBatch(texts, first, last, &result.vectors));
    first = last;
  }
  for (std::vector<float>& vector : result.vectors) CORRAL_TRY_STATUS(Normalize(&vector, job.normalize));
  return result;
}

}  // namespace corral::engine
