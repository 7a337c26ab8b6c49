// The engine on llama.cpp: a prepare pool that renders and tokenises, one generator and one
// embedder thread.
#pragma once

#include "engine/engine.h"

namespace corral::engine {

class FormatProcesses;

// Opens the compute libraries that lie beside the program: in portable builds (release, container
// image) ggml comes as one library per kind of processor, and the best that this machine can run is
// taken. Before the sandbox closes the files, and before the first engine. Once; nothing to do in
// builds that have their compute code inside.
void LoadComputeLibraries();

// Makes engines that format their prompts in `processes`, which must outlive them. kInternal if
// there is nothing to compute with.
EngineFactory LlamaEngines(FormatProcesses& processes);

}  // namespace corral::engine
