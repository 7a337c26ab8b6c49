#include "engine/llama/projector.h"

#include <ggml-backend.h>
#include <mtmd.h>

#include <algorithm>
#include <utility>

#include "core/log.h"
#include "core/text.h"
#include "engine/llama/load_progress.h"
#include "engine/media_marks.h"
#include "gguf/reader.h"

namespace corral::engine {
namespace {

constexpr std::size_t kMostEncodedBytes = 128 << 20;
// Contents that are remembered by name. Forgetting one costs an evaluation and is never wrong, as
// no id is given twice.
constexpr std::size_t kMostIds = 64 << 10;
// A projector is asked for the cells of pictures of these sizes when it is loaded.
constexpr std::pair<std::uint32_t, std::uint32_t> kSamples[] = {
    {4096, 4096}, {4096, 2048}, {2048, 4096}, {512, 512}};
// Fewer cells than this of a Qwen-VL picture cost it its sense of place: Ollama's
// --image-min-tokens (llm/llama_server.go).
constexpr int kLeastCellsOfQwen = 1024;
// The side of a cell in patches, where the file does not say (Qwen-VL's; others' are smaller).
constexpr std::uint64_t kUsualMerge = 2;
constexpr std::uint64_t kMostSide = 4096;  // in pixels: what a file may claim of a picture, a cell
constexpr std::int64_t kPixelBytes = 3 * sizeof(float);
constexpr std::int64_t kSoundWindowSeconds = 30;  // shorter sounds are filled up with silence
constexpr std::string_view kQwenVl[] = {"qwen2vl", "qwen25vl", "qwen3vl", "qwen3vlmoe"};

struct ChunksDeleter {
  void operator()(mtmd_input_chunks* chunks) const { mtmd_input_chunks_free(chunks); }
};
using ChunksPtr = std::unique_ptr<mtmd_input_chunks, ChunksDeleter>;
struct BitmapDeleter {
  void operator()(mtmd_bitmap* bitmap) const { mtmd_bitmap_free(bitmap); }
};
using BitmapPtr = std::unique_ptr<mtmd_bitmap, BitmapDeleter>;

bool HasGpu() {
  return ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_GPU) != nullptr ||
         ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_IGPU) != nullptr;
}

mtmd_context_params Params(const LoadedModel& model) {
  const LoadOptions& options = model.options();
  mtmd_context_params params = mtmd_context_params_default();
  // On the GPU only with the whole model there, as Ollama has it.
  params.use_gpu =
      HasGpu() && (options.num_gpu < 0 || options.num_gpu > llama_model_n_layer(model.model()));
  params.print_timings = false;
  params.n_threads = model.n_threads();
  params.flash_attn_type =
      options.flash_attention ? LLAMA_FLASH_ATTN_TYPE_AUTO : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  char architecture[64] = "";
  llama_model_meta_val_str(model.model(), "general.architecture", architecture,
                           sizeof(architecture));
  const bool is_qwen =
      std::find(std::begin(kQwenVl), std::end(kQwenVl), architecture) != std::end(kQwenVl);
  if (is_qwen) params.image_min_tokens = kLeastCellsOfQwen;
  return params;
}

// What libmtmd says of a file that it does not load: the first error is the reason, what follows
// only says that it failed. Ours is the process's log meanwhile; one load at a time.
class LoadLog {
 public:
  LoadLog() { mtmd_log_set(OnLog, this); }
  ~LoadLog() { InstallLlamaLog(); }
  LoadLog(const LoadLog&) = delete;
  LoadLog& operator=(const LoadLog&) = delete;

  Error ToError() const {
    return {Code::kCorrupt, "unable to load the model's projector" +
                                (first_error_.empty() ? std::string() : ": " + first_error_)};
  }

