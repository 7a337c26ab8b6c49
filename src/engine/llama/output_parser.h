// Splits one job's generated text into answer, thinking and tool calls while it streams.
//
// With the parser of a Jinja template: llama.cpp's common reads the text so far, without the middle
// of what is long, and the difference to the last reading goes out; a tool call goes out once it is
// whole. Half a call at the end, or
// output that the parser refuses, is text: nothing is lost. With the marks of a Go template:
// Ollama's generic parsers; the one for calls also behind a Jinja template whose calls common does
// not know. Without: everything is text. One thread: the engine's.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "core/job.h"
#include "engine/llama/prompt_builder.h"

namespace corral::engine {

class OutputParser {
 public:
  explicit OutputParser(std::shared_ptr<const OutputSyntax> syntax);
  ~OutputParser();

  // Text that may be shown (whole code points). Adds what is new to `piece`.
  void Add(std::string_view text, Piece* piece);
  // The end: what was held back.
  void Finish(Piece* piece);

  // What llama.cpp has been made to read: in proportion to the text, however long it gets.
  std::size_t n_parsed_bytes() const;

 private:
  class Reader;
  class TemplateReader;
  class MarkReader;
  class CallReader;
  std::unique_ptr<Reader> reader_;  // null: no syntax
};

}  // namespace corral::engine
