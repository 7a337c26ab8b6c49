// From a request's messages to tokens: render (Go template or the model's Jinja), tokenise, and
// make it fit.
//
// Thread-safe: many prepare threads may call Build at once (llama.cpp's Jinja runs under a lock).
// May take long on hostile templates; never called on the engine thread. Sources:
// docs/formats/templates.md; llama.cpp common/chat.h.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/job.h"
#include "core/result.h"
#include "core/stop.h"
#include "engine/llama/loaded_model.h"

namespace corral::engine {

// How the answer is split into text, thinking and tool calls; opaque outside output_parser.cc and
// prompt_builder.cc.
struct OutputSyntax;

struct PreparedPrompt {
  std::vector<Token> tokens;         // at least one
  std::string rendered;              // only if GenerateJob::render_only
  std::vector<std::string> stops;    // the request's, and what the template adds
  std::string grammar;               // GBNF; empty: free text
  bool is_grammar_lazy = false;      // starts at a trigger (tool calls), kept in `syntax`
  std::vector<Token> shown_control;  // control tokens (`<tool_call>`, `<think>`) that the output
                                     // parser wants to see
  std::shared_ptr<const OutputSyntax>
      syntax;  // null: all is text. Shared with the parser of the running job
};

class PromptBuilder {
 public:
  // `model` must outlive this. A chat template that does not parse is no error here: it is one for
  // each request that needs it.
  explicit PromptBuilder(const LoadedModel& model);
  ~PromptBuilder();

  bool has_chat_template() const;

  // `n_ctx`: most tokens of the sequence. Errors: kInvalidArgument (too long, bad schema, template
  // error; Ollama's texts), kInternal (template execution), kCancelled.
  Result<PreparedPrompt> Build(const GenerateJob& job, int n_ctx, const StopToken& stop) const;

 private:
  struct Templates;
  struct Rendered;
  Result<Rendered> RenderMessages(const GenerateJob& job,
                                  const std::vector<ChatMessage>& messages) const;
  Result<Rendered> RenderFitting(const GenerateJob& job, int n_ctx, const StopToken& stop) const;
  Result<std::vector<Token>> TokenizePrompt(std::string_view text) const;
  Result<bool> Fits(const std::string& text, int n_ctx) const;
  bool IsSurelyTooLong(std::string_view text, int n_ctx) const;
  std::vector<Token> CutPrompt(std::vector<Token> tokens, int n_ctx, int num_keep) const;
  Result<std::vector<Token>> TokenizeAndCut(std::string_view text, int n_ctx,
                                            const GenerateJob& job, const StopToken& stop) const;
  int TokensToKeep(int n_ctx, int num_keep) const;

  const LoadedModel& model_;
  std::unique_ptr<Templates> templates_;
};

}  // namespace corral::engine