 private:
  static void OnLog(ggml_log_level level, const char* text, void* user) {
    auto& log = *static_cast<LoadLog*>(user);
    if (level != GGML_LOG_LEVEL_ERROR || !log.first_error_.empty()) return;
    // "clip_init: failed to load model '/proc/self/fd/5': load_hparams: unknown projector type: x"
    std::string_view line = TrimSpace(text);
    for (const std::string_view end : {"': ", "error: "}) {
      if (const std::size_t at = line.find(end); at != std::string_view::npos)
        line.remove_prefix(at + end.size());
    }
    log.first_error_ = line;
    Log(LogLevel::kDebug, line, {{"from", "llama.cpp"}});
  }

  std::string first_error_;
};

}  // namespace

void Projector::ContextDeleter::operator()(mtmd_context* context) const { mtmd_free(context); }

Projector::~Projector() = default;

Result<std::unique_ptr<Projector>> Projector::Load(int fd, const LoadedModel& model,
                                                   const std::function<bool(float)>& on_progress) {
  CORRAL_TRY(const gguf::Info info, gguf::ReadFd(fd));
  if (info.Architecture() != "clip") {
    return Fail(Code::kCorrupt, "unable to load the model's projector: it is of architecture " +
                                    GoQuote(info.Architecture()) + ", must be \"clip\"");
  }
  CORRAL_TRY_STATUS(gguf::CheckLoadable(info));

  mtmd_context_params params = Params(model);
  LoadProgress progress(on_progress);
  progress.Watch(params);
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  auto projector = std::unique_ptr<Projector>(new Projector(model));
  if (!params.use_gpu) projector->watch_.Watch(params);
  const LoadLog log;
  projector->context_.reset(mtmd_init_from_file(path.c_str(), model.model(), params));
  if (progress.is_cancelled()) return Fail(Code::kCancelled, "the load was ended");
  mtmd_context* const context = projector->context_.get();
  if (context == nullptr) return Fail(log.ToError());
  projector->sees_ = mtmd_support_vision(context);
  projector->hears_ = mtmd_support_audio(context);
  projector->has_mrope_ = mtmd_decode_use_mrope(context);
  if (projector->hears_) projector->sample_rate_ = mtmd_get_audio_sample_rate(context);

  projector->ReadSizes(info);
  params.progress_callback = nullptr;
  params.cb_eval = nullptr;
  for (const auto& [device, bytes] : mtmd_get_memory_usage(path.c_str(), params))
    projector->memory_bytes_ += static_cast<std::int64_t>(bytes);
  if (projector->sees_ && mtmd_decode_use_non_causal(context, nullptr)) {
    for (const auto& [width, height] : kSamples) {
      projector->least_batch_ =
          std::max(projector->least_batch_, static_cast<int>(projector->CountCells(width, height)));
    }
  }
  return projector;
}

// libmtmd does not tell the size of what it has prepared.
void Projector::ReadSizes(const gguf::Info& info) {
  const auto side = [&info](std::string_view key, std::uint64_t otherwise) {
    return static_cast<std::int64_t>(std::min(info.Uint(key).value_or(otherwise), kMostSide));
  };
  const std::int64_t picture = side("clip.vision.image_size", 0);
  const std::uint64_t merge =
      info.Uint("clip.vision.spatial_merge_size")
          .value_or(info.Uint("clip.vision.projector.scale_factor").value_or(kUsualMerge));
  const std::int64_t cell = std::min<std::int64_t>(
      side("clip.vision.patch_size", 1) * static_cast<std::int64_t>(std::min(merge, kMostSide)),
      kMostSide);
  least_picture_bytes_ = picture * picture * kPixelBytes;
  cell_bytes_ = cell * cell * kPixelBytes;
}

std::int64_t Projector::MemoryOf(const MediaChunk& picture) const {
  return std::max(least_picture_bytes_, static_cast<std::int64_t>(picture.n_cells) * cell_bytes_);
}

