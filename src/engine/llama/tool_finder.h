// Finds tool calls in the text of a model whose prompt a Go template renders, as Ollama's generic
// parser does (its tools/tools.go).
//
// What precedes a call is known from the template (Template::tool_call_tag); a call is the name of
// a tool and the first whole JSON object. Text before the mark is answer. Where we do better: the
// order of the arguments stays, and half a call at the end is text, never lost. One thread, one
// job.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/job.h"

namespace corral::engine {

class ToolFinder {
 public:
  // `mark` is not empty; "{" and "[" count only if the answer begins with them.
  ToolFinder(std::string mark, std::vector<std::string> names);

  // Adds what is certain to `piece`: text and whole calls.
  void Add(std::string_view text, Piece* piece);
  void Finish(Piece* piece);

 private:
  bool IsBare() const { return mark_ == "{" || mark_ == "["; }
  bool FindMark(Piece* piece);
  // Takes one call out of the buffer.
  bool TakeCall(Piece* piece);
  // Behind the last call of a bare mark: what is no call is text again.
  void TakeRest(Piece* piece);

  const std::string mark_;
  const std::vector<std::string> names_;  // longest first
  std::string buffer_;
  bool has_mark_ = false;
  bool is_plain_ = false;  // bare mark, and the answer began otherwise
  int n_calls_ = 0;
};

// "call_" and eight of [a-z0-9], as Ollama names calls that the model did not.
std::string MakeCallId();

// Names of the tools of a request; empty if it is no array of tools.
std::vector<std::string> ToolNames(const std::string& tools_json);

}  // namespace corral::engine
