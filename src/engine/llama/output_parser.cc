#include "engine/llama/output_parser.h"

#include <chat.h>

#include <random>
#include <utility>

#include "engine/llama/output_syntax.h"

namespace corral::engine {
namespace {

// "call_" and eight of [a-z0-9], as Ollama's built-in parsers name calls.
std::string MakeCallId() {
  static constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
  static thread_local std::mt19937_64 random{std::random_device{}()};
  std::string id = "call_";
  for (int i = 0; i < 8; ++i)
    id += kAlphabet[std::uniform_int_distribution<std::size_t>(0, kAlphabet.size() - 1)(random)];
  return id;
}

bool IsJsonObject(const std::string& text) {
  try {
    return common_json::parse(text).is_object();
  } catch (const std::exception&) {
    return false;
  }
}

// What `now` has beyond `before`; empty if it took something back.
std::string Grown(const std::string& before, const std::string& now) {
  return now.starts_with(before) ? now.substr(before.size()) : std::string();
}

// The part of `text` behind what was sent of it, as far as that can be found again.
std::string NotSent(const std::string& text, const std::string& thinking,
                    const std::string& content) {
  std::size_t end = 0;
  for (const std::string* sent : {&thinking, &content}) {
    if (sent->empty()) continue;
    const std::size_t at = text.find(*sent, end);
    if (at != std::string::npos) end = at + sent->size();
  }
  return text.substr(end);
}

}  // namespace

struct OutputParser::State {
  std::shared_ptr<const OutputSyntax> syntax;
  std::string text;      // all of it
  std::string content;   // sent
  std::string thinking;  // sent
  std::size_t n_calls_sent = 0;
  bool is_plain = false;  // the parser refused the text: all that follows is content
};

OutputParser::OutputParser(std::shared_ptr<const OutputSyntax> syntax) {
  if (!syntax) return;
  state_ = std::make_unique<State>();
  state_->syntax = std::move(syntax);
}

OutputParser::~OutputParser() = default;

void OutputParser::Add(std::string_view text, Piece* piece) {
  if (!state_ || state_->is_plain) {
    piece->text += text;
    return;
  }
  if (text.empty()) return;
  state_->text += text;
  Parse(true, piece);
}

void OutputParser::Finish(Piece* piece) {
  if (state_ && !state_->is_plain && !state_->text.empty()) Parse(false, piece);
}

void OutputParser::Parse(bool is_partial, Piece* piece) {
  State& state = *state_;
  common_chat_msg message;
  try {
    message = common_chat_parse(state.text, is_partial, state.syntax->parser);
  } catch (const std::exception&) {
    if (is_partial) return;  // more text may mend it
    // Nothing is lost: what has not been sent goes out as text.
    state.is_plain = true;
    piece->text += NotSent(state.text, state.thinking, state.content);
    return;
  }
  piece->thinking += Grown(state.thinking, message.reasoning_content);
  piece->text += Grown(state.content, message.content);
  if (message.reasoning_content.starts_with(state.thinking))
    state.thinking = message.reasoning_content;
  if (message.content.starts_with(state.content)) state.content = message.content;

  // The last call may still grow while the text is partial; the ones before it are whole.
  const std::size_t n_whole =
      message.tool_calls.size() - (is_partial && !message.tool_calls.empty() ? 1 : 0);
  for (; state.n_calls_sent < n_whole; ++state.n_calls_sent) {
    const common_chat_tool_call& call = message.tool_calls[state.n_calls_sent];
    if (call.name.empty() || !IsJsonObject(call.arguments)) {
      piece->text += call.name + call.arguments;  // half a call at the end of the stream
      continue;
    }
    ToolCall out;
    out.id = call.id.empty() ? MakeCallId() : call.id;
    out.name = call.name;
    out.arguments_json = call.arguments;
    out.index = static_cast<int>(state.n_calls_sent);
    piece->tool_calls.push_back(std::move(out));
  }
}

}  // namespace corral::engine
