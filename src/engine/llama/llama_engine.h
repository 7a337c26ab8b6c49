// The engine on llama.cpp: a prepare pool that renders and tokenises, one generator and one
// embedder thread.
#pragma once

#include "engine/engine.h"

namespace corral::engine {

// An EngineFactory.
Result<std::unique_ptr<Engine>> MakeLlamaEngine(const ModelFiles& files, EngineConfig config);

}  // namespace corral::engine
