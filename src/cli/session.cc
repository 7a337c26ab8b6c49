#include "cli/session.h"

#include <utility>

#include "cli/answer.h"
#include "cli/progress.h"

namespace corral::cli {

void Session::Adopt(const ShowReply& reply) {
  parent_model = reply.parent_model;
  loaded_messages = reply.messages;
  is_multimodal = reply.Can("vision") || reply.Can("audio") || reply.projector_info.has_value();
  if (reply.model_info) {
    for (const auto& [key, value] : *reply.model_info)
      if (key.find(".vision.") != std::string::npos) is_multimodal = true;
  }
  if (!is_think_given) {
    think.reset();
    if (reply.Can("thinking")) think = Think{true, ""};
  }
}

int WrapColumns(const Context& context, const Session& session) {
  if (!session.has_word_wrap || !context.console.IsTerminal(Stream::kOutput)) return 0;
  return context.console.Size(Stream::kOutput).value_or(ScreenSize{}).columns;
}

InterruptStop::InterruptStop(Console& console)
    : guard_(console.OnInterrupt([this] {
        const std::lock_guard lock(mutex_);
        source_.RequestStop(StopReason::kUser);
      })) {}

StopToken InterruptStop::Arm() {
  const std::lock_guard lock(mutex_);
  source_ = StopSource();
  return source_.token();
}

Result<StreamedAnswer> StreamAnswer(Context& context, const Session& session,
                                    const std::function<Status(const Client::OnAnswer&)>& call) {
  Console& console = context.console;
  AnswerWriter writer({.wrap_columns = WrapColumns(context, session),
                       .hide_thinking = session.hide_thinking,
                       .is_plain = !console.IsTerminal(Stream::kOutput)});
  StreamedAnswer answer;
  Progress progress(console);
  progress.Status("");
  const auto on_answer = [&](const AnswerRecord& record) {
    const std::string out = writer.Add(record);
    if (!out.empty()) {
      progress.Clear();
      console.Out(out);
    }
    if (record.is_done) answer.timings = record.timings;
  };
  const Status status = call(on_answer);
  progress.Clear();
  console.Out(writer.End());
  answer.text = writer.text();
  answer.thinking = writer.thinking();
  answer.was_stopped = !status && status.error().code == Code::kCancelled;
  if (!status && !answer.was_stopped) return Fail(status.error());
  return answer;
}

Status LoadModel(Context& context, const Session& session, StopToken stop) {
  GenerateRequest request;
  request.model = session.model;
  request.keep_alive = session.keep_alive;
  request.options = session.options;
  request.think = session.think;
  Progress progress(context.console);
  progress.Status("");
  const Status status = context.client.Generate(
      request, [](const AnswerRecord&) {}, std::move(stop));
  progress.Clear();
  return status;
}

}  // namespace corral::cli
