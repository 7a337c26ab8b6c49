#include "models/model.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "core/text.h"
#include "templates/renderers.h"

namespace corral::models {
namespace {

// What Ollama's parsers can read (model/parsers); its other names read neither tool calls nor
// thinking.
struct ParserAbility {
  std::string_view name;
  bool has_tools, has_thinking;
};
constexpr std::array kParserAbilities = {
    ParserAbility{"qwen3", true, false},
    ParserAbility{"qwen3-thinking", true, true},
    ParserAbility{"qwen3.5", true, true},
    ParserAbility{"ornith", true, true},
    ParserAbility{"qwen3-coder", true, false},
    ParserAbility{"qwen3-vl-instruct", true, false},
    ParserAbility{"qwen3-vl-thinking", true, true},
    ParserAbility{"ministral", true, false},
    ParserAbility{"harmony", true, true},
    ParserAbility{"cogito", true, true},
    ParserAbility{"deepseek3", true, true},
    ParserAbility{"glm-4.7", true, true},
    ParserAbility{"cohere", true, true},
    ParserAbility{"laguna", true, true},
    ParserAbility{"poolside-v1", true, true},
    ParserAbility{"glimmer", true, true},
    ParserAbility{"nemotron-3-nano", true, true},
    ParserAbility{"nemotron-3.5-nano", true, true},
    ParserAbility{"olmo3", true, false},
    ParserAbility{"olmo3-think", false, true},
    ParserAbility{"functiongemma", true, false},
    ParserAbility{"gemma4", true, true},
    ParserAbility{"gemma4-no-thinking", true, false},
    ParserAbility{"glm-ocr", true, false},
    ParserAbility{"lfm2", true, false},
    ParserAbility{"lfm2-thinking", false, true},
};

ParserAbility AbilityOf(std::string_view parser) {
  const auto* found =
      std::find_if(kParserAbilities.begin(), kParserAbilities.end(),
                   [parser](const ParserAbility& ability) { return ability.name == parser; });
  return found == kParserAbilities.end() ? ParserAbility{parser, false, false} : *found;
}

bool Contains(const std::vector<Capability>& list, Capability capability) {
  return std::find(list.begin(), list.end(), capability) != list.end();
}

bool IsGptOss(const ModelConfig& config) {
  return config.model_family == "gptoss" || config.model_family == "gpt-oss";
}

// Rendered by the Go template whatever the setting says.
bool IsHarmony(const Model& model) {
  return IsGptOss(model.config) && model.template_text->find("<|start|>") != std::string::npos &&
         model.template_text->find("<|end|>") != std::string::npos;
}

std::string_view JinjaOf(const Model& model) {
  return model.info ? model.info->ChatTemplate() : std::string_view();
}

// Ollama's server/images.go (shouldPreferChatTemplate).
bool PrefersJinja(const Model& model, std::string_view jinja) {
  if (jinja.empty()) return false;
  if (!model.parsed_template) return true;
  const std::vector<Capability> of_jinja = templates::JinjaCapabilities(jinja);
  const std::vector<Capability> of_go = model.parsed_template->Capabilities();
  const bool jinja_round_trips = templates::JinjaHasToolRoundTrip(jinja);
  const bool go_round_trips = model.parsed_template->HasToolRoundTrip();
  if (of_jinja.size() > of_go.size()) return !go_round_trips || jinja_round_trips;
  const bool is_same_set = of_jinja.size() == of_go.size() &&
                           std::all_of(of_jinja.begin(), of_jinja.end(),
                                       [&](Capability c) { return Contains(of_go, c); });
  return is_same_set && Contains(of_jinja, Capability::kTools) && jinja_round_trips &&
         !go_round_trips;
}

}  // namespace

bool Model::UsesGoTemplate(std::optional<bool> go_template_setting) const {
  if (!template_text) return false;
  const std::string_view jinja = JinjaOf(*this);
  // A renderer is Ollama's own code for the format that the GGUF's template describes, or else one
  // of ours does. TEMPLATE is for one that nobody knows.
  if (!config.renderer.empty())
    return jinja.empty() && templates::RendererTemplate(Renderer()).empty();
  if (!config.parser.empty() || IsHarmony(*this)) return true;
  if (go_template_setting) return *go_template_setting;
  return !PrefersJinja(*this, jinja);
}

// server/renderer_resolution.go: `gemma4` is one of two prompt formats, by the model's size.
std::string Model::Renderer() const {
  const std::string& named = config.renderer.empty() ? config.parser : config.renderer;
  if (named == "passthrough") return "";
  if (named != "gemma4") return named;
  const std::string text = ToLowerAscii(std::string(name.model()) + ":" + std::string(name.tag()));
  const bool is_large_by_name = text.find("12b") != std::string::npos ||
                                text.find("26b") != std::string::npos ||
                                text.find("31b") != std::string::npos;
  const std::string& billions = config.model_type;  // "25.2B"
  const bool is_large =
      is_large_by_name || (billions.ends_with('B') && std::strtod(billions.c_str(), nullptr) >= 12);
  return is_large ? "gemma4-large" : "gemma4-small";
}

std::vector<Capability> Model::Capabilities(std::optional<bool> go_template_setting) const {
  std::vector<Capability> found;
  const auto add_if = [&found](bool has_it, Capability capability) {
    if (has_it && !Contains(found, capability)) found.push_back(capability);
  };
  if (info) {
    add_if(true, info->IsEmbeddingModel() ? Capability::kEmbedding : Capability::kCompletion);
  }
  // Not by `<arch>.vision.block_count`, as Ollama has it too: a model that holds its own encoder
  // does not see here (gguf::CheckHoldsNoEncoder), and one without encoder does not see anywhere.
  add_if(!projectors.empty(), Capability::kVision);
  if (projector_info) {
    const gguf::KeyValue* has_audio = projector_info->Find("clip.has_audio_encoder");
    const bool* is_set = has_audio ? std::get_if<bool>(&has_audio->value) : nullptr;
    add_if(is_set && *is_set, Capability::kAudio);
  }
  const std::string_view jinja = JinjaOf(*this);
  std::vector<Capability> of_template;
  if (UsesGoTemplate(go_template_setting)) {
    if (parsed_template) of_template = parsed_template->Capabilities();
  } else if (!jinja.empty()) {
    of_template = templates::JinjaCapabilities(jinja);
  }
  // Behind a Go template only what we have a parser for is read; else by what renders the prompt.
  const bool is_parser_known =
      !templates::ParserTemplate(config.parser).empty() ||
      (!UsesGoTemplate(go_template_setting) && !templates::RendererTemplate(Renderer()).empty());
  const ParserAbility ability =
      is_parser_known ? AbilityOf(config.parser) : ParserAbility{config.parser, false, false};
  add_if(Contains(of_template, Capability::kTools) || ability.has_tools, Capability::kTools);
  // Fill in the middle always renders the Go template.
  add_if(
      go_template_setting.value_or(true) && parsed_template && parsed_template->Mentions("suffix"),
      Capability::kInsert);
  add_if(Contains(of_template, Capability::kThinking) || ability.has_thinking || IsGptOss(config),
         Capability::kThinking);
  // A stub has no file to ask; an image model says so here only.
  for (const Capability capability :
       {Capability::kCompletion, Capability::kEmbedding, Capability::kVision, Capability::kAudio,
        Capability::kTools, Capability::kInsert, Capability::kThinking, Capability::kImage}) {
    if (!gguf.empty() && capability != Capability::kImage) continue;
    const auto& named = config.capabilities;
    add_if(std::find(named.begin(), named.end(), CapabilityName(capability)) != named.end(),
           capability);
  }
  std::sort(found.begin(), found.end());
  return found;
}

bool Model::Has(Capability capability, std::optional<bool> go_template_setting) const {
  return Contains(Capabilities(go_template_setting), capability);
}

// Ollama's server/create.go (ggufLayers).
std::string_view GgufKind(const gguf::Info& info) {
  const std::string_view type = info.String("general.type").value_or("");
  if (type == "adapter") return "adapter";
  if (type == "projector" || type == "mmproj") return "projector";
  const std::string_view architecture = info.Architecture();
  const bool is_vision_only = !info.ArchUint("block_count") && info.ArchUint("vision.block_count");
  const auto has_encoder = [&info](const char* key) {
    const gguf::KeyValue* found = info.Find(key);
    const bool* flag = found ? std::get_if<bool>(&found->value) : nullptr;
    return flag && *flag;
  };
  const bool is_clip = architecture == "clip" && (has_encoder("clip.has_vision_encoder") ||
                                                  has_encoder("clip.has_audio_encoder"));
  return is_vision_only || is_clip ? "projector" : "model";
}

}  // namespace corral::models
