// The commands that are one or two calls and a print.
#include <chrono>
#include <utility>

#include "cli/context.h"
#include "cli/create.h"
#include "cli/model_name.h"
#include "cli/progress.h"
#include "cli/tables.h"
#include "core/text.h"

namespace corral::cli {
namespace {

std::string FirstArgument(const Invocation& invocation) {
  return invocation.arguments.empty() ? "" : invocation.arguments[0];
}

Status Unload(Client& client, const std::string& model) {
  GenerateRequest request;
  request.model = model;
  request.keep_alive = std::chrono::nanoseconds(0);
  return client.Generate(request, [](const AnswerRecord&) {});
}

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::string SignInText(const std::string& url) {
  if (url.empty()) return "";
  return "If your browser did not open, navigate to:\n    " + url + "\n\n";
}

// Where a pushed model is seen: on ollama.com by its short name, elsewhere by its full one.
std::string PushedTo(std::string_view name) {
  constexpr std::string_view kDefaultHost = "registry.ollama.ai/";
  constexpr std::string_view kDefaultTag = ":latest";
  if (const std::size_t scheme = name.find("://"); scheme != std::string_view::npos)
    name.remove_prefix(scheme + 3);
  if (name.starts_with(kDefaultHost)) name.remove_prefix(kDefaultHost.size());
  const bool has_host = Split(name, '/').size() > 2;
  const bool has_tag =
      name.rfind(':') != std::string_view::npos &&
      (name.rfind('/') == std::string_view::npos || name.rfind(':') > name.rfind('/'));
  if (has_host) return std::string(name) + (has_tag ? "" : std::string(kDefaultTag));
  if (name.ends_with(kDefaultTag)) name.remove_suffix(kDefaultTag.size());
  return "https://ollama.com/" + std::string(name);
}

bool IsOllamaHost(std::string_view name) {
  if (const std::size_t scheme = name.find("://"); scheme != std::string_view::npos)
    name.remove_prefix(scheme + 3);
  const auto parts = Split(name, '/');
  if (parts.size() < 3) return true;  // the default registry
  return parts[0].ends_with(".ollama.ai") || parts[0].ends_with(".ollama.com");
}

}  // namespace

Status RunCreate(Context& context, const Invocation& invocation) {
  const std::string& model = invocation.arguments[0];
  if (!IsValidModelName(model)) return Fail(Code::kInvalidArgument, "invalid model name: " + model);
  std::filesystem::path folder;
  CORRAL_TRY(const std::string text, ReadModelfile(invocation.Text("file"), &folder));
  CORRAL_TRY(const modelfile::Modelfile modelfile, modelfile::Parse(text));

  Progress progress(context.console);
  progress.Status("gathering model components");
  const std::string home = context.environment("HOME").value_or("");
  Result<CreatePlan> plan = PlanCreate(modelfile, folder, home, {});
  if (!plan) {
    progress.Finish();
    return Fail(plan.error());
  }
  CreateRequest& request = plan->request;
  request.model = model;
  request.quantize = invocation.Text("quantize");
  request.draft_quantize = invocation.Text("draft-quantize");
  if (!request.draft_quantize.empty() && request.draft_files.empty())
    return Fail(Code::kInvalidArgument, "--draft-quantize requires a DRAFT model");

  for (const LocalFile& file : plan->uploads) {
    CORRAL_TRY(const bool is_there, context.client.HasBlob(file.digest));
    if (is_there) continue;
    const std::string copying = "copying file " + file.digest;
    progress.Status(copying);
    const auto on_sent = [&](std::uint64_t n_sent) {
      const std::uint64_t percent = file.size_bytes == 0 ? 100 : n_sent * 100 / file.size_bytes;
      progress.Update(copying + " " + std::to_string(percent) + "%");
    };
    CORRAL_TRY_STATUS(context.client.CreateBlob(file.digest, file.path, on_sent));
    progress.Update(copying + " 100%");
  }
  TransferProgress transfer(progress, TransferProgress::Kind::kCreate);
  CORRAL_TRY_STATUS(
      context.client.Create(request, [&](const ProgressRecord& record) { transfer.Show(record); }));
  progress.Finish();
  for (const std::string& warning : plan->warnings) context.console.Err(warning + "\n");
  return {};
}

Status RunShow(Context& context, const Invocation& invocation) {
  std::string only;
  for (const char* flag : {"license", "modelfile", "parameters", "system", "template"}) {
    if (!invocation.Bool(flag)) continue;
    if (!only.empty())
      return Fail(Code::kInvalidArgument,
                  "only one of '--license', '--modelfile', '--parameters', '--system', or "
                  "'--template' can be "
                  "specified");
    only = flag;
  }
  const bool is_verbose = invocation.Bool("verbose");
  CORRAL_TRY(const ShowReply reply, context.client.Show(invocation.arguments[0], is_verbose));
  if (only == "license") {
    context.console.Out(reply.license + "\n");
  } else if (only == "modelfile") {
    context.console.Out(reply.modelfile + "\n");
  } else if (only == "parameters") {
    context.console.Out(reply.parameters + "\n");
  } else if (only == "system") {
    context.console.Out(reply.system);
  } else if (only == "template") {
    context.console.Out(reply.template_text);
  } else {
    context.console.Out(ShowText(reply, is_verbose));
  }
  return {};
}

Status RunStop(Context& context, const Invocation& invocation) {
  const std::string& model = invocation.arguments[0];
  const Status status = Unload(context.client, model);
  if (status) return {};
  if (status.error().code == Code::kNotFound || Contains(status.error().message, "not found"))
    return Fail(Code::kNotFound, "couldn't find model \"" + model + "\" to stop");
  return status;
}

Status PullModel(Context& context, const std::string& model, bool is_insecure) {
  Progress progress(context.console);
  TransferProgress transfer(progress, TransferProgress::Kind::kPull);
  return context.client.Pull(model, is_insecure,
                             [&](const ProgressRecord& record) { transfer.Show(record); });
}

Status RunPull(Context& context, const Invocation& invocation) {
  return PullModel(context, invocation.arguments[0], invocation.Bool("insecure"));
}

Status RunPush(Context& context, const Invocation& invocation) {
  const std::string& model = invocation.arguments[0];
  Status status;
  {
    Progress progress(context.console);
    TransferProgress transfer(progress, TransferProgress::Kind::kPush);
    status = context.client.Push(model, invocation.Bool("insecure"),
                                 [&](const ProgressRecord& record) { transfer.Show(record); });
  }
  if (!status) {
    const std::string& text = status.error().message;
    if (Contains(text, "access denied") || (Contains(text, "unauthorized") && IsOllamaHost(model)))
      return Fail(Code::kForbidden,
                  "you are not authorized to push to this namespace, create the model under a "
                  "namespace you own");
    return status;
  }
  context.console.Out("\nYou can find your model at:\n\n\t" + PushedTo(model) + "\n");
  return {};
}

Status RunSignin(Context& context) {
  CORRAL_TRY(const auto who, context.client.WhoAmI());
  if (const auto* name = std::get_if<std::string>(&who)) {
    context.console.Out("You are already signed in as user '" + *name + "'\n\n");
  } else {
    context.console.Out("You need to be signed in to Ollama to run Cloud models.\n\n" +
                        SignInText(std::get<SignInNeeded>(who).url));
  }
  return {};
}

Status RunSignout(Context& context) {
  CORRAL_TRY(const bool was_signed_in, context.client.SignOut());
  context.console.Out(was_signed_in ? "You have signed out of ollama.com\n\n"
                                    : "You are not signed in to ollama.com\n\n");
  return {};
}

Status RunList(Context& context, const Invocation& invocation) {
  CORRAL_TRY(const std::vector<ListedModel> models, context.client.List());
  context.console.Out(ListTable(models, FirstArgument(invocation), context.now()));
  return {};
}

Status RunPs(Context& context, const Invocation& invocation) {
  CORRAL_TRY(const std::vector<RunningModel> models, context.client.Running());
  context.console.Out(PsTable(models, FirstArgument(invocation), context.now()));
  return {};
}

Status RunCopy(Context& context, const Invocation& invocation) {
  const std::string& source = invocation.arguments[0];
  const std::string& destination = invocation.arguments[1];
  CORRAL_TRY_STATUS(context.client.Copy(source, destination));
  context.console.Out("copied '" + source + "' to '" + destination + "'\n");
  return {};
}

Status RunRemove(Context& context, const Invocation& invocation) {
  for (const std::string& model : invocation.arguments) {
    const Status unloaded = Unload(context.client, model);
    if (!unloaded && unloaded.error().code != Code::kNotFound &&
        !Contains(unloaded.error().message, "not found"))
      context.console.Err("Warning: unable to stop model '" + model + "'\n");
    CORRAL_TRY_STATUS(context.client.Delete(model));
    context.console.Out("deleted '" + model + "'\n");
  }
  return {};
}

Status RunHealth(Context& context, const Invocation& invocation) {
  constexpr std::chrono::seconds kTimeout{5};
  const Status status = context.client.Health(invocation.Bool("ready"), kTimeout);
  if (status || !Contains(status.error().message, " refused")) return status;
  return Fail(status.error().code, std::string(kServerDown));
}

}  // namespace corral::cli
