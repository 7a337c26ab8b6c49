// `corral-worker`: one loaded model. Started by the server with its socket and files; not meant for
// hands.
#include "engine/llama/llama_engine.h"
#include "worker/host.h"

int main() {
  corral::engine::LoadComputeLibraries();
  return corral::worker::RunHost(corral::engine::MakeLlamaEngine);
}
