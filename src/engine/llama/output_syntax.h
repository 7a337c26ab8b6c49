// What output_parser.cc needs of a rendered chat template. Inside `engine/llama` only.
#pragma once

#include <chat.h>

namespace corral::engine {

struct OutputSyntax {
  common_chat_parser_params parser;              // of llama.cpp's common
  std::vector<common_grammar_trigger> triggers;  // of a lazy grammar
  std::vector<std::string> preserved;            // control tokens that the parser wants to see
  std::string generation_prompt;
};

}  // namespace corral::engine
