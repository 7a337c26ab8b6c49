// What llama.cpp's chat code makes of a request: messages, a Jinja template, tools and a schema in;
// a prompt, a grammar and a parser for the answer out. All of it is text.
//
// Pure, but not bounded: a Jinja template may loop for ever, and a schema may explode. So it runs
// in a process of its own (format_processes.h), which a bound on its time and memory ends. Not
// thread-safe: one Formatter, one thread. Sources: llama.cpp common/chat.h,
// common/json-schema-to-grammar.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/job.h"
#include "core/result.h"

namespace corral::engine {

struct FormatRequest {
  enum class Kind : std::uint8_t {
    kTemplate,  // does `jinja` parse?
    kChat,      // render `messages`
    kSchema,    // only the grammar of `schema`
    kTools,     // do the parameters of `tools_json` compile?
  };
  Kind kind = Kind::kChat;
  std::string jinja;
  std::string bos, eos;               // texts of the model's tokens, for the template
  std::vector<ChatMessage> messages;  // images are already placed as marks in the content
  std::string tools_json;             // array of tools; empty: none
  std::optional<Think> think;
  std::string schema;  // JSON Schema of the answer (NormalSchema); empty: free text
  // kSchema, and a prompt that a Go template renders: the marks around the model's thinking, which
  // may come before the answer. Empty: none. `is_thinking`: the prompt ends inside them.
  std::string think_open, think_close;
  bool is_thinking = false;
  // kSchema: what a tool call begins with, if one may come instead of the answer.
  std::string tool_mark;
};

struct FormatReply {
  std::string prompt;
  std::string generation_prompt;  // its end, which begins the answer
  std::vector<std::string> stops;
  std::string grammar;  // GBNF; empty: free text
  bool is_grammar_lazy = false;
  bool begins_with_prompt = false;  // the grammar's text begins with `generation_prompt`
  struct Trigger {
    int type = 0;  // common_grammar_trigger_type
    std::string text;
  };
  std::vector<Trigger> triggers;       // of a lazy grammar
  std::vector<std::string> preserved;  // control tokens that the parser wants to see
  int parser_format = 0;               // common_chat_format
  std::string parser;                  // common_peg_arena, saved; empty: all is text
  std::string answer_parser;           // schema and tools: reads an answer that is no call
  bool is_continuation = false;        // the last message is the beginning of the answer
  bool supports_thinking = false;
  std::string think_open;  // as the template has them; may be empty
  std::vector<std::string> think_closes;
  // Calls in the answer that `parser` does not know: what one begins with, and the tools' names.
  std::string tool_mark;
  std::vector<std::string> tool_names;
};

// `format` of a request as a JSON Schema: "json" and {} are any object.
std::string NormalSchema(std::string_view format_json);

class Formatter {
 public:
  Formatter();
  ~Formatter();

  // Errors: kInvalidArgument (a schema or a tool that does not compile; a template error that the
  // messages caused), kInternal (the template does not parse or fails), kNoMemory.
  Result<FormatReply> Run(const FormatRequest& request);

 private:
  struct Templates;
  const std::unique_ptr<Templates> templates_;
};

}  // namespace corral::engine
