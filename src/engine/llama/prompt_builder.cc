#include "engine/llama/prompt_builder.h"

#include <algorithm>
#include <utility>

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

Result<std::vector<Token>> PromptBuilder::TokenizePrompt(std::string_view text) const {
  std::string_view rest = text;
  const Token bos = llama_vocab_bos(model_.vocab());
  if (llama_vocab_get_add_bos(model_.vocab()) && bos >= 0) {
    // A template that writes the BOS itself: the tokenizer adds it already.
    const std::string bos_text = model_.TokenText(bos, true);
    if (!bos_text.empty() && rest.starts_with(bos_text)) rest.remove_prefix(bos_text.size());
  }
  return model_.Tokenize(rest, true, true);
}

// Without tokenising: no token stands for more than so many bytes.
bool PromptBuilder::IsSurelyTooLong(std::string_view text, int n_ctx) const {
  return model_.max_token_bytes() > 0 &&
         text.size() / model_.max_token_bytes() > static_cast<std::size_t>(n_ctx);
}

// With one position left to predict into.
Result<bool> PromptBuilder::Fits(const std::string& text, int n_ctx) const {
  if (IsSurelyTooLong(text, n_ctx)) return false;
  CORRAL_TRY(const std::vector<Token> tokens, TokenizePrompt(text));
  return tokens.size() <= static_cast<std::size_t>(n_ctx - 1);
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

// A huge prompt that surely does not fit. Cut: only its two ends are tokenised, with slack, since
// what a token is depends on the text around it. Refused: counted part by part, for the error's
// text.
Result<std::vector<Token>> PromptBuilder::TokenizeAndCut(std::string_view text, int n_ctx,
                                                         const GenerateJob& job,
                                                         const StopToken& stop) const {
  const std::size_t end_bytes =
      static_cast<std::size_t>(n_ctx) * model_.max_token_bytes() + kSlackBytes;
  if (!IsRefusedWhenTooLong(job)) {
    if (!job.shift) return Fail(NoRoomWithoutShift());
    if (text.size() > 2 * end_bytes) {
      const std::string_view head_text = text.substr(0, BoundaryBefore(text, end_bytes));
      const std::string_view tail_text = text.substr(BoundaryBefore(text, text.size() - end_bytes));
      CORRAL_TRY(std::vector<Token> tokens, TokenizePrompt(head_text));
      CORRAL_TRY(const std::vector<Token> tail, model_.Tokenize(tail_text, true, true));
      tokens.insert(tokens.end(), tail.begin(), tail.end());
      return CutPrompt(std::move(tokens), n_ctx, job.sampling.num_keep);
    }
  }
  std::vector<Token> tokens;
  for (std::size_t begin = 0; begin < text.size();) {
    if (stop.StopRequested()) return Fail(stop.ToError());
    const std::size_t end =
        text.size() - begin <= kPartBytes ? text.size() : BoundaryBefore(text, begin + kPartBytes);
    const std::string_view part = text.substr(begin, end - begin);
    CORRAL_TRY(const std::vector<Token> more,
               begin == 0 ? TokenizePrompt(part) : model_.Tokenize(part, false, true));
    tokens.insert(tokens.end(), more.begin(), more.end());
    begin = end;
  }
  return tokens;
}

// Drops the oldest messages until the prompt fits; every system message and the last message stay.
Result<RenderedPrompt> PromptBuilder::RenderFitting(const GenerateJob& job, int n_ctx,
                                                    const StopToken& stop) const {
  const std::vector<ChatMessage>& all = job.prompt.messages;
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

Result<PreparedPrompt> PromptBuilder::Build(const GenerateJob& job, int n_ctx,
                                            const StopToken& stop) const {
  PreparedPrompt prepared;
  CORRAL_TRY(RenderedPrompt rendered, RenderFitting(job, n_ctx, stop));
  if (stop.StopRequested()) return Fail(stop.ToError());

  if (job.prompt.context.empty()) {
    const bool is_huge =
        rendered.text.size() > kHugePromptBytes && IsSurelyTooLong(rendered.text, n_ctx);
    CORRAL_TRY(prepared.tokens, is_huge ? TokenizeAndCut(rendered.text, n_ctx, job, stop)
                                        : TokenizePrompt(rendered.text));
  } else {
    for (const Token token : job.prompt.context) {
      if (token < 0 || token >= model_.n_vocab()) {
        return Fail(Code::kInvalidArgument,
                    "context holds " + std::to_string(token) + ", which is no token of the model");
      }
    }
    prepared.tokens = job.prompt.context;
    CORRAL_TRY(const std::vector<Token> rest, model_.Tokenize(rendered.text, false, true));
    prepared.tokens.insert(prepared.tokens.end(), rest.begin(), rest.end());
  }
  if (prepared.tokens.empty()) {
    // An empty prompt still needs one position to predict from.
    const Token bos = llama_vocab_bos(model_.vocab());
    prepared.tokens.push_back(bos >= 0 ? bos : std::max(llama_vocab_eos(model_.vocab()), 0));
  }

  if (prepared.tokens.size() > static_cast<std::size_t>(n_ctx - 1)) {
    if (IsRefusedWhenTooLong(job)) return Fail(TooLong(prepared.tokens.size(), n_ctx));
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
