#include "cli/main.h"

#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "cli/command_line.h"
#include "cli/context.h"
#include "cli/curl_transport.h"
#include "core/host.h"
#include "core/proxy.h"
#include "core/text.h"

namespace corral::cli {
namespace {

// "ollama" when called by that name (or by a link to it), else "corral".
std::string ProgramName(const char* argv0) {
  const std::string name = std::filesystem::path(argv0 == nullptr ? "" : argv0).filename().string();
  return name.empty() ? "corral" : name;
}

// What works on the store alone, in a build of an image for instance. Not what people ask to see
// whether a server is there.
bool CanDoWithoutServer(CommandId command) {
  return command == CommandId::kPull || command == CommandId::kPush ||
         command == CommandId::kCreate;
}

std::unique_ptr<Transport> MakeTransport(const Hooks& hooks, const Settings& settings,
                                         LocalServer* local_server) {
  CurlOptions options;
  if (local_server != nullptr) {
    options.abstract_socket = local_server->socket();
    return MakeCurlTransport(std::move(options));
  }
  options.server = settings.client_host;
  options.proxy = ProxyFor(settings.client_host, hooks.environment);
  options.user_agent = UserAgent(hooks.ollama_version, hooks.version);
  options.ca_file = hooks.environment("SSL_CERT_FILE").value_or("");
  return MakeCurlTransport(std::move(options));
}

void PrintVersion(Context& context, const std::string& program, const Hooks& hooks) {
  std::string out;
  if (program != "ollama") out += program + " version is " + hooks.version + "\n";
  const Result<std::string> server = context.client.Version();
  if (server) {
    out += "ollama version is " + *server + "\n";
  } else {
    out += "Warning: could not connect to a running Ollama instance\n";
  }
  if (server.value_or("") != hooks.ollama_version)
    out += "Warning: client version is " + hooks.ollama_version + "\n";
  context.console.Out(out);
}

std::optional<StoreCommand::Kind> StoreKindOf(CommandId id) {
  if (id == CommandId::kVerify) return StoreCommand::Kind::kVerify;
  if (id == CommandId::kSave) return StoreCommand::Kind::kSave;
  if (id == CommandId::kLoad) return StoreCommand::Kind::kLoad;
  return std::nullopt;
}

Status Run(Context& context, const Invocation& invocation) {
  switch (invocation.command->id) {
    case CommandId::kCreate:
      return RunCreate(context, invocation);
    case CommandId::kShow:
      return RunShow(context, invocation);
    case CommandId::kRun:
      return RunRun(context, invocation);
    case CommandId::kStop:
      return RunStop(context, invocation);
    case CommandId::kPull:
      return RunPull(context, invocation);
    case CommandId::kPush:
      return RunPush(context, invocation);
    case CommandId::kSignin:
      return RunSignin(context);
    case CommandId::kSignout:
      return RunSignout(context);
    case CommandId::kList:
      return RunList(context, invocation);
    case CommandId::kPs:
      return RunPs(context, invocation);
    case CommandId::kCopy:
      return RunCopy(context, invocation);
    case CommandId::kRemove:
      return RunRemove(context, invocation);
    case CommandId::kHealth:
      return RunHealth(context, invocation);
    case CommandId::kRoot:
    case CommandId::kServe:
    case CommandId::kHelp:
    case CommandId::kVerify:
    case CommandId::kSave:
    case CommandId::kLoad:
      break;  // need no server: done before
  }
  return {};
}

}  // namespace

int Main(int argc, char** argv, const Hooks& hooks) {
  Console& console = hooks.console != nullptr ? *hooks.console : ProcessConsole();
  const std::string program = ProgramName(argc > 0 ? argv[0] : nullptr);
  const std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  const auto fail = [&console](const Error& error) {
    console.Err("Error: " + error.message + "\n");
    return 1;
  };

  const Result<Invocation> invocation = ParseCommandLine(program, words);
  if (!invocation) return fail(invocation.error());
  const CommandInfo& command = *invocation->command;
  if (command.id == CommandId::kHelp && !invocation->wants_help) {
    const CommandInfo* topic = FindTopic(invocation->arguments);
    if (topic != nullptr) {
      console.Out(HelpText(program, *topic));
    } else {
      console.Err(UnknownTopicText(program, invocation->arguments));
    }
    return 0;
  }
  const bool is_bare_root = command.id == CommandId::kRoot && !invocation->Bool("version");
  if (invocation->wants_help || is_bare_root) {
    console.Out(HelpText(program, command));
    return 0;
  }
  if (command.id == CommandId::kServe) return hooks.serve();

  if (const auto kind = StoreKindOf(command.id)) {
    const Status status =
        hooks.store({*kind, invocation->arguments, invocation->Bool("repair")}, console);
    return status ? 0 : fail(status.error());
  }

  const Settings settings = ReadSettings(hooks.environment, {}, nullptr);
  std::unique_ptr<LocalServer> local_server;  // outlives the transport to it
  std::unique_ptr<Transport> own_transport;
  if (hooks.transport == nullptr) own_transport = MakeTransport(hooks, settings, nullptr);
  const bool needs_answer = command.id != CommandId::kHealth && command.id != CommandId::kRoot;
  if (needs_answer) {
    Status alive = Client(own_transport ? *own_transport : *hooks.transport).Heartbeat();
    if (!alive && alive.error().message == kServerDown && CanDoWithoutServer(command.id) &&
        hooks.open_local_server && IsThisMachine(settings.client_host.host)) {
      auto opened = hooks.open_local_server();
      if (!opened) return fail(opened.error());
      console.Err("no server at " + settings.client_host.Url() + ": working on the models in " +
                  settings.models + "\n");
      local_server = *std::move(opened);
      own_transport = MakeTransport(hooks, settings, local_server.get());
      alive = {};
    }
    if (!alive) return fail(alive.error());
  }
  Client client(own_transport ? *own_transport : *hooks.transport);
  FileSystem& files = hooks.files != nullptr ? *hooks.files : RealFileSystem();
  Context context{client, console, files, hooks.environment, settings, hooks.now};

  if (command.id == CommandId::kRoot) {
    PrintVersion(context, program, hooks);
    return 0;
  }
  const Status status = Run(context, *invocation);
  return status ? 0 : fail(status.error());
}

}  // namespace corral::cli
