// The native answers as JSON text, fields in the order of Ollama's structs (api/types.go). Lines
// carry no line feed. Pure functions. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/job.h"
#include "core/timestamp.h"
#include "models/store.h"
#include "scheduler/scheduler.h"

namespace corral::api {

// What the last record of an answer adds.
struct RecordEnd {
  std::string_view done_reason;
  std::chrono::nanoseconds total_time{
      0};  // head of the request received to now; 0 with the others: load and unload answers
  std::chrono::nanoseconds load_time{0};  // head received to the model ready
  const Finish* finish = nullptr;         // counts, times, context
};

// A record of /api/generate and of /api/chat. `end` is null for all but the last.
std::string GenerateRecord(std::string_view model, Timestamp now, const Piece& piece,
                           const RecordEnd* end);
std::string ChatRecord(std::string_view model, Timestamp now, const Piece& piece,
                       const RecordEnd* end);

// Answers to _debug_render_only.
std::string GenerateDebugRecord(std::string_view model, Timestamp now, std::string_view rendered,
                                int n_images);
std::string ChatDebugRecord(std::string_view model, Timestamp now, std::string_view rendered,
                            int n_images);

using Vectors = std::vector<std::vector<float>>;
std::string EmbedAnswer(std::string_view model, const Vectors& vectors,
                        std::chrono::nanoseconds total_time, std::chrono::nanoseconds load_time,
                        std::int64_t prompt_tokens);
// Widened to double, as Ollama does: 0.1F is 0.10000000149011612.
std::string EmbeddingsAnswer(const std::vector<float>& vector);

// The documents of a rerank request, best first. `documents` is empty where they are not asked for.
struct RankedDocument {
  std::size_t index = 0;  // in the request
  float score = 0;
};
// Ollama has no such route. The shape is Jina's and Cohere's (/v1/rerank), or that with Ollama's
// times (/api/rerank).
std::string RerankAnswer(std::string_view model, const std::vector<RankedDocument>& ranked,
                         const std::vector<std::string>& documents, std::int64_t prompt_tokens);
std::string NativeRerankAnswer(std::string_view model, const std::vector<RankedDocument>& ranked,
                               const std::vector<std::string>& documents,
                               std::chrono::nanoseconds total_time,
                               std::chrono::nanoseconds load_time, std::int64_t prompt_tokens);

// The shapes proposed for Ollama (its issue 12031).
std::string TokenizeAnswer(std::string_view model, const std::vector<Token>& tokens,
                           std::chrono::nanoseconds total_time, std::chrono::nanoseconds load_time);
std::string DetokenizeAnswer(std::string_view model, std::string_view content,
                             std::chrono::nanoseconds total_time,
                             std::chrono::nanoseconds load_time);

std::string TagsAnswer(const std::vector<models::ModelSummary>& summaries);

// `details` of each row is a models::Model, or null.
std::string PsAnswer(const std::vector<scheduler::LoadedModel>& loaded, Timestamp now);

struct ShowInput {
  explicit ShowInput(const models::Model& shown) : model(shown) {}
  const models::Model& model;        // with the request's system put in
  std::string modelfile;             // with the request's options put in
  const gguf::Info* info = nullptr;  // of the weights; arrays kept only if is_verbose
  const gguf::Info* projector = nullptr;
  bool is_verbose = false;
  bool uses_go_template = true;
  std::vector<Capability> capabilities;
  std::string basename_override;  // model_info["general.basename"]; empty: as in the file
};
std::string ShowAnswer(const ShowInput& input);

}  // namespace corral::api