// Of the largest chunk of such a picture. It has no pixels: nothing is prepared.
std::size_t Projector::CountCells(std::uint32_t width, std::uint32_t height) const {
  const BitmapPtr bitmap(mtmd_bitmap_init(width, height, nullptr));
  const mtmd_input_part part{nullptr, bitmap.get()};
  const mtmd_input_part* const parts[] = {&part};
  const ChunksPtr chunks(mtmd_input_chunks_init());
  // One that wants pixels tells nothing, and a picture too large for the batch is refused later.
  if (mtmd_tokenize_from_parts(context_.get(), chunks.get(), parts, 1, false) != 0) return 0;
  std::size_t most = 0;
  for (std::size_t i = 0; i < mtmd_input_chunks_size(chunks.get()); ++i) {
    const mtmd_input_chunk* chunk = mtmd_input_chunks_get(chunks.get(), i);
    if (mtmd_input_chunk_get_type(chunk) != MTMD_INPUT_CHUNK_TYPE_TEXT)
      most = std::max(most, mtmd_input_chunk_get_n_tokens(chunk));
  }
  return most;
}

std::int32_t Projector::IdOf(const std::string& content) {
  const std::lock_guard lock(mutex_);
  if (const auto known = ids_.find(content); known != ids_.end()) return known->second;
  if (ids_.size() >= kMostIds) ids_.clear();
  const std::int32_t id = next_id_;
  // After a billion pictures the first ids come again; what they named is long gone.
  next_id_ = (next_id_ + 1) % kMediaIds;
  ids_.emplace(content, id);
  return id;
}

Result<MediaPrompt> Projector::Tokenize(std::span<const Part> parts,
                                        std::span<const std::string> hashes, bool add_special) {
  MediaPrompt prompt;
  std::vector<BitmapPtr> bitmaps;
  std::vector<mtmd_input_text> texts;
  std::vector<mtmd_input_part> inputs;
  texts.reserve(parts.size());
  inputs.reserve(parts.size());
  for (const Part& part : parts) {
    if (const auto* text = std::get_if<std::string_view>(&part)) {
      texts.push_back({text->data(), text->size(), false, true});
      inputs.push_back({&texts.back(), nullptr});
      continue;
    }
    DecodedMedia& media = *std::get<DecodedMedia*>(part);
    const auto* data = reinterpret_cast<const unsigned char*>(media.data.data());
    bitmaps.emplace_back(media.is_sound
                             ? mtmd_bitmap_init_from_audio(media.data.size() / sizeof(float),
                                                           reinterpret_cast<const float*>(data))
                             : mtmd_bitmap_init(media.width, media.height, data));
    if (media.is_sound) prompt.memory_bytes += static_cast<std::int64_t>(media.data.size());
    std::string().swap(media.data);  // the bitmap has a copy
    // The place among the media tells the parts of two equal pictures apart.
    mtmd_bitmap_set_id(bitmaps.back().get(), std::to_string(bitmaps.size() - 1).c_str());
    inputs.push_back({nullptr, bitmaps.back().get()});
  }
  std::vector<const mtmd_input_part*> pointers;
  pointers.reserve(inputs.size());
  for (const mtmd_input_part& input : inputs) pointers.push_back(&input);

  const std::shared_ptr<mtmd_input_chunks> chunks(mtmd_input_chunks_init(), ChunksDeleter());
  TakeLastLlamaError();
  if (mtmd_tokenize_from_parts(context_.get(), chunks.get(), pointers.data(), pointers.size(),
                               add_special) != 0) {
    const std::string why = TakeLastLlamaError();
    return Fail(Code::kInvalidArgument,
                "Failed to load image or audio file" + (why.empty() ? std::string() : ": " + why));
  }

  bitmaps.clear();
  std::string last_name;
  std::size_t n_of_name = 0;
  for (std::size_t i = 0; i < mtmd_input_chunks_size(chunks.get()); ++i) {
    const mtmd_input_chunk* chunk = mtmd_input_chunks_get(chunks.get(), i);
    if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT) {
      std::size_t n_tokens = 0;
      const llama_token* tokens = mtmd_input_chunk_get_tokens_text(chunk, &n_tokens);
      prompt.tokens.insert(prompt.tokens.end(), tokens, tokens + n_tokens);
      continue;
    }
    MediaChunk media;
    media.begin = prompt.tokens.size();
    media.n_cells = mtmd_input_chunk_get_n_tokens(chunk);
    media.n_positions = static_cast<std::size_t>(mtmd_input_chunk_get_n_pos(chunk));
    if (media.n_cells == 0 || media.n_positions == 0)
      return Fail(Code::kInvalidArgument,
                  "Failed to load image or audio file: nothing is left of it");
    const std::string name = mtmd_input_chunk_get_id(chunk);
    n_of_name = name == last_name ? n_of_name + 1 : 0;
    last_name = name;
    const auto place = static_cast<std::size_t>(ParseInt(name).value_or(0));
    media.id =
        IdOf(hashes[place] + ":" + std::to_string(n_of_name) + ":" + std::to_string(media.n_cells));
    media.chunk = std::shared_ptr<const mtmd_input_chunk>(chunks, chunk);
    prompt.memory_bytes += mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_IMAGE
                               ? MemoryOf(media)
                               : kSoundWindowSeconds * sample_rate_ * std::int64_t{sizeof(float)};
    prompt.tokens.push_back(FirstMark(media.id));
    prompt.tokens.resize(media.begin + media.n_positions, NextMark(media.id));
    prompt.media.push_back(std::move(media));
  }
  return prompt;
}

