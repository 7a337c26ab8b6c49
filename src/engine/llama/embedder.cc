#include "engine/llama/embedder.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <exception>
#include <span>
#include <string_view>
#include <utility>

#include "core/log.h"
#include "engine/llama/batch.h"

namespace corral::engine {
namespace {

constexpr std::size_t kPooledBatch = 2048;  // tokens of a batch that llama.cpp pools, at least
constexpr int kCausalChunk = 128;           // every token is an output: a row of scores each
constexpr std::size_t kFewestCells = 512;   // of a causal model's context
// Tokens of several texts on a processor: no larger batch is faster, and streams wait for its end.
constexpr int kTogetherOnCpu = 256;
constexpr int kMaxSequences = 16;  // texts of a batch
constexpr std::size_t kBytesOfAWord = 64;
constexpr std::size_t kSlackBytes =
    64 * 1024;  // the tokens before a cut are those of the whole text

Status Normalize(std::vector<float>* vector, bool to_unit_length) {
  double square = 0;
  for (const float x : *vector) {
    if (!std::isfinite(x))
      return Fail(Code::kInvalidArgument, "embedding contains NaN or Inf values");
    square += static_cast<double>(x) * static_cast<double>(x);
  }
  if (!to_unit_length || square <= 0) return {};
  const double scale = 1.0 / std::sqrt(square);
  for (float& x : *vector) x = static_cast<float>(static_cast<double>(x) * scale);
  return {};
}

}  // namespace

Embedder::Embedder(const LoadedModel& model, const EngineConfig& config, Cores& cores,
                   Adapters& adapters)
    : model_(model),
      config_(config),
      cores_(cores),
      adapters_(adapters),
      n_ctx_(std::max(1, model.n_ctx_train() > 0
                             ? std::min(config.options.num_ctx, model.n_ctx_train())
                             : config.options.num_ctx)),
      thread_([this] { Run(); }) {}

void Embedder::Stop() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  event_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Embedder::Submit(JobId id, EmbedJob job, AdapterFiles adapters, StopToken stop) {
  {
    const std::lock_guard lock(mutex_);
    items_.push_back({id, std::move(job), std::move(adapters), std::move(stop)});
  }
  event_.notify_all();
}

void Embedder::Wake() {
  {
    const std::lock_guard lock(mutex_);
    is_woken_ = true;
  }
  event_.notify_all();
}

std::int64_t Embedder::n_waiting() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::int64_t>(items_.size());
}

void Embedder::Run() {
  for (;;) {
    AnswerStopped();
    std::unique_lock lock(mutex_);
    event_.wait(lock, [this] { return is_stopping_ || is_woken_ || !items_.empty(); });
    if (is_stopping_) break;
    if (std::exchange(is_woken_, false)) continue;
    const Item item = std::move(items_.front());
    items_.pop_front();
    lock.unlock();
    Result<Embeddings> embeddings = Fail(Code::kCancelled, "");
    try {
      embeddings = Embed(item.job, item.files, item.stop);
    } catch (const std::exception&
                 error) {  // of llama.cpp's, or no memory: this job's end and no other's
      embeddings =
          Fail(Code::kInternal,
               std::string("an error was encountered while running the model: ") + error.what());
    }
    if (embeddings) {
      config_.sink(item.id, std::move(*embeddings));
    } else {
      config_.sink(item.id, std::move(embeddings).error());
    }
  }
  std::deque<Item> left;
  {
    const std::lock_guard lock(mutex_);
    left.swap(items_);
  }
  for (const Item& item : left)
    config_.sink(item.id, Error{Code::kCancelled, "the model is being unloaded"});
}

void Embedder::AnswerStopped() {
  std::vector<Item> stopped;
  {
    const std::lock_guard lock(mutex_);
    for (auto item = items_.begin(); item != items_.end();) {
      if (item->stop.StopRequested()) {
        stopped.push_back(std::move(*item));
        item = items_.erase(item);
      } else {
        ++item;
      }
    }
  }
  for (const Item& item : stopped) config_.sink(item.id, item.stop.ToError());
}

