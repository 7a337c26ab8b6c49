// From a request's messages to tokens: render (Go template or the model's Jinja), tokenise, and make it fit.
//
// Thread-safe: many prepare threads may call Build at once (llama.cpp's Jinja runs under a lock). May take long on hostile
// templates; never called on the engine thread. Sources: docs/formats/templates.md; llama.cpp common/chat.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/job.h"
#include "core/result.h"
#include "core/stop.h"
#include "engine/llama/loaded_model.h"

namespace corral::engine {

// How the answer is split into text, thinking and tool calls; opaque outside output_parser.cc and prompt_builder.cc.
struct OutputSyntax;

struct PreparedPrompt {
  std::vector<Token> tokens;       // at least one
  std::string rendered;            // only if GenerateJob::render_only
  std::vector<std::string> stops;  // the request's, and what the template adds
  std::string grammar;             // GBNF; empty: free text
  bool is_grammar_lazy = false;    // starts at a trigger (tool calls), kept in `syntax`
  std::shared_ptr<const OutputSyntax> syntax;  // null: all is text. Shared with the parser of the running job
};

class PromptBuilder {
 public:
  // `model` must outlive this. A chat template that does not parse is no error here: it is one for each request that needs it.
  explicit PromptBuilder(const LoadedModel& model);
  ~PromptBuilder();

  bool has_chat_template() const;

  // `n_ctx`: most tokens of the sequence. Errors: kInvalidArgument (too long, bad schema, template error; Ollama's texts),
  // kInternal (template execution), kCancelled.
  Result<PreparedPrompt> Build(const GenerateJob& job, int n_ctx, const StopToken& stop) const;

 private:
  struct Templates;
  struct Rendered;
  Result<Rendered> RenderMessages(const GenerateJob& job, const std::vector<ChatMessage>& messages) const;
  Result<Rendered> RenderFitting(const GenerateJob& job, int n_ctx, const StopToken& stop) const;
  std::vector<Token> TokenizePrompt(const std::string& text) const;

  const LoadedModel& model_;
  std::unique_ptr<Templates> templates_;
};

// num_ctx - max((num_ctx - keep) / 2, 1): how many prompt tokens stay when a prompt is cut (http-api.md section 2.12).
int CutPromptLength(int n_ctx, int n_keep);

}  // namespace corral::engine
