#include "engine/llama/prompt_builder.h"

#include <chat.h>
#include <json-schema-to-grammar.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "engine/llama/output_syntax.h"
#include "engine/llama/schema_limits.h"
#include "engine/prompt_cut.h"
#include "templates/template.h"

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

// GBNF for `format`; empty for free text.
Result<std::string> GrammarOf(const std::string& format_json) {
  if (format_json.empty()) return std::string();
  CORRAL_TRY_STATUS(CheckSchema(format_json));
  try {
    const std::string schema = format_json == "\"json\"" ? R"({"type":"object"})" : format_json;
    return json_schema_to_grammar(common_json::parse(schema));
  } catch (const std::exception& error) {
    return Fail(Code::kInvalidArgument,
                std::string("failed to compile the JSON schema in format: ") + error.what());
  }
}

common_chat_msg ToCommon(const ChatMessage& message) {
  common_chat_msg out;
  out.role = message.role;
  out.content = message.content;
  out.reasoning_content = message.thinking;
  out.tool_name = message.tool_name;
  out.tool_call_id = message.tool_call_id;
  for (const ToolCall& call : message.tool_calls)
    out.tool_calls.push_back({call.name, call.arguments_json, call.id});
  return out;
}

}  // namespace

struct PromptBuilder::Templates {
  common_chat_templates_ptr jinja;  // null: none, or it does not parse
  std::string error;                // why
  std::mutex mutex;                 // common's templates are not documented as thread-safe
  // Parsed Go templates by text: a model has one, a request may bring another.
  std::map<std::string, templates::Template> go;  // guarded by mutex
};

struct PromptBuilder::Rendered {
  std::string text;
  std::vector<std::string> stops;
  std::string grammar;
  bool is_grammar_lazy = false;
  std::shared_ptr<const OutputSyntax> syntax;
};

PromptBuilder::PromptBuilder(const LoadedModel& model)
    : model_(model), templates_(std::make_unique<Templates>()) {
  const char* source = llama_model_chat_template(model.model(), nullptr);
  if (source == nullptr) {
    templates_->error = "the model has no chat template";
    return;
  }
  try {
    templates_->jinja = common_chat_templates_init(model.model(), "");
  } catch (const std::exception& error) {
    templates_->error = std::string("the model's chat template does not parse: ") + error.what();
  }
}

PromptBuilder::~PromptBuilder() = default;

bool PromptBuilder::has_chat_template() const { return templates_->jinja != nullptr; }

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

