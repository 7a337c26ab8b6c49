// What every command works with.
#pragma once

#include <functional>
#include <string>

#include "cli/client.h"
#include "cli/command_line.h"
#include "cli/console.h"
#include "core/files.h"
#include "core/settings.h"
#include "core/timestamp.h"

namespace corral::cli {

// References outlive the commands.
struct Context {
  Client& client;
  Console& console;
  FileSystem& files;
  const Environment& environment;
  const Settings& settings;
  std::function<Timestamp()> now;
};

// One a command; the error's message is what follows "Error: ".
Status RunCreate(Context& context, const Invocation& invocation);
Status RunShow(Context& context, const Invocation& invocation);
Status RunRun(Context& context, const Invocation& invocation);
Status RunStop(Context& context, const Invocation& invocation);
Status RunPull(Context& context, const Invocation& invocation);
Status RunPush(Context& context, const Invocation& invocation);
Status RunSignin(Context& context);
Status RunSignout(Context& context);
Status RunList(Context& context, const Invocation& invocation);
Status RunPs(Context& context, const Invocation& invocation);
Status RunCopy(Context& context, const Invocation& invocation);
Status RunRemove(Context& context, const Invocation& invocation);
Status RunHealth(Context& context, const Invocation& invocation);

// Pulls with progress on stderr.
Status PullModel(Context& context, const std::string& model, bool is_insecure);

}  // namespace corral::cli
