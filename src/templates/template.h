// Go text/template, the part that Modelfile TEMPLATEs use, with Ollama's data, functions and prompt
// rules.
//
// Sources: Go's text/template documentation; docs/formats/templates.md. Errors carry Go's own
// texts. Thread-safe once parsed (Template is immutable). No I/O. Bounded: a template of more than
// 1 MiB or with more than 200 blocks or parentheses inside each other is refused, and a rendering
// ends in kTooLarge after 10 million steps, 450 levels of nesting or 128 MiB of text. It needs less
// than 2 MiB of stack.
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

  // The prompt for the next assistant turn: mode (insert, messages, legacy), collation and the cut
  // at .Response as Ollama. Errors: kInternal with Go's text (`template: :1:24: executing "" at
  // <.Bogus>: ...`), kInvalidArgument (tools_json or the arguments of a tool call are no JSON),
  // kTooLarge (steps, nesting or output).
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
  // Renders tool calls and their results back: decides whether this template or the GGUF's own is
  // used.
  bool HasToolRoundTrip() const;

  const std::string& text() const;

 private:
  Template() = default;

  struct Parsed;
  // Shared and immutable: copies of a Template are cheap and may live on several threads.
  std::shared_ptr<const Parsed> parsed_;
};

// The same questions asked of a GGUF's Jinja text (by substring, as Ollama asks them).
std::vector<Capability> JinjaCapabilities(std::string_view jinja);
bool JinjaHasToolRoundTrip(std::string_view jinja);

// Whether the GGUF's own Jinja renders chats although the model has a Go template
// (server/images.go, shouldPreferChatTemplate). `use_go_template` is OLLAMA_GO_TEMPLATE if it is
// set; else the Jinja wins if it offers more, or the same with a tool round trip that the Go
// template lacks. Only for models without renderer and parser.
bool PrefersJinja(const Template& go_template, std::string_view jinja,
                  std::optional<bool> use_go_template);

// One of the 20 bundled templates, for auto-detection at create.
struct Bundled {
  std::string_view name;
  std::string_view text;
  std::vector<std::string_view> stop;  // stop parameters that go with it
  // The end-of-sequence text that `text` spells out where the Jinja says eos_token; empty if none.
  // If the GGUF's own EOS token reads otherwise, the Jinja is the better template.
  std::string_view eos;
};
// The bundled template that says what this Jinja text says, if there is exactly one and the Jinja
// offers nothing beyond it: no tools, no thinking, no marks of another family, no system prompt of
// its own longer than a sentence.
const Bundled* DetectBundled(std::string_view jinja);
const std::vector<Bundled>& AllBundled();

}  // namespace corral::templates
