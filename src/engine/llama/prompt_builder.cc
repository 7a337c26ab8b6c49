#include "engine/llama/prompt_builder.h"

#include <chat.h>
#include <json-schema-to-grammar.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "engine/llama/output_syntax.h"
#include "templates/template.h"

namespace corral::engine {
namespace {

constexpr std::size_t kMaxSchemaBytes = 64 * 1024;

Error TooLong(std::size_t n_tokens, int n_ctx) {
  return {Code::kInvalidArgument, "request (" + std::to_string(n_tokens) + " tokens) exceeds the available context size (" +
                                      std::to_string(n_ctx) + " tokens), try increasing it"};
}

Error NoRoomWithoutShift() {
  return {Code::kInvalidArgument,
          "the prompt is longer than the context length currently available to the model; shorten the prompt, adjust the "
          "context length in settings, or use a model with a longer context length"};
}

// GBNF for `format`; empty for free text.
Result<std::string> GrammarOf(const std::string& format_json) {
  if (format_json.empty()) return std::string();
  if (format_json.size() > kMaxSchemaBytes) {
    return Fail(Code::kInvalidArgument, "the JSON schema in format is larger than 64 KiB");
  }
  try {
    const std::string schema = format_json == "\"json\"" ? R"({"type":"object"})" : format_json;
    return json_schema_to_grammar(common_json::parse(schema));
  } catch (const std::exception& error) {
    return Fail(Code::kInvalidArgument, std::string("failed to compile the JSON schema in format: ") + error.what());
  }
}

common_chat_msg ToCommon(const ChatMessage& message) {
  common_chat_msg out;
  out.role = message.role;
  out.content = message.content;
  out.reasoning_content = message.thinking;
  out.tool_name = message.tool_name;
  out.tool_call_id = message.tool_call_id;
  for (const ToolCall& call : message.tool_calls) out.tool_calls.push_back({call.name, call.arguments_json, call.id});
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

PromptBuilder::PromptBuilder(const LoadedModel& model) : model_(model), templates_(std::make_unique<Templates>()) {
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

int CutPromptLength(int n_ctx, int n_keep) {
  if (n_ctx <= 1) return std::max(n_ctx, 0);
  const int keep = std::clamp(n_keep, 0, n_ctx - 1);
  return n_ctx - std::max((n_ctx - keep) / 2, 1);
}

std::vector<Token> PromptBuilder::TokenizePrompt(const std::string& text) const {
  std::string_view rest = text;
  const Token bos = llama_vocab_bos(model_.vocab());
  if (llama_vocab_get_add_bos(model_.vocab()) && bos >= 0) {
    // A template that writes the BOS itself: the tokenizer adds it already.
    const std::string bos_text = model_.TokenText(bos, true);
    if (!bos_text.empty() && rest.starts_with(bos_text)) rest.remove_prefix(bos_text.size());
  }
  return model_.Tokenize(rest, true, true);
}

Result<PromptBuilder::Rendered> PromptBuilder::RenderMessages(const GenerateJob& job,
                                                              const std::vector<ChatMessage>& messages) const {
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
      if (const auto known = templates_->go.find(job.prompt.go_template); known != templates_->go.end()) {
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
    // No template anywhere: the words of the conversation, so that base models still answer (as Ollama's {{ .Prompt }}).
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
  if (!job.truncate || !job.is_chat || job.prompt.kind != PromptSource::Kind::kMessages || all.size() < 2) return whole;
  // A token is at least one byte: short prompts need no count.
  if (whole.text.size() + 1 < static_cast<std::size_t>(n_ctx) ||
      TokenizePrompt(whole.text).size() <= static_cast<std::size_t>(n_ctx - 1)) {
    return whole;
  }
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
    if (TokenizePrompt(candidate.text).size() <= static_cast<std::size_t>(n_ctx - 1)) {
      fits = middle;
      best = std::move(candidate);
    } else {
      too_long = middle;
    }
  }
  return best;
}

Result<PreparedPrompt> PromptBuilder::Build(const GenerateJob& job, int n_ctx, const StopToken& stop) const {
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
    prepared.tokens = TokenizePrompt(rendered.text);
  } else {
    for (const Token token : job.prompt.context) {
      if (token < 0 || token >= model_.n_vocab()) {
        return Fail(Code::kInvalidArgument, "context holds " + std::to_string(token) + ", which is no token of the model");
      }
    }
    prepared.tokens = job.prompt.context;
    const std::vector<Token> rest = model_.Tokenize(rendered.text, false, true);
    prepared.tokens.insert(prepared.tokens.end(), rest.begin(), rest.end());
  }
  if (prepared.tokens.empty()) {
    // An empty prompt still needs one position to predict from.
    const Token bos = llama_vocab_bos(model_.vocab());
    prepared.tokens.push_back(bos >= 0 ? bos : std::max(llama_vocab_eos(model_.vocab()), 0));
  }

  if (prepared.tokens.size() > static_cast<std::size_t>(n_ctx - 1)) {
    const bool is_native_chat =
        job.is_chat && job.prompt.kind == PromptSource::Kind::kMessages && job.prompt.go_template.empty();
    if (!job.truncate || is_native_chat) return Fail(TooLong(prepared.tokens.size(), n_ctx));
    if (!job.shift) return Fail(NoRoomWithoutShift());
    const int keep = std::clamp(job.sampling.num_keep < 0 ? n_ctx : job.sampling.num_keep +
                                    (llama_vocab_get_add_bos(model_.vocab()) ? 1 : 0), 0, n_ctx - 1);
    const auto length = static_cast<std::ptrdiff_t>(std::max(CutPromptLength(n_ctx, keep), 1));
    const auto n_all = static_cast<std::ptrdiff_t>(prepared.tokens.size());
    const std::ptrdiff_t head = std::min<std::ptrdiff_t>(keep, length - 1);
    prepared.tokens.erase(prepared.tokens.begin() + head, prepared.tokens.begin() + (n_all - (length - head)));
  }

  if (job.render_only) prepared.rendered = rendered.text;
  prepared.stops = job.sampling.stop;
  prepared.stops.insert(prepared.stops.end(), rendered.stops.begin(), rendered.stops.end());
  prepared.grammar = std::move(rendered.grammar);
  prepared.is_grammar_lazy = rendered.is_grammar_lazy;
  prepared.syntax = std::move(rendered.syntax);
  return prepared;
}

}  // namespace corral::engine
