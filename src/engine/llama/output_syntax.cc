#include "engine/llama/output_syntax.h"

#include <utility>

namespace corral::engine {
namespace {

// Throws.
common_chat_parser_params ToParser(const FormatReply& reply, const std::string& arena) {
  common_chat_parser_params parser;
  parser.format = static_cast<common_chat_format>(reply.parser_format);
  parser.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
  parser.generation_prompt = reply.generation_prompt;
  parser.is_continuation = reply.is_continuation;
  parser.parser.load(arena);
  return parser;
}

}  // namespace

Result<std::shared_ptr<OutputSyntax>> MakeSyntax(const FormatReply& reply) {
  auto syntax = std::make_shared<OutputSyntax>();
  try {
    if (!reply.parser.empty()) syntax->parser = ToParser(reply, reply.parser);
    if (!reply.answer_parser.empty()) syntax->answer_parser = ToParser(reply, reply.answer_parser);
  } catch (const std::exception& error) {
    return Fail(Code::kInternal, std::string("the model's chat template failed: ") + error.what());
  }
  syntax->is_continuation = reply.is_continuation;
  for (const FormatReply::Trigger& trigger : reply.triggers) {
    common_grammar_trigger one;
    one.type = static_cast<common_grammar_trigger_type>(trigger.type);
    one.value = trigger.text;
    syntax->triggers.push_back(std::move(one));
  }
  syntax->begins_with_prompt = reply.begins_with_prompt;
  syntax->generation_prompt = reply.generation_prompt;
  if (!reply.think_open.empty()) syntax->think_opens = {reply.think_open};
  syntax->think_closes = reply.think_closes;
  syntax->preserved = reply.preserved;
  syntax->tool_mark = reply.tool_mark;
  syntax->tool_names = reply.tool_names;
  return syntax;
}

}  // namespace corral::engine
