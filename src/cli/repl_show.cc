// /show of the prompt.
#include <algorithm>

#include "cli/repl.h"
#include "cli/repl_help.h"
#include "cli/tables.h"
#include "core/text.h"

namespace corral::cli {
namespace {

// As Go's %v prints it.
std::string ToText(const modelfile::ParameterValue& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
  if (const auto* number = std::get_if<double>(&value)) return NumberText(*number);
  if (const auto* is_true = std::get_if<bool>(&value)) return *is_true ? "true" : "false";
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  std::string text = "[";
  for (const std::string& item : std::get<std::vector<std::string>>(value))
    text += (text.size() > 1 ? " " : "") + item;
  return text + "]";
}

}  // namespace

Status Repl::OnShow(const Words& words) {
  if (words.size() < 2) {
    context_.console.Err(kShowHelp);
    return {};
  }
  const std::string& what = words[1];
  const Result<ShowReply> reply =
      context_.client.Show(session_.model, false, session_.system, session_.options);
  if (!reply) {
    Say("error: couldn't get model");
    return Fail(reply.error());
  }
  const auto say_or = [this](const std::string& text, std::string_view otherwise) {
    Say(text.empty() ? otherwise : text);
  };
  if (what == "info") {
    context_.console.Err(ShowText(*reply, false));
  } else if (what == "license") {
    say_or(reply->license, "No license was specified for this model.");
  } else if (what == "modelfile") {
    Say(reply->modelfile);
  } else if (what == "parameters") {
    ShowParameters(*reply);
  } else if (what == "system") {
    const std::string& system = session_.system.empty() ? reply->system : session_.system;
    say_or(system.empty() ? "" : system + "\n", "No system message was specified for this model.");
  } else if (what == "template") {
    say_or(reply->template_text, "No prompt template was specified for this model.");
  } else {
    Say("Unknown command '/show " + what + "'. Type /? for help");
  }
  return {};
}

void Repl::ShowParameters(const ShowReply& reply) {
  Say("Model defined parameters:");
  if (reply.parameters.empty()) {
    Say("  No additional parameters were specified for this model.");
  } else {
    for (const std::string_view line : Split(reply.parameters, '\n')) Say("  " + std::string(line));
  }
  Say("");
  if (session_.options.empty()) return;
  Say("User defined parameters:");
  for (const modelfile::Parameter& parameter : session_.options) {
    constexpr std::size_t kNameWidth = 30;
    std::string name = parameter.name;
    name.resize(std::max(name.size(), kNameWidth), ' ');
    Say("  " + name + " " + ToText(parameter.value));
  }
  Say("");
}

}  // namespace corral::cli
