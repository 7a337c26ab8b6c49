#include "engine/llama/chat_renderer.h"

#include <algorithm>
#include <utility>

#include "core/text.h"
#include "engine/llama/chat_templates.h"
#include "engine/llama/output_syntax.h"
#include "engine/llama/schema_limits.h"
#include "engine/llama/tool_finder.h"

namespace corral::engine {
namespace {

constexpr FormatProcesses::Limits kTemplateLimits{std::chrono::milliseconds(5000),
                                                  std::int64_t{1} << 30};
constexpr FormatProcesses::Limits kSchemaLimits{std::chrono::milliseconds(800),
                                                std::int64_t{512} << 20};
constexpr std::size_t kMostGoTemplates = 16;
constexpr std::size_t kMostGoodTools = 64;

Error TemplateFailed(Error error) {
  if (error.code != Code::kInternal && error.code != Code::kTooLarge &&
      error.code != Code::kNoMemory)
    return error;
  return {Code::kInternal, "the model's chat template failed: " + error.message};
}

Error SchemaFailed(Error error, std::string_view where) {
  if (error.code != Code::kInternal && error.code != Code::kTooLarge &&
      error.code != Code::kNoMemory)
    return error;
  return {Code::kInvalidArgument,
          "failed to compile the JSON schema " + std::string(where) + ": " + error.message};
}

// A Go template may end the prompt with more than the Jinja whose parser reads the answer, the mark
// that opens the thinking for one. The parser reads on from there.
std::string GenerationPromptOf(const std::string& prompt, const std::string& of_jinja) {
  constexpr std::size_t kMostMore = 64;
  const std::size_t at = of_jinja.empty() ? std::string::npos : prompt.rfind(of_jinja);
  if (at == std::string::npos || prompt.size() - at > of_jinja.size() + kMostMore) return of_jinja;
  return prompt.substr(at);
}

bool IsThinking(const GenerateJob& job) { return job.prompt.think && job.prompt.think->is_on; }

// The words of the conversation, so that base models still answer (as Ollama's {{ .Prompt }}).
std::string JustTheWords(const std::vector<ChatMessage>& messages) {
  std::string text;
  for (const ChatMessage& message : messages) {
    if (!text.empty()) text += "\n\n";
    text += message.content;
  }
  return text;
}

}  // namespace

ChatRenderer::ChatRenderer(const LoadedModel& model, FormatProcesses& processes)
    : model_(model), processes_(processes) {
  const auto text_of = [&model](Token token) {
    return token >= 0 ? model.TokenText(token, true) : std::string();
  };
  bos_ = text_of(llama_vocab_bos(model.vocab()));
  eos_ = text_of(llama_vocab_eos(model.vocab()));
  const char* jinja = llama_model_chat_template(model.model(), nullptr);
  const char* for_tools = llama_model_chat_template(model.model(), "tool_use");
  if (jinja == nullptr || *jinja == '\0') {
    template_error_ = "the model has no chat template";
    return;
  }
  jinja_ = jinja;
  if (for_tools != nullptr) jinja_for_tools_ = for_tools;
  FormatRequest request;
  request.kind = FormatRequest::Kind::kTemplate;
  request.jinja = jinja_;
  request.bos = bos_;
  request.eos = eos_;
  const auto parsed = processes_.Run(request, kTemplateLimits, {});
  has_chat_template_ = parsed.has_value();
  if (!parsed)
    template_error_ = "the model's chat template does not parse: " + parsed.error().message;
}

Result<templates::Template> ChatRenderer::ParsedGo(const std::string& text) const {
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = go_.find(text); known != go_.end()) return known->second;
  }
  CORRAL_TRY(templates::Template parsed, templates::Template::Parse(text));
  const std::lock_guard lock(mutex_);
  if (go_.size() >= kMostGoTemplates) go_.clear();
  go_.emplace(text, parsed);
  return parsed;
}

Status ChatRenderer::AddGrammar(const GenerateJob& job, FormatRequest marks, const StopToken& stop,
                                RenderedPrompt* rendered) const {
  if (job.format_json.empty()) return {};
  CORRAL_TRY_STATUS(CheckSchema(job.format_json));
  marks.kind = FormatRequest::Kind::kSchema;
  marks.schema = NormalSchema(job.format_json);
  auto reply = processes_.Run(marks, kSchemaLimits, stop);
  if (!reply) return Fail(SchemaFailed(std::move(reply).error(), "in format"));
  rendered->grammar = std::move(reply->grammar);
  rendered->is_grammar_lazy = false;
  return {};
}

Status ChatRenderer::CheckTools(const std::string& tools_json, const StopToken& stop) const {
  if (tools_json.empty()) return {};
  const std::size_t hash = std::hash<std::string>()(tools_json);
  {
    const std::lock_guard lock(mutex_);
    if (good_tools_.contains(hash)) return {};
  }
  CORRAL_TRY_STATUS(engine::CheckTools(tools_json));
  FormatRequest request;
  request.kind = FormatRequest::Kind::kTools;
  request.tools_json = tools_json;
  auto reply = processes_.Run(request, kSchemaLimits, stop);
  if (!reply) return Fail(SchemaFailed(std::move(reply).error(), "of the tools"));
  const std::lock_guard lock(mutex_);
  if (good_tools_.size() >= kMostGoodTools) good_tools_.clear();
  good_tools_.insert(hash);
  return {};
}