Status Embedder::MakeContext(std::size_t n_tokens) {
  if (context_ && n_tokens <= static_cast<std::size_t>(n_cells_)) return {};
  context_.reset();
  applied_.Forget();
  llama_context_params params = model_.ContextParams();
  params.embeddings = true;
  params.kv_unified = true;
  params.swa_full = true;
  // A text that is pooled inside never straddles two batches. Cells for the longest text so far,
  // not for the longest possible one.
  const std::size_t wanted =
      std::bit_ceil(std::max(n_tokens, PoolsInside() ? kPooledBatch : kFewestCells));
  n_cells_ = static_cast<int>(std::min(wanted, static_cast<std::size_t>(n_ctx_)));
  int n_batch = n_cells_;
  if (PoolsInside()) {
    const bool is_known = model_.pooling() != PoolingType::kNone;
    params.pooling_type = is_known ? LLAMA_POOLING_TYPE_UNSPECIFIED : LLAMA_POOLING_TYPE_MEAN;
  } else {
    n_batch = std::min(n_cells_, kCausalChunk);
    params.pooling_type = LLAMA_POOLING_TYPE_NONE;
  }
  params.n_ctx = static_cast<std::uint32_t>(n_cells_);
  params.n_seq_max = static_cast<std::uint32_t>(std::min(MostSequences(), n_batch));
  params.n_batch = static_cast<std::uint32_t>(n_batch);
  params.n_ubatch = params.n_batch;
  try {
    cores_.WhilePaused([&] { context_.reset(llama_init_from_model(model_.model(), params)); });
  } catch (const std::exception& error) {
    return Fail(Code::kNoMemory,
                std::string("unable to create a context for embeddings: ") + error.what());
  }
  if (!context_)
    return Fail(Code::kNoMemory,
                "unable to create a context for embeddings: " + TakeLastLlamaError());
  return {};
}

int Embedder::MostSequences() const {
  return PoolsInside() || model_.has_positional_cache() ? kMaxSequences : 1;
}

std::size_t Embedder::MostTokens(const EmbedJob& job) const {
  return static_cast<std::size_t>(std::clamp(job.num_ctx, 0, n_ctx_));
}

