// The command line: `corral`, also installed as `ollama`.
//
//   cli::Hooks hooks;
//   hooks.serve = [] { return RunServer(); };
//   return cli::Main(argc, argv, hooks);
//
// Everything but `serve` and the commands of StoreCommand is a client that speaks HTTP with the
// server at OLLAMA_HOST, or, for some commands and without one, with a server in this process
// (Hooks::open_local_server). Texts, exit codes (0 or 1) and tables are Ollama's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/client.h"
#include "cli/console.h"
#include "core/files.h"
#include "core/settings.h"
#include "core/timestamp.h"

namespace corral::cli {

// A command that works on the model store itself, with no server between.
struct StoreCommand {
  enum class Kind { kVerify, kSave, kLoad };
  Kind kind = Kind::kVerify;
  std::vector<std::string> models = {};  // kSave
  bool repairs = false;                  // kVerify
};

// A server in this process.
class LocalServer {
 public:
  virtual ~LocalServer() = default;
  // The abstract Unix socket (unix(7)) that it listens on, for this process alone.
  virtual std::string socket() const = 0;
};

struct Hooks {
  std::function<int()> serve;  // `serve`; its result is the exit code
  std::function<Status(const StoreCommand&, Console&)> store = {};  // `verify`, `save`, `load`
  // For `pull`, `push` and `create` when no server answers on this machine; may be empty.
  std::function<Result<std::unique_ptr<LocalServer>>()> open_local_server = {};
  std::string version = "0.0.0";  // Corral's
  std::string ollama_version =
      "0.0.0";  // the Ollama version that the API reports and that --version compares
  Environment environment = ProcessEnvironment();
  // Where tests come in; null: the process's own.
  Console* console = nullptr;
  Transport* transport = nullptr;
  FileSystem* files = nullptr;
  std::function<Timestamp()> now = &Timestamp::Now;
};

// Runs the command that the words name and returns the exit code. `argv[0]` decides what the
// program calls itself.
int Main(int argc, char** argv, const Hooks& hooks);

}  // namespace corral::cli
