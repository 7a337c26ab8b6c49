#include "api/native/jobs.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/text.h"
#include "templates/renderers.h"

namespace corral::api {
namespace {

// What Ollama renders with when a model has no template at all.
constexpr std::string_view kBareTemplate = "{{ .Prompt }}";

Failure EmptyName(Asker asker) {
  switch (asker) {
    case Asker::kGenerate:
    case Asker::kEmbed:
      return {404, "model '' not found"};
    case Asker::kChat:
    case Asker::kEmbeddings:
    case Asker::kShow:
      break;
  }
  return {400, "model is required"};
}

Failure CloudRefusal(Asker asker) {
  return {403, asker == Asker::kShow
                   ? "ollama cloud is disabled: remote model details are unavailable"
                   : "ollama cloud is disabled: remote model is unavailable"};
}

bool IsGptOss(const models::Model& model) {
  return model.config.model_family == "gptoss" || model.config.model_family == "gpt-oss";
}

Answer<void> CheckThinking(const GenerationParts& request, const models::Model& model,
                           GoTemplateSetting setting) {
  if (!request.think || !request.think->is_on) return {};
  if (model.Has(Capability::kThinking, setting)) return {};
  std::string text = GoQuote(request.model) + " does not support thinking";
  if (model.config.model_family == "qwen3" || model.name.model() == "deepseek-r1") {
    text += ". Pull the model again to get the latest version with full thinking support";
  }
  return Refuse(400, std::move(text));
}

Answer<void> CheckCompletion(const GenerationParts& request, std::string_view verb,
                             const models::Model& model, GoTemplateSetting setting) {
  if (model.Has(Capability::kCompletion, setting)) return {};
  return Refuse(400, GoQuote(request.model) + " does not support " + std::string(verb));
}

// A model that can think does, unless told otherwise; one that cannot is not asked.
std::optional<Think> EffectiveThink(const GenerationParts& request, const models::Model& model,
                                    GoTemplateSetting setting) {
  std::optional<Think> think = request.think;
  if (!think && model.Has(Capability::kThinking, setting))
    think = Think{.is_on = true, .level = ""};
  if (think && think->level == "max" && IsGptOss(model)) think->level = "high";
  return think;
}

bool HasChatTemplate(const models::Model& model) {
  return model.info && !model.info->ChatTemplate().empty();
}

// How the answer to the prompt of a Go template is written; empty: as the template shows.
std::string ParserOf(const models::Model& model, std::string_view go_template) {
  if (!model.config.parser.empty()) return model.config.parser;
  const bool is_harmony = IsGptOss(model) && go_template.find("<|start|>") != go_template.npos &&
                          go_template.find("<|end|>") != go_template.npos;
  return is_harmony ? "harmony" : "";
}

// The template that renders messages; empty for the one inside the GGUF, or behind a name.
std::string GoTemplateOf(const models::Model& model, GoTemplateSetting setting) {
  if (model.template_text && model.UsesGoTemplate(setting)) return *model.template_text;
  if (HasChatTemplate(model)) return "";
  if (!model.config.renderer.empty() && !templates::RendererTemplate(model.Renderer()).empty())
    return "";
  if (model.template_text) return *model.template_text;
  return model.Renderer().empty() ? std::string(kBareTemplate) : std::string();
}

// A model that brings no template, and names what to render with, must name what we know.
Answer<void> CheckRenderer(const models::Model& model, GoTemplateSetting setting) {
  if (!GoTemplateOf(model, setting).empty() || HasChatTemplate(model)) return {};
  const std::string renderer = model.Renderer();
  if (!templates::RendererTemplate(renderer).empty()) return {};
  return Refuse(500, "unknown renderer " + GoQuote(renderer) +
                         ": the model brings no chat template, and none is known by this name; "
                         "create it again with a TEMPLATE");
}

void SetTemplate(const models::Model& model, std::string go_template, PromptSource* source) {
  source->parser = ParserOf(model, go_template);
  source->renderer = model.Renderer();
  source->go_template = std::move(go_template);
}

ChatMessage TextMessage(std::string_view role, std::string_view content) {
  ChatMessage message;
  message.role = role;
  message.content = content;
  return message;
}

void AppendStored(const models::Model& model, std::vector<ChatMessage>* out) {
  for (const models::StoredMessage& message : model.messages) {
    out->push_back(TextMessage(ToLowerAscii(message.role), message.content));
  }
}

// Old reasoning at the start of answers before the last question is dropped, for the two models
// whose templates keep it in the text (server/routes.go, filterThinkTags).
void DropOldThinking(const models::Model& model, std::vector<ChatMessage>* messages) {
  if (model.config.model_family != "qwen3" && model.name.model() != "deepseek-r1") return;
  static constexpr std::string_view kOpen = "<think>";
  static constexpr std::string_view kClose = "</think>";
  const auto last_user =
      std::find_if(messages->rbegin(), messages->rend(),
                   [](const ChatMessage& message) { return message.role == "user"; });
  for (auto message = messages->begin(); message != last_user.base() && message != messages->end();
       ++message) {
    if (message->role != "assistant") continue;
    const std::string_view text = TrimSpace(message->content);
    if (!text.starts_with(kOpen)) continue;
    const auto close = text.find(kClose);
    if (close == std::string_view::npos) continue;
    message->content = std::string(TrimSpace(text.substr(close + kClose.size())));
  }
}

}  // namespace

Answer<CheckedName> CheckName(Asker asker, std::string_view as_sent) {
  if (TrimSpace(as_sent).empty()) return Refuse(EmptyName(asker));
  const auto reference = models::ParseReference(as_sent);
  if (!reference) return Refuse(Failure(reference.error()));
  if (reference->base.empty()) return Refuse(EmptyName(asker));
  auto name = models::ModelName::Parse(reference->base);
  if (!name) return Refuse(400, "invalid model name");
  if (reference->source == models::ModelReference::Source::kCloud)
    return Refuse(CloudRefusal(asker));
  return CheckedName{*std::move(name), reference->source == models::ModelReference::Source::kLocal};
}

Failure ModelNotFound(Asker asker, std::string_view as_sent, const models::ModelName& name) {
  switch (asker) {
    case Asker::kEmbed:
    case Asker::kEmbeddings:
      return {404, "model " + GoQuote(as_sent) + " not found, try pulling it first"};
    case Asker::kShow:
      return {404, "model '" + name.Short() + "' not found"};
    case Asker::kGenerate:
    case Asker::kChat:
      break;
  }
  return {404, "model '" + std::string(as_sent) + "' not found"};
}

Answer<void> CheckIsLocal(Asker asker, std::string_view as_sent, const CheckedName& name,
                          const models::Model& model) {
  if (model.config.remote_host.empty()) return {};
  if (name.is_local_only) return Refuse(ModelNotFound(asker, as_sent, name.name));
  return Refuse(CloudRefusal(asker));
}

Answer<void> CheckTopLogprobs(std::int64_t top_logprobs) {
  if (top_logprobs >= 0 && top_logprobs <= 20) return {};
  return Refuse(400, "top_logprobs must be between 0 and 20");
}

Answer<void> CheckGenerate(const GenerateRequest& request, const models::Model& model,
                           GoTemplateSetting setting) {
  if (model.Has(Capability::kImage, setting)) {
    return Refuse(400, "image generation models are not currently supported");
  }
  const bool has_context = request.context && !request.context->empty();
  if (request.is_raw &&
      (!request.template_text.empty() || !request.system.empty() || has_context)) {
    return Refuse(400, "raw mode does not support template, system, or context");
  }
  if (auto checked = CheckThinking(request, model, setting); !checked) return checked;
  if (auto checked = CheckCompletion(request, "generate", model, setting); !checked) return checked;
  if (!request.is_raw && request.suffix.empty() && request.template_text.empty()) {
    if (auto checked = CheckRenderer(model, setting); !checked) return checked;
  }
  if (!request.suffix.empty() && !model.Has(Capability::kInsert, setting)) {
    return Refuse(400, model.name.Full() + " does not support insert");
  }
  return {};
}

Answer<void> CheckChat(const ChatRequest& request, const models::Model& model,
                       GoTemplateSetting setting) {
  if (auto checked = CheckCompletion(request, "chat", model, setting); !checked) return checked;
  if (auto checked = CheckThinking(request, model, setting); !checked) return checked;
  if (!request.tools_json.empty() && !model.Has(Capability::kTools, setting)) {
    return Refuse(400, model.name.Full() + " does not support tools");
  }
  return CheckRenderer(model, setting);
}

Answer<void> CheckContent(const GenerationParts& request, std::size_t n_images,
                          const models::Model& model, GoTemplateSetting setting) {
  const std::string& format = request.format_json;
  if (!format.empty() && format != "\"json\"" && format[0] != '{') {
    return Refuse(400, "invalid format: " + GoQuote(format) +
                           R"(; expected "json" or a valid JSON Schema object)");
  }
  if (n_images > 0 && !model.Has(Capability::kVision, setting) &&
      !model.Has(Capability::kAudio, setting)) {
    return Refuse(500,
                  "image input is not supported - hint: if this is unexpected, you may need to "
                  "provide the mmproj");
  }
  return {};
}

scheduler::ModelRequest ToModelRequest(std::shared_ptr<const models::Model> model,
                                       const ResolvedOptions& options,
                                       std::optional<std::chrono::nanoseconds> keep_alive,
                                       GoTemplateSetting setting) {
  scheduler::ModelRequest request;
  request.name = model->name.Short();
  request.digest = model->manifest.digest;
  request.model = model->gguf;
  request.projectors = model->projectors;
  for (const models::Layer& layer : model->manifest.layers) {
    const std::string_view kind = layer.Kind();
    if (kind == "model" || kind == "projector" || kind == "adapter")
      request.file_bytes += layer.size;
  }
  if (model->info) {
    const std::uint64_t trained = model->info->ArchUint("context_length").value_or(0);
    request.n_ctx_train = static_cast<int>(std::min<std::uint64_t>(trained, INT32_MAX));
  }
  request.is_embedding = model->Has(Capability::kEmbedding, setting);
  if (options.num_ctx) {
    request.num_ctx = BoundedContext(*options.num_ctx, request.n_ctx_train,
                                     model->Has(Capability::kVision, setting));
  }
  request.num_batch = options.num_batch;
  request.num_gpu = options.num_gpu;
  request.main_gpu = options.main_gpu;
  request.num_thread = options.num_thread;
  request.use_mmap = options.use_mmap;
  request.flash_attention = options.flash_attention;
  request.kv_cache_type = options.kv_cache_type;
  request.keep_alive = keep_alive;
  request.details = std::move(model);
  return request;
}

PromptSource GeneratePrompt(GenerateRequest& request, const models::Model& model,
                            GoTemplateSetting setting) {
  PromptSource source;
  source.think = EffectiveThink(request, model, setting);
  if (request.is_raw && request.images.empty()) {
    source.kind = PromptSource::Kind::kRaw;
    source.text = std::move(request.prompt);
    return source;
  }
  if (request.context) source.context = *request.context;
  if (!request.suffix.empty()) {
    source.kind = PromptSource::Kind::kInsert;
    source.text = std::move(request.prompt);
    source.suffix = std::move(request.suffix);
    source.go_template = request.template_text.empty()
                             ? model.template_text.value_or(std::string(kBareTemplate))
                             : std::move(request.template_text);
    return source;
  }
  source.kind = PromptSource::Kind::kMessages;
  if (request.is_raw) {
    // Raw with pictures: the bare prompt, but with places for them.
    source.go_template = kBareTemplate;
  } else {
    SetTemplate(model,
                request.template_text.empty() ? GoTemplateOf(model, setting)
                                              : std::move(request.template_text),
                &source);
    const std::string& system = request.system.empty() ? model.system : request.system;
    if (!system.empty()) source.messages.push_back(TextMessage("system", system));
    if (!request.context) AppendStored(model, &source.messages);
  }
  ChatMessage question = TextMessage("user", request.prompt);
  question.images = std::move(request.images);
  source.messages.push_back(std::move(question));
  return source;
}

PromptSource ChatPrompt(ChatRequest& request, const models::Model& model,
                        GoTemplateSetting setting) {
  PromptSource source;
  source.kind = PromptSource::Kind::kMessages;
  source.think = EffectiveThink(request, model, setting);
  SetTemplate(model, GoTemplateOf(model, setting), &source);
  source.tools_json = std::move(request.tools_json);
  const bool has_system = !request.messages.empty() && request.messages.front().role == "system";
  if (!has_system && !model.system.empty())
    source.messages.push_back(TextMessage("system", model.system));
  AppendStored(model, &source.messages);
  std::move(request.messages.begin(), request.messages.end(), std::back_inserter(source.messages));
  DropOldThinking(model, &source.messages);
  return source;
}

GenerateJob MakeJob(const GenerationParts& request, const models::Model& model,
                    const ResolvedOptions& options, int num_ctx) {
  GenerateJob job;
  job.sampling = options.sampling;
  job.sampling.num_predict = BoundedPredict(options.sampling.num_predict, num_ctx);
  job.format_json = request.format_json;
  job.num_ctx = num_ctx;
  job.truncate = request.truncate;
  // Its keys cannot be moved to other positions.
  job.shift = request.shift.value_or(model.config.model_family != "deepseek2");
  job.logprobs = request.logprobs;
  job.top_logprobs = static_cast<int>(request.top_logprobs);
  job.render_only = request.render_only;
  return job;
}

Answer<void> FinishVectors(std::int64_t dimensions, std::vector<std::vector<float>>* vectors) {
  for (std::vector<float>& vector : *vectors) {
    if (std::any_of(vector.begin(), vector.end(),
                    [](float value) { return !std::isfinite(value); })) {
      return Refuse(400, "embedding contains NaN or Inf values");
    }
    if (dimensions <= 0 || static_cast<std::uint64_t>(dimensions) >= vector.size()) continue;
    vector.resize(static_cast<std::size_t>(dimensions));
    double squares = 0;
    for (const float value : vector)
      squares += static_cast<double>(value) * static_cast<double>(value);
    if (squares == 0) continue;
    const double scale = 1 / std::sqrt(squares);
    for (float& value : vector) value = static_cast<float>(static_cast<double>(value) * scale);
  }
  return {};
}

}  // namespace corral::api
