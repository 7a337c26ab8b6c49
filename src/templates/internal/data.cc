#include "templates/internal/data.h"

#include <utility>

#include "templates/internal/json.h"

namespace corral::templates::internal {
namespace {

constexpr std::string_view kBlankLine = "\n\n";

void AddThink(const std::optional<Think>& think, Map& map) {
  const bool is_on = think && think->is_on;
  std::string_view level;
  if (is_on) level = think->level.empty() ? std::string_view("medium") : think->level;
  map.entries.emplace_back("Think", is_on);
  map.entries.emplace_back("ThinkLevel", level);
  map.entries.emplace_back("IsThinkSet", think.has_value());
}

List NilList(ListType type) { return List{nullptr, 0, type, true}; }

Value ToolCalls(const std::vector<const ToolCall*>& calls, Arena& arena) {
  if (calls.empty()) return NilList(ListType::kToolCalls);
  std::vector<Value> items;
  for (const ToolCall* call : calls) {
    const Object* function =
        arena.Make(Object{ObjectType::kCallFunction,
                          {static_cast<std::int64_t>(call->index), std::string_view(call->name),
                           Value(ReadArguments(call->arguments_json, arena))}});
    items.emplace_back(
        arena.Make(Object{ObjectType::kToolCall, {std::string_view(call->id), Value(function)}}));
  }
  return arena.Make(ListType::kToolCalls, std::move(items));
}

Value Images(std::size_t n_images, Arena& arena) {
  if (n_images == 0) return NilList(ListType::kImages);
  const Object* image = arena.Make(Object{ObjectType::kImage, {}});
  return arena.Make(ListType::kImages, std::vector<Value>(n_images, Value(image)));
}

Value Messages(const std::vector<ChatMessage>& messages, Arena& arena) {
  std::vector<Value> items;
  for (const CollatedMessage& message : Collate(messages, arena)) {
    items.emplace_back(arena.Make(
        Object{ObjectType::kMessage,
               {message.role, message.content, message.thinking, Images(message.n_images, arena),
                ToolCalls(message.tool_calls, arena), message.tool_name, message.tool_call_id}}));
  }
  return arena.Make(ListType::kMessages, std::move(items));
}

// Joins what is there; `with_empty` keeps empty texts as Ollama does for contents.
std::string_view Join(const std::vector<std::string_view>& texts, bool with_empty, Arena& arena) {
  std::string joined;
  std::string_view only;
  std::size_t n_joined = 0;
  for (const std::string_view text : texts) {
    if (text.empty() && !with_empty) continue;
    if (n_joined == 1) joined = only;
    if (n_joined > 0) joined.append(kBlankLine).append(text);
    only = text;
    ++n_joined;
  }
  return n_joined > 1 ? arena.Text(std::move(joined)) : only;
}

}  // namespace

std::vector<CollatedMessage> Collate(const std::vector<ChatMessage>& messages, Arena& arena) {
  std::vector<CollatedMessage> collated;
  std::vector<std::string_view> contents;
  std::vector<std::string_view> thoughts;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    if (i == 0 || message.role != messages[i - 1].role || message.role == "tool") {
      collated.push_back({message.role, {}, {}, message.tool_name, message.tool_call_id, 0, {}});
      contents.clear();
      thoughts.clear();
    }
    CollatedMessage& into = collated.back();
    contents.push_back(message.content);
    thoughts.push_back(message.thinking);
    into.n_images += message.images.size();
    // Ollama merges the text only and loses the rest of the later message; that would drop a tool
    // call.
    for (const ToolCall& call : message.tool_calls) into.tool_calls.push_back(&call);
    if (into.tool_name.empty()) into.tool_name = message.tool_name;
    if (into.tool_call_id.empty()) into.tool_call_id = message.tool_call_id;
    const bool is_last =
        i + 1 == messages.size() || messages[i + 1].role != message.role || message.role == "tool";
    if (is_last) {
      into.content = Join(contents, true, arena);
      into.thinking = Join(thoughts, false, arena);
    }
  }
  return collated;
}

std::string_view SystemText(const std::vector<ChatMessage>& messages, Arena& arena) {
  std::vector<std::string_view> texts;
  for (const ChatMessage& message : messages) {
    if (message.role == "system") texts.push_back(message.content);
  }
  return Join(texts, true, arena);
}

Value InsertData(const RenderInput& input, Arena& arena) {
  Map map;
  AddThink(input.think, map);
  map.entries.emplace_back("Prompt", std::string_view(input.prompt));
  map.entries.emplace_back("Suffix", std::string_view(input.suffix));
  map.entries.emplace_back("Response", std::string_view());
  return arena.Make(std::move(map));
}

Value MessagesData(const RenderInput& input, Arena& arena) {
  Map map;
  AddThink(input.think, map);
  map.entries.emplace_back("System", SystemText(input.messages, arena));
  map.entries.emplace_back("Messages", Messages(input.messages, arena));
  map.entries.emplace_back("Tools", input.tools_json.empty() ? NilList(ListType::kTools)
                                                             : ReadTools(input.tools_json, arena));
  map.entries.emplace_back("Response", std::string_view());
  return arena.Make(std::move(map));
}

Value LegacyData(const RenderInput& input, std::string_view system, std::string_view prompt,
                 std::string_view response, Arena& arena) {
  Map map;
  AddThink(input.think, map);
  map.entries.emplace_back("System", system);
  map.entries.emplace_back("Prompt", prompt);
  map.entries.emplace_back("Response", response);
  return arena.Make(std::move(map));
}

}  // namespace corral::templates::internal