Result<RenderedPrompt> ChatRenderer::RenderJinja(const std::string& jinja, const GenerateJob& job,
                                                 const std::vector<ChatMessage>& messages,
                                                 const StopToken& stop) const {
  RenderedPrompt rendered;
  // Alone first: a schema that cannot be compiled is told apart from a template that fails.
  CORRAL_TRY_STATUS(AddGrammar(job, {}, stop, &rendered));
  CORRAL_TRY_STATUS(CheckTools(job.prompt.tools_json, stop));
  FormatRequest request;
  request.jinja = jinja;
  request.bos = bos_;
  request.eos = eos_;
  request.messages = messages;
  for (ChatMessage& message : request.messages) message.images.clear();
  request.tools_json = job.prompt.tools_json;
  request.think = job.prompt.think;
  if (!job.format_json.empty()) request.schema = NormalSchema(job.format_json);
  auto reply = processes_.Run(request, kTemplateLimits, stop);
  if (!reply) return Fail(TemplateFailed(std::move(reply).error()));
  CORRAL_TRY(rendered.syntax, MakeSyntax(*reply));
  rendered.text = std::move(reply->prompt);
  rendered.stops = std::move(reply->stops);
  rendered.grammar = std::move(reply->grammar);
  rendered.is_grammar_lazy = reply->is_grammar_lazy;
  return rendered;
}

Result<RenderedPrompt> ChatRenderer::RenderGo(const GenerateJob& job,
                                              const std::vector<ChatMessage>& messages,
                                              const StopToken& stop) const {
  CORRAL_TRY(const templates::Template parsed, ParsedGo(job.prompt.go_template));
  templates::RenderInput input;
  input.messages = messages;
  input.tools_json = job.prompt.tools_json;
  input.think = job.prompt.think;
  const bool is_insert = job.prompt.kind == PromptSource::Kind::kInsert;
  if (is_insert) {
    input.prompt = job.prompt.text;
    input.suffix = job.prompt.suffix;
  }
  RenderedPrompt rendered;
  CORRAL_TRY(rendered.text, parsed.Render(input));

  const std::string_view of_parser = JinjaOfParser(job.prompt.parser);
  if (!is_insert && !of_parser.empty()) {
    // Only for what reads the answer, which the messages have no part in.
    ChatMessage question;
    question.role = "user";
    question.content = "Hello";
    CORRAL_TRY(RenderedPrompt like, RenderJinja(std::string(of_parser), job, {question}, stop));
    auto syntax = std::make_shared<OutputSyntax>(*like.syntax);
    const std::string begin = GenerationPromptOf(rendered.text, syntax->generation_prompt);
    syntax->generation_prompt = begin;
    if (syntax->parser) syntax->parser->generation_prompt = begin;
    if (syntax->answer_parser) syntax->answer_parser->generation_prompt = begin;
    like.syntax = std::move(syntax);
    like.text = std::move(rendered.text);
    return like;
  }

  FormatRequest marks;
  if (!is_insert && IsThinking(job)) {
    const templates::Template::ThinkTags tags = parsed.thinking_tags();
    marks.think_open = tags.open;
    marks.think_close = tags.close;
    marks.is_thinking = !tags.open.empty() && TrimSpace(rendered.text).ends_with(tags.open);
  }
  if (job.is_chat && !job.prompt.tools_json.empty() && job.prompt.parser != "passthrough") {
    marks.tool_mark = parsed.tool_call_tag();
    marks.tools_json = job.prompt.tools_json;
  }
  if (!marks.think_open.empty() || !marks.tool_mark.empty()) {
    auto syntax = std::make_shared<OutputSyntax>();
    syntax->think_open = marks.think_open;
    syntax->think_close = marks.think_close;
    syntax->is_thinking = marks.is_thinking;
    syntax->tool_mark = marks.tool_mark;
    syntax->tool_names = ToolNames(marks.tools_json);
    for (const std::string& mark : {marks.think_open, marks.think_close, marks.tool_mark}) {
      if (!mark.empty()) syntax->preserved.push_back(mark);
    }
    rendered.syntax = std::move(syntax);
  }
  CORRAL_TRY_STATUS(AddGrammar(job, std::move(marks), stop, &rendered));
  return rendered;
}

Result<RenderedPrompt> ChatRenderer::Render(const GenerateJob& job,
                                            const std::vector<ChatMessage>& messages,
                                            const StopToken& stop) const {
  const PromptSource& prompt = job.prompt;
  RenderedPrompt rendered;
  if (prompt.kind == PromptSource::Kind::kRaw) {
    rendered.text = prompt.text;
  } else if (!prompt.go_template.empty()) {
    return RenderGo(job, messages, stop);
  } else if (has_chat_template_) {
    const bool is_for_tools = !prompt.tools_json.empty() && !jinja_for_tools_.empty();
    return RenderJinja(is_for_tools ? jinja_for_tools_ : jinja_, job, messages, stop);
  } else if (!jinja_.empty()) {
    return Fail(Code::kInternal, template_error_);
  } else if (const std::string_view named = JinjaOfRenderer(prompt.renderer); !named.empty()) {
    return RenderJinja(std::string(named), job, messages, stop);
  } else if (!prompt.renderer.empty()) {
    return Fail(Code::kInternal, "unknown renderer " + GoQuote(prompt.renderer));
  } else {
    rendered.text = JustTheWords(messages);
  }
  CORRAL_TRY_STATUS(AddGrammar(job, {}, stop, &rendered));
  return rendered;
}

}  // namespace corral::engine
