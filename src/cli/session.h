// A conversation with one model, as `run` and the prompt share it.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
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

// Ctrl+C as a StopToken, while it lives. Between two requests it ends nothing, in particular not
// the process.
class InterruptStop {
 public:
  explicit InterruptStop(Console& console);
  // A new token. Ctrl+C stops the newest one.
  StopToken Arm();

 private:
  std::mutex mutex_;
  StopSource source_;                      // guarded by mutex_
  std::unique_ptr<InterruptGuard> guard_;  // last: its thread uses the members above
};

struct StreamedAnswer {
  bool was_stopped = false;
  std::string text;
  std::string thinking;
  Timings timings;
};

// Writes a streamed answer to stdout as it comes, a spinner until it begins. `call` makes the
// request; its kCancelled is an answer that was stopped and no error.
Result<StreamedAnswer> StreamAnswer(Context& context, const Session& session,
                                    const std::function<Status(const Client::OnAnswer&)>& call);

// Loads the model and waits, with a spinner. Errors: the server's; kCancelled once `stop` stops.
Status LoadModel(Context& context, const Session& session, StopToken stop);

// Columns to wrap at; 0: not at all.
int WrapColumns(const Context& context, const Session& session);

}  // namespace corral::cli
