// Go text/template, the part that Modelfile TEMPLATEs use, with Ollama's data, functions and prompt rules.
//
// Sources: Go's text/template documentation; docs/formats/templates.md. Errors carry Go's own texts.
// Thread-safe once parsed (Template is immutable). No I/O. Bounded: nesting, steps and output have limits, so that a hostile
// template ends in kInvalidArgument instead of hanging.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/job.h"
#include "core/result.h"

namespace corral::templates {

struct RenderInput {
  std::vector<ChatMessage> messages;  // images are already placed as tags in the content
  std::string tools_json;             // array, or empty
  std::optional<Think> think;
  // Insert mode when both are set (fill in the middle).
  std::string prompt;
  std::string suffix;
};

class Template {
 public:
  // Errors: kInvalidArgument with Go's text, e.g. `template: :1: function "Prompt" not defined`.
  static Result<Template> Parse(std::string_view text);

  // The prompt for the next assistant turn: mode (insert, messages, legacy), collation and the cut at .Response as Ollama.
  // Errors: kInternal with Go's text (`template: :1:24: executing "" at <.Bogus>: ...`), kTooLarge (output or steps).
  Result<std::string> Render(const RenderInput& input) const;

  // Variables mentioned anywhere, lower case, sorted ("messages", "suffix", ...).
  const std::vector<std::string>& Variables() const;
  bool Mentions(std::string_view lower_case_variable) const;

  // Tags around `.Thinking` inside a range over .Messages; both empty if there are none.
  struct ThinkTags {
    std::string open, close;
  };
  ThinkTags thinking_tags() const;
  // What precedes a tool call in the output; "{" if the template does not say.
  std::string tool_call_tag() const;
  // tools, insert, thinking as the template gives them.
  std::vector<Capability> Capabilities() const;
  // Renders tool calls and their results back: decides whether this template or the GGUF's own is used.
  bool HasToolRoundTrip() const;

  const std::string& text() const;

 private:
  struct Parsed;
  // Shared and immutable: copies of a Template are cheap and may live on several threads.
  std::shared_ptr<const Parsed> parsed_;
};

// The same questions asked of a GGUF's Jinja text (by substring, as Ollama asks them).
std::vector<Capability> JinjaCapabilities(std::string_view jinja);
bool JinjaHasToolRoundTrip(std::string_view jinja);

// One of the 20 bundled templates, by name; empty if unknown. For auto-detection at create.
struct Bundled {
  std::string_view name;
  std::string_view text;
  std::vector<std::string_view> stop;
};
// The bundled template whose known Jinja text this is, if any.
const Bundled* DetectBundled(std::string_view jinja);
const std::vector<Bundled>& AllBundled();

}  // namespace corral::templates