Result<std::span<const float>> Projector::Encode(const MediaChunk& chunk, const StopToken& stop) {
  if (const auto known = encoded_.find(chunk.id); known != encoded_.end()) {
    recent_.splice(recent_.begin(), recent_, known->second);
    ++n_reused_;
    return std::span<const float>(recent_.front().embeddings);
  }
  TakeLastLlamaError();
  watch_.Begin(stop);
  const int code = mtmd_encode_chunk(context_.get(), chunk.chunk.get());
  if (watch_.HasEnded()) return Fail(stop.ToError());
  if (code != 0) {
    const std::string why = TakeLastLlamaError();
    return Fail(Code::kInternal, "an image or audio could not be encoded" +
                                     (why.empty() ? std::string() : ": " + why));
  }
  ++n_encoded_;
  const std::size_t n =
      chunk.n_cells * static_cast<std::size_t>(llama_model_n_embd_inp(model_.model()));
  const float* const values = mtmd_get_output_embd(context_.get());
  recent_.push_front({chunk.id, std::vector<float>(values, values + n)});
  encoded_[chunk.id] = recent_.begin();
  encoded_bytes_ += n * sizeof(float);
  while (encoded_bytes_ > kMostEncodedBytes && recent_.size() > 1) {
    encoded_bytes_ -= recent_.back().embeddings.size() * sizeof(float);
    encoded_.erase(recent_.back().id);
    recent_.pop_back();
  }
  return std::span<const float>(recent_.front().embeddings);
}

std::vector<llama_pos> Projector::Positions(const MediaChunk& chunk) const {
  const auto begin = static_cast<llama_pos>(chunk.begin);
  const std::size_t n = chunk.n_cells;
  std::vector<llama_pos> positions(has_mrope_ ? 4 * n : n);
  const mtmd_image_tokens* const image =
      has_mrope_ ? mtmd_input_chunk_get_tokens_image(chunk.chunk.get()) : nullptr;
  for (std::size_t i = 0; i < n; ++i) {
    const auto next = begin + static_cast<llama_pos>(i);
    if (!has_mrope_) {
      positions[i] = next;
    } else if (image == nullptr) {
      for (std::size_t dimension = 0; dimension < 4; ++dimension)
        positions[dimension * n + i] = next;
    } else {
      const mtmd_decoder_pos at = mtmd_image_tokens_get_decoder_pos(image, begin, i);
      positions[i] = static_cast<llama_pos>(at.t);
      positions[n + i] = static_cast<llama_pos>(at.y);
      positions[2 * n + i] = static_cast<llama_pos>(at.x);
      positions[3 * n + i] = static_cast<llama_pos>(at.z);
    }
  }
  return positions;
}

bool Projector::IsSeenAsAWhole(const MediaChunk& chunk) const {
  return mtmd_decode_use_non_causal(context_.get(), chunk.chunk.get());
}

}  // namespace corral::engine
