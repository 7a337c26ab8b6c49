// A conversation with one model, as `run` and the prompt share it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/client.h"
#include "cli/context.h"

namespace corral::cli {

struct Session : AnswerOptions {
  std::string model;
  std::string parent_model;
  std::string system;
  bool is_think_given = false;  // by the user; else the model's capabilities decide
  bool hide_thinking = false;
  bool has_word_wrap = true;  // on a terminal only
  bool is_verbose = false;
  bool is_multimodal = false;
  std::vector<ChatMessage> loaded_messages;  // the model's own
  std::vector<ChatMessage> messages;         // of this conversation

  // Takes what the model's description says: capabilities, parent, messages.
  void Adopt(const ShowReply& reply);
};

struct StreamedAnswer {
  bool was_stopped = false;  // by Ctrl+C
  std::string text;
  std::string thinking;
  Timings timings;
};

// Writes a streamed answer to stdout as it comes: a spinner until it begins, Ctrl+C ends it. `call`
// makes the request.
Result<StreamedAnswer> StreamAnswer(
    Context& context, const Session& session,
    const std::function<Status(const Client::OnAnswer& on_answer, StopToken stop)>& call);

// Loads the model and waits, with a spinner. Ctrl+C ends the wait with kCancelled.
Status LoadModel(Context& context, const Session& session);

// Columns to wrap at; 0: not at all.
int WrapColumns(const Context& context, const Session& session);

}  // namespace corral::cli
