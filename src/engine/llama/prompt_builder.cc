#include "engine/llama/prompt_builder.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "core/sha256.h"
#include "engine/llama/output_syntax.h"
#include "engine/prompt_cut.h"

namespace corral::engine {
namespace {

// A prompt that is larger and surely does not fit is not tokenised in one go, which would take
// minutes for 100 MB.
constexpr std::size_t kHugePromptBytes = 4 << 20;
constexpr std::size_t kPartBytes = 256 * 1024;  // then: of a part
constexpr std::size_t kSlackBytes =
    64 * 1024;  // text beside a cut whose tokens may differ from those of the whole
constexpr std::size_t kTokensOfImage = 768;  // Ollama's estimate (server/prompt.go)

Error TooLong(std::size_t n_tokens, int n_ctx) {
  return {Code::kInvalidArgument, "request (" + std::to_string(n_tokens) +
                                      " tokens) exceeds the available context size (" +
                                      std::to_string(n_ctx) + " tokens), try increasing it"};
}

Error NoRoomWithoutShift() {
  return {Code::kInvalidArgument,
          "the prompt is longer than the context length currently available to the model; shorten "
          "the prompt, adjust the "
          "context length in settings, or use a model with a longer context length"};
}

// llama-server's words, which Ollama hands on.
Error NoSense(bool is_sound) {
  return {Code::kInvalidArgument,
          std::string(is_sound ? "audio" : "image") +
              " input is not supported - hint: if this is unexpected, you may need to provide the "
              "mmproj"};
}

// The engine cuts the middle out of a prompt that is too long, unless it came by the model's own
// template.
bool IsRefusedWhenTooLong(const GenerateJob& job) {
  const bool is_native_chat = job.is_chat && job.prompt.kind == PromptSource::Kind::kMessages &&
                              job.prompt.go_template.empty();
  return !job.truncate || is_native_chat;
}

// Where a text may be cut at or before `position`: in front of white space near by, else between
// code points.
std::size_t BoundaryBefore(std::string_view text, std::size_t position) {
  const std::size_t earliest = position > 256 ? position - 256 : 0;
  for (std::size_t i = position; i > earliest; --i) {
    if ((text[i] == ' ' || text[i] == '\n') && text[i - 1] != ' ' && text[i - 1] != '\n') return i;
  }
  while (position > 0 && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80) --position;
  return position;
}

}  // namespace

std::size_t PreparedPrompt::CellsOf(std::size_t n_positions) const {
  std::size_t n_cells = n_positions;
  for (const MediaChunk& chunk : media) {
    if (chunk.begin >= n_positions) break;
    n_cells += chunk.n_cells - chunk.n_positions;
  }
  return n_cells;
}

// A template may write the BOS itself, but the tokenizer adds it already.
std::string_view PromptBuilder::WithoutBos(std::string_view text) const {
  const Token bos = llama_vocab_bos(model_.vocab());
  if (llama_vocab_get_add_bos(model_.vocab()) && bos >= 0) {
    const std::string bos_text = model_.TokenText(bos, true);
    if (!bos_text.empty() && text.starts_with(bos_text)) text.remove_prefix(bos_text.size());
  }
  return text;
}

Result<std::vector<Token>> PromptBuilder::TokenizePrompt(std::string_view text,
                                                         bool is_begin) const {
  return model_.Tokenize(WithoutBos(text), is_begin, true);
}

// Without tokenising: no token stands for more than so many bytes.
bool PromptBuilder::IsSurelyTooLong(std::string_view text, int n_ctx) const {
  return model_.max_token_bytes() > 0 &&
         text.size() / model_.max_token_bytes() > static_cast<std::size_t>(n_ctx);
}

// With one position left to predict into. Images are estimated: what they really take is known when
// they are decoded.
Result<bool> PromptBuilder::Fits(const std::string& text, int n_ctx) const {
  if (IsSurelyTooLong(text, n_ctx)) return false;
  std::size_t n_tokens = 0;
  bool is_first = true;
  for (const MediaMarker::Part& part : marker_.Split(text)) {
    if (part.image != MediaMarker::kText) {
      n_tokens += kTokensOfImage;
      continue;
    }
    CORRAL_TRY(const std::vector<Token> tokens, is_first ? TokenizePrompt(part.text, true)
                                                         : model_.Tokenize(part.text, false, true));
    n_tokens += tokens.size();
    is_first = false;
  }
  return n_tokens <= static_cast<std::size_t>(n_ctx - 1);
}

int PromptBuilder::TokensToKeep(int n_ctx, int num_keep) const {
  const std::int64_t bos = llama_vocab_get_add_bos(model_.vocab()) ? 1 : 0;
  return static_cast<int>(
      std::clamp<std::int64_t>(num_keep < 0 ? n_ctx : num_keep + bos, 0, n_ctx - 1));
}

// The beginning and the end of what is too long.
std::vector<Token> PromptBuilder::CutPrompt(std::vector<Token> tokens, int n_ctx,
                                            int num_keep) const {
  const int keep = TokensToKeep(n_ctx, num_keep);
  const auto length = static_cast<std::ptrdiff_t>(std::max(CutPromptLength(n_ctx, keep), 1));
  const auto n_all = static_cast<std::ptrdiff_t>(tokens.size());
  if (n_all <= length) return tokens;
  const std::ptrdiff_t head = std::min<std::ptrdiff_t>(keep, length - 1);
  tokens.erase(tokens.begin() + head, tokens.begin() + (n_all - (length - head)));
  return tokens;
}

// A huge prompt that surely does not fit. To be cut: only its two ends are tokenised, with slack,
// since what a token is depends on the text around it. Refused: counted part by part, for the
// error's text.
Result<std::vector<Token>> PromptBuilder::TokenizeHuge(std::string_view text, int n_ctx,
                                                       const GenerateJob& job,
                                                       const StopToken& stop) const {
  const bool is_begin = job.prompt.context.empty();
  const std::size_t end_bytes =
      static_cast<std::size_t>(n_ctx) * model_.max_token_bytes() + kSlackBytes;
  if (!IsRefusedWhenTooLong(job)) {
    if (!job.shift) return Fail(NoRoomWithoutShift());
    if (text.size() > 2 * end_bytes) {
      const std::string_view head_text = text.substr(0, BoundaryBefore(text, end_bytes));
      const std::string_view tail_text = text.substr(BoundaryBefore(text, text.size() - end_bytes));
      CORRAL_TRY(std::vector<Token> tokens, TokenizePrompt(head_text, is_begin));
      CORRAL_TRY(const std::vector<Token> tail, model_.Tokenize(tail_text, is_begin, true));
      tokens.insert(tokens.end(), tail.begin(), tail.end());
      return tokens;  // still too many: Build cuts them
    }
  }
  std::vector<Token> tokens;
  for (std::size_t begin = 0; begin < text.size();) {
    if (stop.StopRequested()) return Fail(stop.ToError());
    const std::size_t end =
        text.size() - begin <= kPartBytes ? text.size() : BoundaryBefore(text, begin + kPartBytes);
    const std::string_view part = text.substr(begin, end - begin);
    CORRAL_TRY(const std::vector<Token> more,
               begin == 0 ? TokenizePrompt(part, is_begin) : model_.Tokenize(part, false, true));
    tokens.insert(tokens.end(), more.begin(), more.end());
    begin = end;
  }
  return tokens;
}

// Drops the oldest messages until the prompt fits; every system message and the last message stay.
Result<RenderedPrompt> PromptBuilder::RenderFitting(const GenerateJob& job,
                                                    const std::vector<ChatMessage>& all, int n_ctx,
                                                    const StopToken& stop) const {
  CORRAL_TRY(RenderedPrompt whole, renderer_.Render(job, all, stop));
  if (!job.truncate || !job.is_chat || job.prompt.kind != PromptSource::Kind::kMessages ||
      all.size() < 2)
    return whole;
  CORRAL_TRY(const bool all_fit, Fits(whole.text, n_ctx));
  if (all_fit) return whole;
  const auto render_from = [&](std::size_t first) {
    std::vector<ChatMessage> kept;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i >= first || all[i].role == "system") kept.push_back(all[i]);
    }
    return renderer_.Render(job, kept, stop);
  };
  // Fits more the more is dropped: bisect for the first start that fits.
  std::size_t too_long = 0;
  std::size_t fits = all.size() - 1;  // the last message alone, whether it fits or not
  CORRAL_TRY(RenderedPrompt best, render_from(fits));
  while (fits - too_long > 1) {
    if (stop.StopRequested()) return Fail(stop.ToError());
    const std::size_t middle = too_long + (fits - too_long) / 2;
    // Some templates refuse a conversation that begins in the middle: a later start may please
    // them.
    Result<RenderedPrompt> candidate = render_from(middle);
    if (!candidate && candidate.error().code != Code::kInternal)
      return Fail(std::move(candidate).error());
    bool candidate_fits = false;
    if (candidate) {
      CORRAL_TRY(candidate_fits, Fits(candidate->text, n_ctx));
    }
    if (candidate_fits) {
      fits = middle;
      best = *std::move(candidate);
    } else {
      too_long = middle;
    }
  }
  return best;
}

