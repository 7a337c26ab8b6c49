#include "app/store_commands.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "app/store_options.h"
#include "core/files.h"
#include "core/log.h"
#include "core/text.h"
#include "models/archive.h"
#include "models/store.h"
#include "models/verify.h"
#include "registry/registry.h"

namespace corral::app {
namespace {

using cli::Console;
using cli::StoreCommand;
using cli::Stream;

Result<std::vector<models::ModelName>> ParseNames(const std::vector<std::string>& texts) {
  std::vector<models::ModelName> names;
  for (const std::string& text : texts) {
    auto name = models::ModelName::Parse(text);
    if (!name) return Fail(Code::kInvalidArgument, "invalid model name: " + text);
    names.push_back(*std::move(name));
  }
  return names;
}

std::string Count(std::size_t n, const char* what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

Status Save(models::Store& store, const StoreCommand& command, const Console& console) {
  if (console.IsTerminal(Stream::kOutput)) {
    return Fail(Code::kInvalidArgument,
                "an archive is not for a terminal: write it to a file, as in `corral save " +
                    command.models.front() + " > model.tar`");
  }
  CORRAL_TRY(const auto names, ParseNames(command.models));
  return models::SaveModels(
      store, names, [](std::string_view bytes) { return WriteAll(STDOUT_FILENO, bytes); }, {});
}

Result<std::size_t> ReadInput(std::span<char> buffer) {
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) return Fail(ErrnoError(errno, "read the archive"));
  }
}

Status Load(models::Store& store, Console& console) {
  if (console.IsTerminal(Stream::kInput)) {
    return Fail(Code::kInvalidArgument,
                "an archive is not for typing: give a file, as in `corral load < model.tar`");
  }
  CORRAL_TRY(auto loaded, models::LoadModels(store, ReadInput, {}));
  for (const models::ModelName& name : loaded.names) console.Out("loaded " + name.Short() + "\n");
  if (loaded.problem) return Fail(*std::move(loaded.problem));
  if (loaded.names.empty()) return Fail(Code::kInvalidArgument, "the archive has no models");
  return {};
}

// Prints what is wrong. Returns how much that is.
std::size_t Report(const models::VerifyReport& report, Console& console) {
  for (const models::BrokenBlob& blob : report.broken) {
    std::string line = "layer " + blob.digest.ToString() + " " + blob.what + ":";
    for (const models::ModelName& name : blob.models) line += " " + name.Short();
    console.Out(line + "\n");
  }
  for (const std::string& path : report.bad_manifests)
    console.Out("manifest " + path + " cannot be read\n");
  return report.broken.size() + report.bad_manifests.size();
}

Result<models::VerifyReport> Look(models::Store& store, Console& console) {
  const bool is_shown = console.IsTerminal(Stream::kError);
  int last = -1;
  auto report = store.Verify(
      [&](std::uint64_t done, std::uint64_t total) {
        const int percent = total == 0 ? 100 : static_cast<int>(done * 100 / total);
        if (!is_shown || percent == last) return;
        last = percent;
        console.Err("\rverifying " + std::to_string(percent) + "%\x1b[K");
      },
      {});
  if (last >= 0) console.Err("\r\x1b[K");
  return report;
}

// Broken layers go, and their models are pulled again.
Status Repair(models::Store& store, const Settings& settings, const models::VerifyReport& report,
              Console& console) {
  registry::Registry registry(store, RegistryOptionsOf(settings));
  std::set<std::string> repaired;
  for (const models::BrokenBlob& blob : report.broken)
    CORRAL_TRY_STATUS(store.RemoveBroken(blob.digest));
  for (const models::BrokenBlob& blob : report.broken) {
    for (const models::ModelName& name : blob.models) {
      if (!repaired.insert(name.Full()).second) continue;
      console.Err("pulling " + name.Short() + "\n");
      registry::TransferRequest request{name};
      const Status pulled = registry.Pull(request, {}, [](const registry::Progress&) {});
      if (!pulled) {
        console.Err("Error: cannot repair " + name.Short() + ": " + pulled.error().message + "\n");
      }
    }
  }
  return {};
}

Status Verify(models::Store& store, const Settings& settings, const StoreCommand& command,
              Console& console) {
  CORRAL_TRY(models::VerifyReport report, Look(store, console));
  std::size_t n_broken = Report(report, console);
  if (n_broken > 0 && command.repairs) {
    CORRAL_TRY_STATUS(Repair(store, settings, report, console));
    CORRAL_TRY(report, Look(store, console));
    n_broken = Report(report, console);
  }
  console.Out("verified " + Count(report.n_models, "model") + ": " +
              Count(report.n_blobs, "layer") + ", " +
              HumanBytes(static_cast<std::int64_t>(report.n_bytes)) + " read\n");
  if (n_broken == 0) return {};
  return Fail(Code::kCorrupt,
              Count(n_broken, "file") + " of the store " + (n_broken == 1 ? "is" : "are") +
                  " broken" + (command.repairs ? "" : ": `corral verify --repair` fetches again"));
}

}  // namespace

Status RunStoreCommand(const StoreCommand& command, Console& console) {
  std::vector<std::string> warnings;
  const Settings settings =
      ReadSettings(ProcessEnvironment(), ProcessEnvironmentNames(), &warnings);
  ConfigureLog(std::max(settings.log_level, LogLevel::kWarn), LogFormat::kText);
  for (const std::string& warning : warnings) Log(LogLevel::kWarn, warning);
  models::StoreOptions options = StoreOptionsOf(settings);
  options.is_prune_enabled = false;  // tidying is the server's
  CORRAL_TRY(const auto store, models::Store::Open(settings.models, options));
  switch (command.kind) {
    case StoreCommand::Kind::kSave:
      return Save(*store, command, console);
    case StoreCommand::Kind::kLoad:
      return Load(*store, console);
    case StoreCommand::Kind::kVerify:
      return Verify(*store, settings, command, console);
  }
  return {};
}

}  // namespace corral::app
