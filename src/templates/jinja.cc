// What a GGUF's Jinja text can do, judged by substrings as Ollama judges it (server/images.go), and
// which template wins.
#include <algorithm>
#include <initializer_list>

#include "templates/template.h"

namespace corral::templates {
namespace {

bool HasAny(std::string_view text, std::initializer_list<std::string_view> parts) {
  return std::any_of(parts.begin(), parts.end(), [&](std::string_view part) {
    return text.find(part) != std::string_view::npos;
  });
}

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool HasThinking(std::string_view jinja) {
  if (Has(jinja, "<think>") && Has(jinja, "</think>")) return true;
  return HasAny(jinja, {"content.split('</think>')", "content.split(\"</think>\")"}) &&
         !HasAny(jinja, {"reasoning_content", "<SPECIAL_12>"});
}

}  // namespace

std::vector<Capability> JinjaCapabilities(std::string_view jinja) {
  std::vector<Capability> capabilities;
  if (HasAny(jinja, {"tools", "tool_call"})) capabilities.push_back(Capability::kTools);
  if (HasThinking(jinja)) capabilities.push_back(Capability::kThinking);
  return capabilities;
}

bool JinjaHasToolRoundTrip(std::string_view jinja) {
  // "assistant_tool_call" holds for Hermes-like texts, where the calls are a role of their own.
  return HasAny(jinja, {"tools", "tool_call"}) &&
         HasAny(jinja, {"tool_calls", "assistant_tool_call"}) &&
         HasAny(jinja, {"tool_response", "tool_results", "role'] == 'tool'", "role'] == \"tool\"",
                        "role\"] == 'tool'", "role\"] == \"tool\"", "message.role == 'tool'",
                        "message.role == \"tool\"", "ipython"});
}

bool PrefersJinja(const Template& go_template, std::string_view jinja,
                  std::optional<bool> use_go_template) {
  if (jinja.empty()) return false;
  if (use_go_template) return !*use_go_template;
  auto theirs = JinjaCapabilities(jinja);
  auto ours = go_template.Capabilities();
  if (theirs.size() > ours.size())
    return !go_template.HasToolRoundTrip() || JinjaHasToolRoundTrip(jinja);
  std::sort(theirs.begin(), theirs.end());
  std::sort(ours.begin(), ours.end());
  const bool has_tools = std::find(ours.begin(), ours.end(), Capability::kTools) != ours.end();
  return theirs == ours && has_tools && JinjaHasToolRoundTrip(jinja) &&
         !go_template.HasToolRoundTrip();
}

}  // namespace corral::templates
