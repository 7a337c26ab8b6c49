// From a checked request and a model to what the scheduler and the worker need; and the checks on
// the way, in Ollama's order and words (server/routes.go). No HTTP, no waiting.
//
// Pure functions. Thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/errors.h"
#include "api/native/options.h"
#include "api/native/requests.h"
#include "core/job.h"
#include "models/store.h"
#include "scheduler/scheduler.h"

namespace corral::api {

// Who asks for a model: the texts differ.
enum class Asker { kGenerate, kChat, kEmbed, kEmbeddings, kShow };

struct CheckedName {
  models::ModelName name;
  bool is_local_only = false;  // ":local": a stub for a remote model does not count
};

// The form of a model's name as sent; a name of the cloud is refused.
Answer<CheckedName> CheckName(Asker asker, std::string_view as_sent);
Failure ModelNotFound(Asker asker, std::string_view as_sent, const models::ModelName& name);
// A stub whose model runs elsewhere: refused, or not found for ":local".
Answer<void> CheckIsLocal(Asker asker, std::string_view as_sent, const CheckedName& name,
                          const models::Model& model);

Answer<void> CheckTopLogprobs(std::int64_t top_logprobs);

// OLLAMA_GO_TEMPLATE, as models::Model takes it.
using GoTemplateSetting = std::optional<bool>;

// What the model must be able to do; raw's conflicts.
Answer<void> CheckGenerate(const GenerateRequest& request, const models::Model& model,
                           GoTemplateSetting setting);
Answer<void> CheckChat(const ChatRequest& request, const models::Model& model,
                       GoTemplateSetting setting);
// `format` is "json" or an object, and images find a model that sees. For requests that generate,
// not for loads.
Answer<void> CheckContent(const GenerationParts& request, std::size_t n_images,
                          const models::Model& model, GoTemplateSetting setting);

// A request without anything to generate: loads the model, or unloads it when keep_alive is 0.
inline bool AsksToUnload(const ModelParts& request) {
  return request.keep_alive && request.keep_alive->count() == 0;
}

scheduler::ModelRequest ToModelRequest(std::shared_ptr<const models::Model> model,
                                       const ResolvedOptions& options,
                                       std::optional<std::chrono::nanoseconds> keep_alive,
                                       GoTemplateSetting setting);

// The prompt of a request, consuming its texts.
PromptSource GeneratePrompt(GenerateRequest& request, const models::Model& model,
                            GoTemplateSetting setting);
PromptSource ChatPrompt(ChatRequest& request, const models::Model& model,
                        GoTemplateSetting setting);

// Everything but the prompt. `num_ctx` is the lease's.
GenerateJob MakeJob(const GenerationParts& request, const models::Model& model,
                    const ResolvedOptions& options, int num_ctx);

// Cuts each vector to its first `dimensions` values and gives it norm 1 again, if it is longer.
// Non-finite values are an error: 400 `embedding contains NaN or Inf values`.
Answer<void> FinishVectors(std::int64_t dimensions, std::vector<std::vector<float>>* vectors);

}  // namespace corral::api
