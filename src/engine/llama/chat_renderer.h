// From a request's messages to the text of its prompt, and how the answer is to be read.
//
// A Go template (Modelfile TEMPLATE) is rendered here, in bounded steps. The model's own Jinja, or
// the one of the `renderer` that its config names, goes through FormatProcesses, and so do
// schemas. Thread-safe. Sources: docs/formats/templates.md; docs/architecture.md.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "core/job.h"
#include "core/result.h"
#include "core/stop.h"
#include "engine/llama/format_processes.h"
#include "engine/llama/loaded_model.h"
#include "templates/template.h"

namespace corral::engine {

struct OutputSyntax;

struct RenderedPrompt {
  std::string text;
  std::vector<std::string> stops;  // that the template adds
  std::string grammar;             // GBNF; empty: free text
  bool is_grammar_lazy = false;
  std::shared_ptr<const OutputSyntax> syntax;  // null: all is text
};

class ChatRenderer {
 public:
  // Both must outlive this. A chat template that does not parse is no error here: it is one for
  // each request that needs it.
  ChatRenderer(const LoadedModel& model, FormatProcesses& processes);

  // The GGUF has one that parses.
  bool has_chat_template() const { return has_chat_template_; }

  // The prompt of `messages` and all else of `job`. Errors: kInvalidArgument (schema, template,
  // tools), kInternal (a template fails or takes too long), kCancelled and the like.
  Result<RenderedPrompt> Render(const GenerateJob& job, const std::vector<ChatMessage>& messages,
                                const StopToken& stop) const;

 private:
  Result<RenderedPrompt> RenderGo(const GenerateJob& job, const std::vector<ChatMessage>& messages,
                                  const StopToken& stop) const;
  Result<RenderedPrompt> RenderJinja(const std::string& jinja, const GenerateJob& job,
                                     const std::vector<ChatMessage>& messages,
                                     const StopToken& stop) const;
  Result<templates::Template> ParsedGo(const std::string& text) const;
  // The grammar of the job's format, after thinking and beside calls as `marks` says.
  Status AddGrammar(const GenerateJob& job, FormatRequest marks, const StopToken& stop,
                    RenderedPrompt* rendered) const;

  // Whether grammars can be made of the parameters of the tools, in the time that a schema has.
  Status CheckTools(const std::string& tools_json, const StopToken& stop) const;

  const LoadedModel& model_;
  FormatProcesses& processes_;
  std::string jinja_;            // the GGUF's; empty: none
  std::string jinja_for_tools_;  // the GGUF's variant `tool_use`; empty: none
  std::string bos_, eos_;
  bool has_chat_template_ = false;
  std::string template_error_;  // why not

  mutable std::mutex mutex_;
  // Parsed Go templates by text: a model has one, a request may bring another.
  mutable std::map<std::string, templates::Template> go_;  // guarded by mutex_
  // Hashes of tools that passed CheckTools: a conversation brings the same ones again and again.
  mutable std::set<std::size_t> good_tools_;  // guarded by mutex_
};

}  // namespace corral::engine
