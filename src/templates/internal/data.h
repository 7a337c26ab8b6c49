// The data that a template sees: Ollama's template/template.go, Values and collate.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "templates/internal/value.h"
#include "templates/template.h"

namespace corral::templates::internal {

// Neighbouring messages of one role (but not `tool`) as one. Views into the messages and the arena.
struct CollatedMessage {
  std::string_view role;
  std::string_view content;  // joined with a blank line
  std::string_view thinking;
  std::string_view tool_name;
  std::string_view tool_call_id;
  std::size_t n_images = 0;
  std::vector<const ToolCall*> tool_calls;
};

std::vector<CollatedMessage> Collate(const std::vector<ChatMessage>& messages, Arena& arena);

// All system messages, unmerged, joined with a blank line.
std::string_view SystemText(const std::vector<ChatMessage>& messages, Arena& arena);

// The root data of each mode.
Value InsertData(const RenderInput& input, Arena& arena);
Value MessagesData(const RenderInput& input, Arena& arena);
Value LegacyData(const RenderInput& input, std::string_view system, std::string_view prompt,
                 std::string_view response, Arena& arena);

}  // namespace corral::templates::internal
