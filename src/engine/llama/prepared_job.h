// A job whose prompt is ready: what the prepare threads hand to the engine thread.
#pragma once

#include <memory>
#include <string>

#include "core/job.h"
#include "core/stop.h"
#include "engine/llama/adapters.h"
#include "engine/llama/prompt_builder.h"
#include "engine/llama/sampler.h"

namespace corral::engine {

struct PreparedJob {
  JobId id{};
  GenerateJob job;
  PreparedPrompt prompt;
  AdapterSetPtr adapters;
  std::string space;  // of the prefix cache: what else than its tokens decides the prompt's state
  std::unique_ptr<Sampler> sampler;
  StopToken stop;
};

}  // namespace corral::engine
