#include "templates/renderers.h"

#include <algorithm>
#include <vector>

namespace corral::templates {
namespace {

struct Row {
  std::string_view name, file;
};

constexpr std::string_view kQwen3 = "Qwen-Qwen3-0.6B.jinja";
constexpr std::string_view kQwen3Coder = "Qwen3-Coder.jinja";
constexpr std::string_view kQwen35 = "Qwen3.5-4B.jinja";
constexpr std::string_view kGptOss = "openai-gpt-oss-120b.jinja";
constexpr std::string_view kDeepSeek31 = "deepseek-ai-DeepSeek-V3.1.jinja";
constexpr std::string_view kGlm47 = "GLM-4.7-Flash.jinja";
constexpr std::string_view kGemma4 = "google-gemma-4-31B-it.jinja";
constexpr std::string_view kLfm2 = "LFM2-8B-A1B.jinja";
constexpr std::string_view kLaguna = "poolside-Laguna-XS.2.jinja";
constexpr std::string_view kGlimmer = "muse-glimmer.jinja";
constexpr std::string_view kNemotron3 = "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.jinja";
constexpr std::string_view kMinistral = "mistralai-Ministral-3-14B-Reasoning-2512.jinja";

// Prompts. Left out: sizes of gemma4 whose prompt differs, and families without a file
// (qwen3-vl-*, qwen3.8, ornith, cogito, olmo3*, nemotron-3.5-nano, functiongemma, glm-ocr,
// lfm2-thinking, poolside-v1, cohere).
constexpr Row kRenderers[] = {
    {"qwen3-coder", kQwen3Coder}, {"qwen3.5", kQwen35},      {"deepseek3.1", kDeepSeek31},
    {"glm-4.7", kGlm47},          {"gemma4-large", kGemma4}, {"lfm2", kLfm2},
    {"laguna", kLaguna},          {"glimmer", kGlimmer},     {"nemotron-3-nano", kNemotron3},
    {"harmony", kGptOss},  // a parser's name, but one with a single prompt format
};

// Answers: what the parser of a family reads is more often the same than what its prompt is.
constexpr Row kParsers[] = {
    {"qwen3", kQwen3},
    {"qwen3-thinking", kQwen3},
    {"qwen3-vl-instruct", kQwen3},
    {"qwen3-vl-thinking", kQwen3},
    {"qwen3-coder", kQwen3Coder},
    {"qwen3.5", kQwen35},
    {"harmony", kGptOss},
    {"deepseek3", kDeepSeek31},
    {"glm-4.7", kGlm47},
    {"gemma4", kGemma4},
    {"gemma4-no-thinking", kGemma4},
    {"lfm2", kLfm2},
    {"laguna", kLaguna},
    {"glimmer", kGlimmer},
    {"nemotron-3-nano", kNemotron3},
    {"ministral", kMinistral},
};

std::string_view Find(std::span<const Row> rows, std::string_view name) {
  const auto found =
      std::find_if(rows.begin(), rows.end(), [name](const Row& row) { return row.name == name; });
  return found == rows.end() ? std::string_view() : found->file;
}

}  // namespace

std::string_view RendererTemplate(std::string_view renderer) { return Find(kRenderers, renderer); }

std::string_view ParserTemplate(std::string_view parser) { return Find(kParsers, parser); }

std::span<const std::string_view> NamedTemplates() {
  static const std::vector<std::string_view> kFiles = [] {
    std::vector<std::string_view> all;
    for (const Row& row : kRenderers) all.push_back(row.file);
    for (const Row& row : kParsers) all.push_back(row.file);
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
  }();
  return kFiles;
}

}  // namespace corral::templates