// Text and media in their order. Each image that the text has is decoded, and no other. The hold
// follows what is there, so it may be one picture behind.
Result<MediaPrompt> PromptBuilder::ReadMedia(const GenerateJob& job, std::string_view text,
                                             const StopToken& stop, MediaMemory::Hold* hold) const {
  std::vector<const std::string*> images;  // of all messages
  for (const ChatMessage& message : job.prompt.messages) {
    for (const std::string& image : message.images) images.push_back(&image);
  }
  const std::vector<MediaMarker::Part> parts = marker_.Split(WithoutBos(text));
  std::deque<DecodedMedia> decoded;  // whose elements stay where they are
  std::vector<std::string> hashes;
  std::vector<Projector::Part> inputs;
  std::int64_t n_bytes = 0;
  for (const MediaMarker::Part& part : parts) {
    if (part.image == MediaMarker::kText) {
      inputs.emplace_back(part.text);
      continue;
    }
    const std::string& image = *images.at(part.image);
    const bool is_sound = IsSound(image);
    if (is_sound ? !projector_->hears() : !projector_->sees()) return Fail(NoSense(is_sound));
    if (decoded.size() == limits_.n_media)
      return Fail(
          Code::kInvalidArgument,
          "a prompt may have at most " + std::to_string(limits_.n_media) + " images and sounds");
    CORRAL_TRY(DecodedMedia media, processes_.DecodeMedia(image, projector_->sample_rate(), stop));
    n_bytes += static_cast<std::int64_t>(media.data.size());
    if (n_bytes > limits_.decoded_bytes)
      return Fail(Code::kInvalidArgument, "the images and sounds of a prompt may have at most " +
                                              std::to_string(limits_.decoded_bytes >> 20) +
                                              " MiB together when decoded");
    CORRAL_TRY_STATUS(hold->Resize(n_bytes));
    decoded.push_back(std::move(media));
    // Users that share no prefixes cannot tell by the time either what pictures another has sent.
    hashes.push_back(Sha256Hex(image) + ":" + Sha256Hex(job.prefix_salt));
    inputs.emplace_back(&decoded.back());
  }
  CORRAL_TRY(MediaPrompt prompt, projector_->Tokenize(inputs, hashes, job.prompt.context.empty()));
  CORRAL_TRY_STATUS(hold->Resize(prompt.memory_bytes));
  return prompt;
}

