// `corral`, also installed as `ollama`: the server and the command line.
#include <string>

#include "api/version.h"
#include "app/local_server.h"
#include "app/server.h"
#include "app/store_commands.h"
#include "cli/main.h"

#ifndef CORRAL_VERSION
#error "CORRAL_VERSION comes from the build"
#endif

int main(int argc, char** argv) {
  corral::cli::Hooks hooks;
  hooks.serve = corral::app::RunServer;
  hooks.open_local_server = corral::app::OpenLocalServer;
  hooks.store = corral::app::RunStoreCommand;
  hooks.version = CORRAL_VERSION;
  hooks.ollama_version = std::string(corral::api::kOllamaVersion);
  return corral::cli::Main(argc, argv, hooks);
}