// Each text as tokens with the vocabulary's own BOS and EOS, cut at the end where it must be.
Result<std::vector<std::vector<Token>>> Embedder::TokenizeAll(const EmbedJob& job,
                                                              const StopToken& stop) {
  const std::size_t limit = MostTokens(job);
  std::vector<std::vector<Token>> texts;
  for (const std::string& text : job.texts) {
    if (stop.StopRequested()) return Fail(stop.ToError());
    AnswerStopped();
    // What has too many tokens is not read to its end; its closing token is what the vocabulary
    // adds. Where a token may stand for any number of bytes, the beginning is tried.
    const std::size_t token_bytes =
        model_.max_token_bytes() > 0 ? model_.max_token_bytes() : kBytesOfAWord;
    const std::string_view begin =
        std::string_view(text).substr(0, (limit + 1) * token_bytes + kSlackBytes);
    CORRAL_TRY(std::vector<Token> tokens, model_.Tokenize(begin, true, false));
    if (begin.size() < text.size() && tokens.size() <= limit) {
      CORRAL_TRY(tokens, model_.Tokenize(text, true, false));
    }
    if (tokens.size() > limit) {
      if (!job.truncate)
        return Fail(Code::kInvalidArgument, "the input length exceeds the context length");
      if (limit < 3)
        return Fail(Code::kInvalidArgument,
                    "input after truncation exceeds maximum context length");
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

// Source of both forms: llama.cpp's server (format_prompt_rerank).
Result<std::vector<Token>> Embedder::TokenizePair(const std::string& query,
                                                  std::string_view document, std::size_t limit,
                                                  bool truncate) const {
  CORRAL_TRY(std::vector<Token> document_tokens, model_.Tokenize(document, false, false));
  const char* form = llama_model_chat_template(model_.model(), "rerank");
  const llama_vocab* vocab = model_.vocab();
  for (;;) {
    std::vector<Token> pair;
    if (form != nullptr) {
      const std::string text = model_.Detokenize(document_tokens);
      std::string prompt;
      for (std::string_view rest = form; !rest.empty();) {
        const auto take = [&](std::string_view mark, std::string_view value) {
          if (!rest.starts_with(mark)) return false;
          prompt += value;
          rest.remove_prefix(mark.size());
          return true;
        };
        if (take("{query}", query) || take("{document}", text)) continue;
        prompt.push_back(rest.front());
        rest.remove_prefix(1);
      }
      CORRAL_TRY(pair, model_.Tokenize(prompt, false, true));
    } else {
      CORRAL_TRY(const std::vector<Token> query_tokens, model_.Tokenize(query, false, false));
      const Token sep = llama_vocab_sep(vocab);
      const Token eos = llama_vocab_eos(vocab) == LLAMA_TOKEN_NULL ? sep : llama_vocab_eos(vocab);
      if (llama_vocab_get_add_bos(vocab)) pair.push_back(llama_vocab_bos(vocab));
      pair.insert(pair.end(), query_tokens.begin(), query_tokens.end());
      if (llama_vocab_get_add_eos(vocab)) pair.push_back(eos);
      if (llama_vocab_get_add_sep(vocab)) pair.push_back(sep);
      pair.insert(pair.end(), document_tokens.begin(), document_tokens.end());
      if (llama_vocab_get_add_eos(vocab)) pair.push_back(eos);
    }
    if (pair.size() <= limit && !pair.empty()) return pair;
    if (!truncate)
      return Fail(Code::kInvalidArgument, "the input length exceeds the context length");
    // What the vocabulary makes of a shorter text may be longer than the difference says.
    const std::size_t excess = pair.size() - std::min(pair.size(), limit) + 1;
    if (document_tokens.size() <= excess) {
      return Fail(Code::kInvalidArgument,
                  "the query leaves no place for a document in a context of " +
                      std::to_string(limit) + " tokens");
    }
    document_tokens.resize(document_tokens.size() - excess);
  }
}

Result<std::vector<std::vector<Token>>> Embedder::TokenizePairs(const EmbedJob& job,
                                                                const StopToken& stop) {
  const std::size_t limit = MostTokens(job);
  std::vector<std::vector<Token>> pairs;
  for (const std::string& text : job.texts) {
    if (stop.StopRequested()) return Fail(stop.ToError());
    AnswerStopped();
    const std::size_t enough =
        (limit + 1) * std::max(model_.max_token_bytes(), std::size_t{1}) + kSlackBytes;
    const bool is_huge = job.truncate && model_.max_token_bytes() > 0 && text.size() > enough;
    CORRAL_TRY(
        std::vector<Token> pair,
        TokenizePair(*job.rerank_query, is_huge ? std::string_view(text).substr(0, enough) : text,
                     limit, job.truncate));
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

Status Embedder::Decode(const llama_batch& batch) {
  int code = -1;
  try {
    const bool has_changed_adapters = applied_.Apply(context_.get(), set_);
    code = cores_.Decode(context_.get(), batch, !has_changed_adapters).code;
  } catch (const std::exception& error) {
    return Fail(Code::kInternal,
                std::string("an error was encountered while running the model: ") + error.what());
  }
  if (code != 0) {
    return Fail(Code::kInternal,
                "an error was encountered while running the model: llama_decode returned " +
                    std::to_string(code));
  }
  n_evaluated_ += batch.n_tokens;
  ++n_decodes_;
  return {};
}

Status Embedder::PoolInside(std::span<const std::vector<Token>> texts,
                            std::vector<std::vector<float>>* vectors) {
  Batch batch(n_cells_);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    for (std::size_t k = 0; k < texts[i].size(); ++k)
      batch.Add(texts[i][k], k, static_cast<llama_seq_id>(i), true);
  }
  if (llama_memory_t memory = llama_get_memory(context_.get())) llama_memory_clear(memory, true);
  CORRAL_TRY_STATUS(Decode(batch.value()));
  // A reranker with two labels has "yes" first, after a softmax.
  const auto n_embd = static_cast<std::size_t>(
      model_.pooling() == PoolingType::kRank ? 1 : llama_model_n_embd_out(model_.model()));
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const float* vector = llama_get_embeddings_seq(context_.get(), static_cast<llama_seq_id>(i));
    if (vector == nullptr) return Fail(Code::kInternal, "the model gave no embedding");
    vectors->emplace_back(vector, vector + n_embd);
  }
  return {};
}

Status Embedder::PoolHere(std::span<const std::vector<Token>> texts, const StopToken& stop,
                          std::vector<std::vector<float>>* vectors) {
  llama_memory_clear(llama_get_memory(context_.get()), !model_.has_positional_cache());
  const auto n_embd = static_cast<std::size_t>(llama_model_n_embd_out(model_.model()));
  std::vector<std::vector<double>> sums(texts.size(), std::vector<double>(n_embd, 0.0));
  const auto counts = [&](std::size_t text, std::size_t position) {
    if (model_.pooling() == PoolingType::kFirst) return position == 0;
    if (model_.pooling() == PoolingType::kLast) return position + 1 == texts[text].size();
    return true;
  };

  Batch batch(static_cast<int>(llama_n_batch(context_.get())));
  std::vector<std::size_t> text_of_row;  // of those that count; else texts.size()
  const auto flush = [&]() -> Status {
    if (stop.StopRequested()) return Fail(stop.ToError());
    AnswerStopped();
    CORRAL_TRY_STATUS(Decode(batch.value()));
    for (std::size_t row = 0; row < text_of_row.size(); ++row) {
      if (text_of_row[row] == texts.size()) continue;
      const float* vector =
          llama_get_embeddings_ith(context_.get(), static_cast<std::int32_t>(row));
      if (vector == nullptr) return Fail(Code::kInternal, "the model gave no embedding");
      std::vector<double>& sum = sums[text_of_row[row]];
      for (std::size_t k = 0; k < n_embd; ++k) sum[k] += static_cast<double>(vector[k]);
    }
    batch.Clear();
    text_of_row.clear();
    return {};
  };
  for (std::size_t i = 0; i < texts.size(); ++i) {
    for (std::size_t k = 0; k < texts[i].size(); ++k) {
      batch.Add(texts[i][k], k, static_cast<llama_seq_id>(i), true);
      text_of_row.push_back(counts(i, k) ? i : texts.size());
      if (batch.room() == 0) CORRAL_TRY_STATUS(flush());
    }
  }
  if (batch.size() > 0) CORRAL_TRY_STATUS(flush());

  const bool is_mean =
      model_.pooling() != PoolingType::kFirst && model_.pooling() != PoolingType::kLast;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto n = static_cast<double>(is_mean ? texts[i].size() : 1);
    std::vector<float>& vector = vectors->emplace_back(n_embd);
    for (std::size_t k = 0; k < n_embd; ++k) vector[k] = static_cast<float>(sums[i][k] / n);
  }
  return {};
}

Result<Embeddings> Embedder::Embed(const EmbedJob& job, const AdapterFiles& files,
                                   const StopToken& stop) {
  CORRAL_TRY(set_, adapters_.Get(job.adapters, files));
  if (job.texts.empty()) return Embeddings{};
  // A reranker gives one score for a pair, and no vector.
  const bool is_reranker = model_.pooling() == PoolingType::kRank;
  if (is_reranker != job.rerank_query.has_value()) {
    return Fail(Code::kInvalidArgument, is_reranker ? "this model does not support embeddings"
                                                    : "this model does not support reranking");
  }
  CORRAL_TRY(const std::vector<std::vector<Token>> texts,
             is_reranker ? TokenizePairs(job, stop) : TokenizeAll(job, stop));
  Embeddings result;
  std::size_t longest = 0;
  for (const auto& text : texts) {
    result.prompt_tokens += static_cast<std::int64_t>(text.size());
    longest = std::max(longest, text.size());
  }
  CORRAL_TRY_STATUS(MakeContext(longest));

  std::size_t first = 0;
  while (first < texts.size()) {
    if (stop.StopRequested()) return Fail(stop.ToError());
    AnswerStopped();
    // As many whole texts as a batch should hold.
    std::size_t last = first;
    std::size_t n_tokens = 0;
    const auto n_most = static_cast<std::size_t>(
        model_.computes_on_cpu() ? std::min(n_cells_, kTogetherOnCpu) : n_cells_);
    while (last < texts.size() && last - first < static_cast<std::size_t>(MostSequences()) &&
           (last == first || n_tokens + texts[last].size() <= n_most)) {
      n_tokens += texts[last++].size();
    }
    const std::span<const std::vector<Token>> group(texts.data() + first, last - first);
    CORRAL_TRY_STATUS(PoolsInside() ? PoolInside(group, &result.vectors)
                                    : PoolHere(group, stop, &result.vectors));
    first = last;
  }
  for (std::vector<float>& vector : result.vectors) {
    if (is_reranker && llama_model_n_cls_out(model_.model()) == 1) {
      vector[0] = static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(vector[0]))));
    }
    CORRAL_TRY_STATUS(Normalize(&vector, job.normalize && !is_reranker));
  }
  return result;
}

}  // namespace corral::engine