Result<std::vector<Token>> PromptBuilder::ReadText(const GenerateJob& job, std::string_view text,
                                                   int n_ctx, const StopToken& stop) const {
  const bool is_huge = text.size() > kHugePromptBytes && IsSurelyTooLong(text, n_ctx);
  return is_huge ? TokenizeHuge(text, n_ctx, job, stop)
                 : TokenizePrompt(text, job.prompt.context.empty());
}

Result<PreparedPrompt> PromptBuilder::Build(const GenerateJob& job, int n_ctx,
                                            const StopToken& stop) const {
  PreparedPrompt prepared;
  const std::vector<ChatMessage>& asked = job.prompt.messages;
  const bool has_media = std::any_of(asked.begin(), asked.end(), [](const ChatMessage& message) {
    return !message.images.empty();
  });
  if (has_media && projector_ == nullptr) return Fail(NoSense(false));
  CORRAL_TRY(RenderedPrompt rendered, has_media
                                          ? RenderFitting(job, marker_.Place(asked), n_ctx, stop)
                                          : RenderFitting(job, asked, n_ctx, stop));
  if (stop.StopRequested()) return Fail(stop.ToError());
  for (const Token token : job.prompt.context) {
    if (token < 0 || token >= model_.n_vocab()) {
      return Fail(Code::kInvalidArgument,
                  "context holds " + std::to_string(token) + ", which is no token of the model");
    }
  }

  if (has_media && job.render_only) rendered.text = marker_.WithTags(rendered.text);
  MediaPrompt read;
  if (has_media && !job.render_only) {
    prepared.media_memory = memory_.Begin();
    CORRAL_TRY(read, ReadMedia(job, rendered.text, stop, &prepared.media_memory));
  } else {
    CORRAL_TRY(read.tokens, ReadText(job, rendered.text, n_ctx, stop));
  }
  prepared.tokens = job.prompt.context;
  prepared.tokens.insert(prepared.tokens.end(), read.tokens.begin(), read.tokens.end());
  prepared.media = std::move(read.media);
  for (MediaChunk& chunk : prepared.media) chunk.begin += job.prompt.context.size();
  if (prepared.tokens.empty()) {
    // An empty prompt still needs one position to predict from.
    const Token bos = llama_vocab_bos(model_.vocab());
    prepared.tokens.push_back(bos >= 0 ? bos : std::max(llama_vocab_eos(model_.vocab()), 0));
  }

  const std::size_t n_cells = prepared.CellsOf(prepared.tokens.size());
  if (n_cells > static_cast<std::size_t>(n_ctx - 1)) {
    // A picture is never cut.
    if (!prepared.media.empty() || IsRefusedWhenTooLong(job)) return Fail(TooLong(n_cells, n_ctx));
    if (!job.shift) return Fail(NoRoomWithoutShift());
    prepared.tokens = CutPrompt(std::move(prepared.tokens), n_ctx, job.sampling.num_keep);
  }

  if (job.render_only) prepared.rendered = rendered.text;
  prepared.stops = job.sampling.stop;
  prepared.stops.insert(prepared.stops.end(), rendered.stops.begin(), rendered.stops.end());
  prepared.grammar = std::move(rendered.grammar);
  prepared.is_grammar_lazy = rendered.is_grammar_lazy;
  prepared.syntax = std::move(rendered.syntax);
  if (prepared.syntax) {
    for (const std::string& text : prepared.syntax->preserved) {
      CORRAL_TRY(const std::vector<Token> tokens, model_.Tokenize(text, false, true));
      if (tokens.size() == 1) prepared.shown_control.push_back(tokens.front());
    }
  }
  return prepared;
}

}  // namespace corral::engine
