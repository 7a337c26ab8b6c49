// How the answer of a prompt is read, and what its grammar needs to know of it. Inside
// `engine/llama` only.
#pragma once

#include <chat.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "engine/llama/chat_format.h"

namespace corral::engine {

struct OutputSyntax {
  // By llama.cpp's common: the parser of the model's Jinja template.
  std::optional<common_chat_parser_params> parser;
  // A schema and tools: reads an answer that holds no call.
  std::optional<common_chat_parser_params> answer_parser;
  bool is_continuation = false;  // what the parser sees in no text at all has been said before

  // Else by the marks of a Go template (Ollama's generic parsers). Empty: not looked for.
  std::string think_open, think_close;
  bool is_thinking = false;  // the prompt ends inside them
  // Behind either: what a call begins with that `parser` does not know. Empty: not looked for.
  std::string tool_mark;
  std::vector<std::string> tool_names;

  // For the grammar.
  std::vector<common_grammar_trigger> triggers;  // of a lazy one
  bool begins_with_prompt = false;
  std::string generation_prompt;
  std::vector<std::string> think_opens, think_closes;  // tags between which a lazy one rests

  std::vector<std::string> preserved;  // control tokens that the parser wants to see
};

// Of a Jinja template. Errors: kInternal (the parser in it is none).
Result<std::shared_ptr<OutputSyntax>> MakeSyntax(const FormatReply& reply);

}  // namespace corral::engine