Result<PromptBuilder::Rendered> PromptBuilder::RenderMessages(
    const GenerateJob& job, const std::vector<ChatMessage>& messages) const {
  Rendered rendered;
  if (!job.prompt.go_template.empty()) {
    templates::RenderInput input;
    input.messages = messages;
    input.tools_json = job.prompt.tools_json;
    input.think = job.prompt.think;
    if (job.prompt.kind == PromptSource::Kind::kInsert) {
      input.prompt = job.prompt.text;
      input.suffix = job.prompt.suffix;
    }
    std::optional<templates::Template> parsed;
    {
      const std::lock_guard lock(templates_->mutex);
      if (const auto known = templates_->go.find(job.prompt.go_template);
          known != templates_->go.end()) {
        parsed = known->second;
      }
    }
    if (!parsed) {
      CORRAL_TRY(parsed, templates::Template::Parse(job.prompt.go_template));
      const std::lock_guard lock(templates_->mutex);
      if (templates_->go.size() >= 16) templates_->go.clear();
      templates_->go.emplace(job.prompt.go_template, *parsed);
    }
    CORRAL_TRY(rendered.text, parsed->Render(input));
    return rendered;
  }

  if (!templates_->jinja) {
    // No template anywhere: the words of the conversation, so that base models still answer (as
    // Ollama's {{ .Prompt }}).
    for (const ChatMessage& message : messages) {
      if (!rendered.text.empty()) rendered.text += "\n\n";
      rendered.text += message.content;
    }
    return rendered;
  }
  try {
    common_chat_templates_inputs inputs;
    for (const ChatMessage& message : messages) inputs.messages.push_back(ToCommon(message));
    if (!job.prompt.tools_json.empty()) {
      inputs.tools = common_chat_tools_parse_oaicompat(common_json::parse(job.prompt.tools_json));
      inputs.parallel_tool_calls = true;
    }
    inputs.enable_thinking = job.prompt.think ? job.prompt.think->is_on : true;
    if (job.prompt.think && job.prompt.think->is_on && !job.prompt.think->level.empty()) {
      inputs.chat_template_kwargs["reasoning_effort"] = "\"" + job.prompt.think->level + "\"";
    }
    inputs.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
    inputs.add_bos = llama_vocab_get_add_bos(model_.vocab());
    inputs.add_eos = llama_vocab_get_add_eos(model_.vocab());
    const std::lock_guard lock(templates_->mutex);
    common_chat_params applied = common_chat_templates_apply(templates_->jinja.get(), inputs);
    rendered.text = std::move(applied.prompt);
    rendered.stops = std::move(applied.additional_stops);
    if (!job.prompt.tools_json.empty()) {
      rendered.grammar = std::move(applied.grammar);
      rendered.is_grammar_lazy = applied.grammar_lazy;
    }
    if (!job.prompt.tools_json.empty() || applied.supports_thinking) {
      auto syntax = std::make_shared<OutputSyntax>();
      syntax->parser = common_chat_parser_params(applied);
      syntax->parser.reasoning_format = inputs.reasoning_format;
      if (!applied.parser.empty()) syntax->parser.parser.load(applied.parser);
      syntax->triggers = std::move(applied.grammar_triggers);
      syntax->preserved = std::move(applied.preserved_tokens);
      syntax->generation_prompt = std::move(applied.generation_prompt);
      rendered.syntax = std::move(syntax);
    }
  } catch (const std::exception& error) {
    return Fail(Code::kInternal, std::string("the model's chat template failed: ") + error.what());
  }
  return rendered;
}

// Drops the oldest messages until the prompt fits; every system message and the last message stay.
Result<PromptBuilder::Rendered> PromptBuilder::RenderFitting(const GenerateJob& job, int n_ctx,
                                                             const StopToken& stop) const {
  const std::vector<ChatMessage>& all = job.prompt.messages;
  CORRAL_TRY(Rendered whole, RenderMessages(job, all));
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
    return RenderMessages(job, kept);
  };
  // Fits more the more is dropped: bisect for the first start that fits.
  std::size_t too_long = 0;
  std::size_t fits = all.size() - 1;  // the last message alone, whether it fits or not
  CORRAL_TRY(Rendered best, render_from(fits));
  while (fits - too_long > 1) {
    if (stop.StopRequested()) return Fail(stop.ToError());
    const std::size_t middle = too_long + (fits - too_long) / 2;
    CORRAL_TRY(Rendered candidate, render_from(middle));
    CORRAL_TRY(const bool candidate_fits, Fits(candidate.text, n_ctx));
    if (candidate_fits) {
      fits = middle;
      best = std::move(candidate);
    } else {
      too_long = middle;
    }
  }
  return best;
}

Result<PreparedPrompt> PromptBuilder::Build(const GenerateJob& job, int n_ctx,
                                            const StopToken& stop) const {
  PreparedPrompt prepared;
  Rendered rendered;
  if (job.prompt.kind == PromptSource::Kind::kRaw) {
    rendered.text = job.prompt.text;
  } else {
    CORRAL_TRY(rendered, RenderFitting(job, n_ctx, stop));
  }
  if (stop.StopRequested()) return Fail(stop.ToError());
  if (!job.format_json.empty()) {
    CORRAL_TRY(rendered.grammar, GrammarOf(job.format_json));
    rendered.is_grammar_lazy = false;
  }

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
