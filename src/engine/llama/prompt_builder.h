// From a request's messages to tokens: render (Go template or the model's Jinja), decode the images
// and sounds, tokenise, and make it fit.
//
// Thread-safe: many prepare threads may call Build at once. May take long (seconds, on a hostile
// template); never called on the engine thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/job.h"
#include "core/result.h"
#include "core/stop.h"
#include "engine/llama/chat_renderer.h"
#include "engine/llama/loaded_model.h"
#include "engine/llama/media_marker.h"
#include "engine/llama/projector.h"
#include "engine/media_memory.h"

namespace corral::engine {

struct PreparedPrompt {
  std::vector<Token> tokens;         // at least one; marks where media stand
  std::vector<MediaChunk> media;     // in the order of their places
  MediaMemory::Hold media_memory;    // theirs
  std::string rendered;              // only if GenerateJob::render_only
  std::vector<std::string> stops;    // the request's, and what the template adds
  std::string grammar;               // GBNF; empty: free text
  bool is_grammar_lazy = false;      // starts at a trigger (tool calls), kept in `syntax`
  std::vector<Token> shown_control;  // control tokens (`<tool_call>`, `<think>`) that the output
                                     // parser wants to see
  std::shared_ptr<const OutputSyntax>
      syntax;  // null: all is text. Shared with the parser of the running job

  // Cells of the first `n_positions`, which end beside a picture: those take more cells than
  // positions where they have two dimensions.
  std::size_t CellsOf(std::size_t n_positions) const;
};

// What a prompt may bring: bounds the memory and the time of preparing it.
struct MediaLimits {
  std::size_t n_media = 256;
  std::int64_t decoded_bytes = std::int64_t{768} << 20;
};

class PromptBuilder {
 public:
  // All must outlive this, `memory` also what this prepares. `projector` may be null: the model
  // neither sees nor hears.
  PromptBuilder(const LoadedModel& model, FormatProcesses& processes, Projector* projector,
                MediaMemory& memory, MediaLimits limits = {})
      : model_(model),
        processes_(processes),
        projector_(projector),
        memory_(memory),
        limits_(limits),
        renderer_(model, processes) {}

  bool has_chat_template() const { return renderer_.has_chat_template(); }

  // `n_ctx`: most tokens of the sequence. Errors: kInvalidArgument (too long, bad schema, bad
  // image, template error; Ollama's texts), kInternal (template execution), kBusy (media of other
  // prompts fill `memory`), kCancelled.
  Result<PreparedPrompt> Build(const GenerateJob& job, int n_ctx, const StopToken& stop) const;

 private:
  Result<RenderedPrompt> RenderFitting(const GenerateJob& job,
                                       const std::vector<ChatMessage>& messages, int n_ctx,
                                       const StopToken& stop) const;
  Result<MediaPrompt> ReadMedia(const GenerateJob& job, std::string_view text,
                                const StopToken& stop, MediaMemory::Hold* hold) const;
  Result<std::vector<Token>> ReadText(const GenerateJob& job, std::string_view text, int n_ctx,
                                      const StopToken& stop) const;
  std::string_view WithoutBos(std::string_view text) const;
  // `is_begin`: nothing comes before it.
  Result<std::vector<Token>> TokenizePrompt(std::string_view text, bool is_begin) const;
  Result<bool> Fits(const std::string& text, int n_ctx) const;
  bool IsSurelyTooLong(std::string_view text, int n_ctx) const;
  std::vector<Token> CutPrompt(std::vector<Token> tokens, int n_ctx, int num_keep) const;
  Result<std::vector<Token>> TokenizeHuge(std::string_view text, int n_ctx, const GenerateJob& job,
                                          const StopToken& stop) const;
  int TokensToKeep(int n_ctx, int num_keep) const;

  const LoadedModel& model_;
  FormatProcesses& processes_;
  Projector* const projector_;
  MediaMemory& memory_;
  const MediaLimits limits_;
  const ChatRenderer renderer_;
  const MediaMarker marker_;
};

}  // namespace corral::engine
