// `run`: one question from the words and standard input, or the prompt.
#include <algorithm>
#include <array>
#include <utility>

#include "cli/attachments.h"
#include "cli/context.h"
#include "cli/repl.h"
#include "cli/session.h"
#include "cli/tables.h"
#include "core/text.h"

namespace corral::cli {
namespace {

Result<Think> ParseThink(const std::string& text) {
  if (text == "true" || text == "false") return Think{text == "true", ""};
  constexpr std::array<std::string_view, 4> kLevels = {"high", "medium", "low", "max"};
  if (std::find(kLevels.begin(), kLevels.end(), text) != kLevels.end()) return Think{true, text};
  return Fail(Code::kInvalidArgument, "invalid value for --think: " + GoQuote(text) +
                                          " (must be true, false, high, medium, low, or max)");
}

Result<Session> ToSession(const Invocation& invocation) {
  Session session;
  session.model = invocation.arguments[0];
  session.format = invocation.Text("format");
  session.hide_thinking = invocation.Bool("hidethinking");
  session.has_word_wrap = !invocation.Bool("nowordwrap");
  session.is_verbose = invocation.Bool("verbose");
  if (invocation.IsGiven("think")) {
    CORRAL_TRY(session.think, ParseThink(invocation.Text("think")));
    session.is_think_given = true;
  }
  if (const std::string keep_alive = invocation.Text("keepalive"); !keep_alive.empty()) {
    CORRAL_TRY(session.keep_alive, ParseGoDuration(keep_alive));
  }
  return session;
}

// Shows the model; pulls it first if the server does not have it.
Result<ShowReply> FindModel(Context& context, const std::string& model, bool is_insecure) {
  Result<ShowReply> reply = context.client.Show(model, false);
  if (reply || reply.error().code != Code::kNotFound) return reply;
  CORRAL_TRY_STATUS(PullModel(context, model, is_insecure));
  return context.client.Show(model, false);
}

Status RunEmbedding(Context& context, const Session& session, const Invocation& invocation,
                    const std::string& prompt) {
  if (prompt.empty())
    return Fail(Code::kInvalidArgument, "embedding models require input text. Usage: ollama run " +
                                            session.model + " \"your text here\"");
  EmbedRequest request;
  request.model = session.model;
  request.input = prompt;
  request.keep_alive = session.keep_alive;
  request.dimensions = invocation.Int("dimensions");
  if (invocation.IsGiven("truncate")) request.truncate = invocation.Bool("truncate");
  CORRAL_TRY(const std::string vector, context.client.Embed(request));
  context.console.Out(vector + "\n");
  return {};
}

Status RunOnce(Context& context, const Session& session, std::string prompt) {
  GenerateRequest request;
  static_cast<AnswerOptions&>(request) = session;
  request.model = session.model;
  if (session.is_multimodal) {
    CORRAL_TRY(Attachments taken, TakeAttachments(prompt));
    for (const std::string& note : taken.notes) context.console.Err(note + "\n");
    prompt = std::move(taken.text);
    request.images = std::move(taken.files);
  }
  request.prompt = prompt;
  InterruptStop interrupts(context.console);
  const StopToken stop = interrupts.Arm();
  CORRAL_TRY(const StreamedAnswer answer,
             StreamAnswer(context, session, [&](const Client::OnAnswer& on_answer) {
               return context.client.Generate(request, on_answer, stop);
             }));
  if (answer.was_stopped) return {};
  if (!prompt.empty()) context.console.Out("\n\n");
  if (session.is_verbose) context.console.Err(TimingsText(answer.timings));
  return {};
}

}  // namespace

Status RunRun(Context& context, const Invocation& invocation) {
  CORRAL_TRY(Session session, ToSession(invocation));
  std::vector<std::string> words(invocation.arguments.begin() + 1, invocation.arguments.end());
  bool is_interactive = words.empty() && context.console.IsTerminal(Stream::kOutput);
  if (!context.console.IsTerminal(Stream::kInput)) {
    CORRAL_TRY(std::string piped, context.console.ReadAll());
    if (!piped.empty()) words.insert(words.begin(), std::move(piped));
    is_interactive = false;
  }
  std::string prompt;
  for (std::size_t i = 0; i < words.size(); ++i) prompt += (i > 0 ? " " : "") + words[i];

  CORRAL_TRY(const ShowReply reply, FindModel(context, session.model, invocation.Bool("insecure")));
  session.Adopt(reply);
  if (reply.Can("image"))
    return Fail(Code::kInvalidArgument, "image generation models are not currently supported");
  const bool is_embedding = reply.Can("embedding") && !reply.Can("completion");
  if (is_embedding) return RunEmbedding(context, session, invocation, prompt);
  if (!is_interactive) return RunOnce(context, session, std::move(prompt));
  return Repl(context, std::move(session)).Run();
}

}  // namespace corral::cli
