#include "templates/template.h"

#include <algorithm>
#include <utility>

#include "templates/internal/data.h"
#include "templates/internal/evaluator.h"
#include "templates/internal/failure.h"
#include "templates/internal/format.h"
#include "templates/internal/inspect.h"
#include "templates/internal/parser.h"

namespace corral::templates {
namespace {

using internal::ActionNode;
using internal::Arena;
using internal::Budget;
using internal::CollatedMessage;
using internal::CommandNode;
using internal::ListNode;
using internal::NamesNode;
using internal::NodeType;
using internal::PipeNode;

// A tree is some eighty times larger than its text, and no chat template in the wild comes near
// this.
constexpr std::size_t kMaxTemplateBytes = std::size_t{1} << 20U;
// About a second; a conversation of thousands of messages takes some hundred thousand.
constexpr std::size_t kMaxSteps = 10'000'000;

// {{ .Response }} at the end, for templates that say nowhere where the answer goes.
void AppendResponse(ListNode& root, std::size_t pos) {
  auto command = std::make_unique<CommandNode>(pos);
  command->args.push_back(std::make_unique<NamesNode>(NodeType::kField, pos,
                                                      std::vector<std::string_view>{"Response"}));
  auto pipe = std::make_unique<PipeNode>(pos);
  pipe->commands.push_back(std::move(command));
  root.nodes.push_back(std::make_unique<ActionNode>(pos, std::move(pipe)));
}

}  // namespace

struct Template::Parsed {
  std::string text;
  internal::TreeSet trees;  // views into text
  std::vector<std::string> variables;
  internal::Cut cut;
  ThinkTags think_tags;
  std::string tool_call_tag;

  const ListNode& root() const { return *trees.Find(""); }
  bool Mentions(std::string_view variable) const {
    return std::binary_search(variables.begin(), variables.end(), variable);
  }
};

Result<Template> Template::Parse(std::string_view text) {
  if (text.size() > kMaxTemplateBytes)
    return Fail(Code::kInvalidArgument, "template: :1: template is too large");
  auto parsed = std::make_shared<Parsed>();
  parsed->text = text;
  CORRAL_TRY(parsed->trees, internal::ParseTemplate(parsed->text));
  if (internal::HasBareTemplateCall(parsed->trees)) {
    return Fail(Code::kInvalidArgument, "undefined template specified");
  }
  parsed->variables = internal::FindVariables(parsed->trees);
  if (!parsed->Mentions("messages") && !parsed->Mentions("response")) {
    AppendResponse(*parsed->trees.trees.find("")->second, parsed->text.size());
    parsed->variables = internal::FindVariables(parsed->trees);
  }
  parsed->cut = internal::FindCut(parsed->root());
  parsed->think_tags = internal::FindThinkTags(parsed->root());
  parsed->tool_call_tag = internal::FindToolCallTag(parsed->root());
  Template made;
  made.parsed_ = std::move(parsed);
  return made;
}

Result<std::string> Template::Render(const RenderInput& input) const {
  std::string out;
  Arena arena(internal::kMaxTextBytes);
  Budget budget{kMaxSteps, internal::kMaxTextBytes};
  const auto run = [&](const internal::Value& data, const internal::Cut* cut) {
    internal::Evaluator(parsed_->trees, parsed_->text, cut, arena, budget, out).Run(data);
  };
  try {
    if (!input.prompt.empty() && !input.suffix.empty()) {
      run(internal::InsertData(input, arena), nullptr);
      return out;
    }
    if (parsed_->Mentions("messages")) {
      run(internal::MessagesData(input, arena), nullptr);
      return out;
    }
    std::string_view system;
    std::string_view prompt;
    std::string_view response;
    const auto turn = [&](const internal::Cut* cut) {
      run(internal::LegacyData(input, system, prompt, response, arena), cut);
      system = prompt = response = {};
    };
    for (const CollatedMessage& message : internal::Collate(input.messages, arena)) {
      if (message.role == "system") {
        if (!prompt.empty() || !response.empty()) turn(nullptr);
        system = message.content;
      } else if (message.role == "user") {
        if (!response.empty()) turn(nullptr);
        prompt = message.content;
      } else if (message.role == "assistant") {
        response = message.content;
      }
    }
    turn(&parsed_->cut);
    return out;
  } catch (internal::Failure& failure) {
    return Fail(std::move(failure.error));
  }
}

const std::vector<std::string>& Template::Variables() const { return parsed_->variables; }

bool Template::Mentions(std::string_view lower_case_variable) const {
  return parsed_->Mentions(lower_case_variable);
}

Template::ThinkTags Template::thinking_tags() const { return parsed_->think_tags; }

std::string Template::tool_call_tag() const { return parsed_->tool_call_tag; }

std::vector<Capability> Template::Capabilities() const {
  std::vector<Capability> capabilities;
  if (Mentions("tools")) capabilities.push_back(Capability::kTools);
  if (Mentions("suffix")) capabilities.push_back(Capability::kInsert);
  if (!parsed_->think_tags.open.empty()) capabilities.push_back(Capability::kThinking);
  return capabilities;
}

bool Template::HasToolRoundTrip() const {
  const auto has = [&](std::string_view part) {
    return parsed_->text.find(part) != std::string::npos;
  };
  return Mentions("tools") && Mentions("toolcalls") &&
         (has("eq .Role \"tool\"") || has("tool_response") || has("TOOL_RESULTS"));
}

const std::string& Template::text() const { return parsed_->text; }

}  // namespace corral::templates
