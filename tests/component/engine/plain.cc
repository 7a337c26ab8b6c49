#include "plain.h"

#include <llama.h>
#include <mtmd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <span>
#include <stdexcept>
#include <utility>

#include "pictures.h"

namespace corral::engine {
namespace {

constexpr int kBatch = 2048, kMicroBatch = 512;  // each picture is seen as a whole
constexpr int kWidth = 40, kHeight = 30;         // of pictures

class MemoryFile {
 public:
  explicit MemoryFile(const std::string& bytes) : fd_(::memfd_create("model", MFD_CLOEXEC)) {
    if (::write(fd_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
      throw std::runtime_error("memfd");
    file_ = ::fdopen(fd_, "rb");
    std::rewind(file_);
  }
  ~MemoryFile() { std::fclose(file_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::FILE* get() const { return file_; }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
  std::FILE* file_ = nullptr;
};

std::span<const Token> TokensOf(const mtmd_input_chunk* chunk) {
  std::size_t n = 0;
  const llama_token* const tokens = mtmd_input_chunk_get_tokens_text(chunk, &n);
  return {tokens, n};
}

bool IsText(const mtmd_input_chunk* chunk) {
  return mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT;
}

}  // namespace

double Divergence(const Distribution& p, const Distribution& q) {
  double sum = 0;
  for (const auto& [text, probability] : p) {
    const auto other = q.find(text);
    const double q_of = other == q.end() ? 1e-30 : std::max(other->second, 1e-30);
    if (probability > 0) sum += probability * std::log(probability / q_of);
  }
  return std::max(sum, 0.0);
}

std::string PictureFile(unsigned seed) { return Png(kWidth, kHeight, seed); }

void Plain::ChunksDeleter::operator()(mtmd_input_chunks* chunks) const {
  mtmd_input_chunks_free(chunks);
}

Plain::Plain(const Files& files, int num_ctx) {
  const MemoryFile model(files.model);
  model_ = llama_model_load_from_file_ptr(model.get(), llama_model_default_params());
  if (model_ == nullptr) throw std::runtime_error("cannot load");
  vocab_ = llama_model_get_vocab(model_);
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<std::uint32_t>(num_ctx);
  params.n_batch = kBatch;
  params.n_ubatch = kMicroBatch;
  params.n_threads = params.n_threads_batch = 1;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO;
  context_ = llama_init_from_model(model_, params);
  if (context_ == nullptr) throw std::runtime_error("no context");
  for (const auto& [name, bytes] : files.adapters) {
    const MemoryFile file(bytes);
    adapters_[name] = llama_adapter_lora_init_from_file_ptr(model_, file.get());
    if (adapters_[name] == nullptr) throw std::runtime_error("cannot load the adapter " + name);
  }
  if (files.projector.empty()) return;
  const MemoryFile projector(files.projector);
  mtmd_context_params of_projector = mtmd_context_params_default();
  of_projector.use_gpu = of_projector.print_timings = false;
  of_projector.n_threads = 1;
  of_projector.image_min_tokens = files.least_cells;
  projector_ = mtmd_init_from_file(projector.path().c_str(), model_, of_projector);
  if (projector_ == nullptr) throw std::runtime_error("cannot load the projector");
}

Plain::~Plain() {
  mtmd_free(projector_);
  llama_free(context_);
  for (const auto& [name, adapter] : adapters_) llama_adapter_lora_free(adapter);
  llama_model_free(model_);
}

int Plain::n_vocab() const { return llama_vocab_n_tokens(vocab_); }

std::string Plain::Text(Token token) const {
  std::array<char, 64> piece{};
  const int n = llama_token_to_piece(vocab_, token, piece.data(),
                                     static_cast<std::int32_t>(piece.size()), 0, true);
  return {piece.data(), static_cast<std::size_t>(std::max(n, 0))};
}

std::vector<Token> Plain::Tokenize(const std::string& text) const {
  std::vector<Token> tokens(text.size() + 8);
  tokens.resize(static_cast<std::size_t>(std::max(
      0, llama_tokenize(vocab_, text.data(), static_cast<std::int32_t>(text.size()), tokens.data(),
                        static_cast<std::int32_t>(tokens.size()), true, true))));
  return tokens;
}

Plain::Chunks Plain::Read(const Ask& ask) const {
  std::string text = ask.text;
  const std::string mark = "[img]", marker = mtmd_default_marker();
  for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at))
    text.replace(at, mark.size(), marker);
  std::vector<mtmd_bitmap*> bitmaps;
  for (const unsigned seed : ask.pictures) {
    const std::string pixels = Pixels(kWidth, kHeight, seed);
    bitmaps.push_back(
        mtmd_bitmap_init(kWidth, kHeight, reinterpret_cast<const unsigned char*>(pixels.data())));
  }
  const mtmd_input_text input{text.data(), text.size(), true, true};
  Chunks chunks(mtmd_input_chunks_init());
  const std::vector<const mtmd_bitmap*> pointers(bitmaps.begin(), bitmaps.end());
  const int code =
      mtmd_tokenize(projector_, chunks.get(), &input, pointers.data(), pointers.size());
  for (mtmd_bitmap* const bitmap : bitmaps) mtmd_bitmap_free(bitmap);
  if (code != 0) throw std::runtime_error("mtmd_tokenize");
  return chunks;
}

void Plain::Apply(const std::vector<AdapterUse>& adapters) {
  std::vector<llama_adapter_lora*> loaded;
  std::vector<float> scales;
  for (const AdapterUse& use : adapters) {
    loaded.push_back(adapters_.at(use.file));
    scales.push_back(use.scale);
  }
  llama_set_adapters_lora(context_, loaded.data(), loaded.size(), scales.data());
}

void Plain::EvaluateText(const std::vector<Token>& tokens, std::size_t n_step,
                         std::int32_t* position) {
  llama_batch batch = llama_batch_init(static_cast<std::int32_t>(n_step), 0, 1);
  bool works = true;
  for (std::size_t i = 0; works && i < tokens.size(); i += n_step) {
    batch.n_tokens = static_cast<std::int32_t>(std::min(n_step, tokens.size() - i));
    for (std::int32_t k = 0; k < batch.n_tokens; ++k) {
      batch.token[k] = tokens[i + static_cast<std::size_t>(k)];
      batch.pos[k] = (*position)++;
      batch.n_seq_id[k] = 1;
      batch.seq_id[k][0] = 0;
      batch.logits[k] = k + 1 == batch.n_tokens;
    }
    works = llama_decode(context_, batch) == 0;
  }
  llama_batch_free(batch);
  if (!works) throw std::runtime_error("llama_decode");
}

void Plain::EvaluatePicture(const mtmd_input_chunk* chunk, unsigned seed, std::int32_t* position) {
  std::vector<float>& embeddings = encoded_[seed];
  if (embeddings.empty()) {
    if (mtmd_encode_chunk(projector_, chunk) != 0) throw std::runtime_error("mtmd_encode_chunk");
    const std::size_t n = mtmd_input_chunk_get_n_tokens(chunk) *
                          static_cast<std::size_t>(llama_model_n_embd_inp(model_));
    const float* const values = mtmd_get_output_embd(projector_);
    embeddings.assign(values, values + n);
  }
  const auto n = static_cast<std::size_t>(mtmd_input_chunk_get_n_tokens(chunk));
  const bool is_flat = !mtmd_decode_use_mrope(projector_);
  std::vector<llama_pos> positions(is_flat ? n : 4 * n);  // one dimension after the other
  for (std::size_t i = 0; i < n; ++i) {
    if (is_flat) {
      positions[i] = *position + static_cast<llama_pos>(i);
      continue;
    }
    const mtmd_decoder_pos at =
        mtmd_image_tokens_get_decoder_pos(mtmd_input_chunk_get_tokens_image(chunk), *position, i);
    const std::array<std::uint32_t, 4> dimensions = {at.t, at.y, at.x, at.z};
    for (std::size_t k = 0; k < dimensions.size(); ++k)
      positions[k * n + i] = static_cast<llama_pos>(dimensions[k]);
  }
  llama_seq_id id = 0;
  std::vector<llama_seq_id*> ids(n, &id);
  std::vector<std::int32_t> n_ids(n, 1);
  llama_batch batch{};
  batch.n_tokens = static_cast<std::int32_t>(n);
  batch.embd = embeddings.data();
  batch.pos = positions.data();
  batch.n_seq_id = n_ids.data();
  batch.seq_id = ids.data();
  const bool sees_itself = mtmd_decode_use_non_causal(projector_, chunk);
  if (sees_itself) llama_set_causal_attn(context_, false);
  const int code = llama_decode(context_, batch);
  llama_set_causal_attn(context_, true);
  if (code != 0) throw std::runtime_error("llama_decode of a picture");
  *position += mtmd_input_chunk_get_n_pos(chunk);
}

Distribution Plain::Scores() const {
  const float* const logits = llama_get_logits_ith(context_, -1);
  const double most = *std::max_element(logits, logits + n_vocab());
  double sum = 0;
  for (Token token = 0; token < n_vocab(); ++token) sum += std::exp(logits[token] - most);
  Distribution result;
  for (Token token = 0; token < n_vocab(); ++token)
    result[Text(token)] += std::exp(logits[token] - most) / sum;
  return result;
}

Distribution Plain::Next(const Ask& ask, int n_step) {
  llama_memory_clear(llama_get_memory(context_), true);
  Apply(ask.adapters);
  const auto step = static_cast<std::size_t>(n_step);
  std::int32_t position = 0;
  if (ask.pictures.empty()) {
    EvaluateText(Tokenize(ask.text), step, &position);
    return Scores();
  }
  const Chunks chunks = Read(ask);
  auto seed = ask.pictures.begin();  // each of these pictures is one chunk
  for (std::size_t i = 0; i < mtmd_input_chunks_size(chunks.get()); ++i) {
    const mtmd_input_chunk* const chunk = mtmd_input_chunks_get(chunks.get(), i);
    if (!IsText(chunk)) {
      EvaluatePicture(chunk, *seed++, &position);
      continue;
    }
    const std::span<const Token> tokens = TokensOf(chunk);
    EvaluateText({tokens.begin(), tokens.end()}, step, &position);
  }
  return Scores();
}

std::vector<std::int64_t> Plain::Cells(const Ask& ask) {
  if (ask.pictures.empty()) {
    const std::vector<Token> tokens = Tokenize(ask.text);
    return {tokens.begin(), tokens.end()};
  }
  std::vector<std::int64_t> cells;
  const Chunks chunks = Read(ask);
  auto seed = ask.pictures.begin();
  for (std::size_t i = 0; i < mtmd_input_chunks_size(chunks.get()); ++i) {
    const mtmd_input_chunk* const chunk = mtmd_input_chunks_get(chunks.get(), i);
    if (IsText(chunk)) {
      const std::span<const Token> tokens = TokensOf(chunk);
      cells.insert(cells.end(), tokens.begin(), tokens.end());
    } else {
      cells.insert(cells.end(), mtmd_input_chunk_get_n_tokens(chunk),
                   -1 - static_cast<std::int64_t>(*seed++));
    }
  }
  return cells;
}

}  // namespace corral::engine
