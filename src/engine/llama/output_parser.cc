#include "engine/llama/output_parser.h"

#include <chat.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "engine/llama/output_syntax.h"
#include "engine/llama/tool_finder.h"
#include "engine/think_splitter.h"

namespace corral::engine {
namespace {

bool IsJsonObject(const std::string& text) {
  try {
    return common_json::parse(text).is_object();
  } catch (const std::exception&) {
    return false;
  }
}

void DropLeadingBlanks(std::string& text) {
  text.erase(0, std::min(text.find_first_not_of(" \t\r\n"), text.size()));
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

// nullopt: the parser refuses the text.
std::optional<common_chat_msg> Read(const std::string& text, bool is_partial,
                                    const common_chat_parser_params& parser) {
  try {
    return common_chat_parse(text, is_partial, parser);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

}  // namespace

class OutputParser::Reader {
 public:
  virtual ~Reader() = default;
  virtual void Add(std::string_view text, Piece* piece) = 0;
  virtual void Finish(Piece* piece) = 0;
};

class OutputParser::TemplateReader final : public OutputParser::Reader {
 public:
  explicit TemplateReader(std::shared_ptr<const OutputSyntax> syntax) : syntax_(std::move(syntax)) {
    if (!syntax_->is_continuation) return;
    if (const auto said = Read("", true, *syntax_->parser)) {
      content_ = said->content;
      thinking_ = said->reasoning_content;
    }
  }

  void Add(std::string_view text, Piece* piece) override {
    if (is_plain_) {
      piece->text += text;
      return;
    }
    text_ += text;
    Parse(true, piece);
  }
  void Finish(Piece* piece) override {
    if (!is_plain_ && !text_.empty()) Parse(false, piece);
  }

 private:
  std::optional<common_chat_msg> ReadAll(bool is_partial) const {
    auto message = Read(text_, is_partial, *syntax_->parser);
    if (!syntax_->answer_parser || (message && !message->tool_calls.empty())) return message;
    auto answer = Read(text_, is_partial, *syntax_->answer_parser);
    // While it may still become a call, only what both agree on is certain.
    if (is_partial && message && answer && message->content.empty()) answer->content.clear();
    return answer ? answer : message;
  }

  void Parse(bool is_partial, Piece* piece) {
    auto message = ReadAll(is_partial);
    if (!message) {
      if (is_partial) return;  // more text may mend it
      // Nothing is lost: what has not been sent goes out as text.
      is_plain_ = true;
      piece->text += NotSent(text_, thinking_, content_);
      return;
    }
    // White space behind the marks belongs to them, as in Ollama's own parsers.
    if (!syntax_->is_continuation) {
      DropLeadingBlanks(message->reasoning_content);
      if (!message->reasoning_content.empty()) DropLeadingBlanks(message->content);
    }
    piece->thinking += Grown(thinking_, message->reasoning_content);
    piece->text += Grown(content_, message->content);
    if (message->reasoning_content.starts_with(thinking_)) thinking_ = message->reasoning_content;
    if (message->content.starts_with(content_)) content_ = message->content;

    // The last call may still grow while the text is partial; the ones before it are whole.
    const std::size_t n_whole =
        message->tool_calls.size() - (is_partial && !message->tool_calls.empty() ? 1 : 0);
    for (; n_calls_sent_ < n_whole; ++n_calls_sent_) {
      const common_chat_tool_call& call = message->tool_calls[n_calls_sent_];
      if (call.name.empty() || !IsJsonObject(call.arguments)) {
        // Half a call at the end of the stream: the text as it was written, from where it begins.
        const std::size_t begin = text_.rfind(call.name);
        piece->text += begin == std::string::npos || call.name.empty()
                           ? call.name + call.arguments
                           : text_.substr(CallBegin(begin));
        n_calls_sent_ = n_whole;
        return;
      }
      ToolCall out;
      out.id = call.id.empty() ? MakeCallId() : call.id;
      out.name = call.name;
      out.arguments_json = call.arguments;
      out.index = static_cast<int>(n_calls_sent_);
      piece->tool_calls.push_back(std::move(out));
    }
  }

  // The beginning of the call whose name stands at `name_at`: behind what has been told as text, or
  // where its object opens if other calls have been told.
  std::size_t CallBegin(std::size_t name_at) const {
    if (n_calls_sent_ > 0) return std::min(text_.rfind('{', name_at), name_at);
    const std::size_t sent = text_.size() - NotSent(text_, thinking_, content_).size();
    return std::min(sent, name_at);
  }

  const std::shared_ptr<const OutputSyntax> syntax_;
  std::string text_;      // all of it
  std::string content_;   // sent
  std::string thinking_;  // sent
  std::size_t n_calls_sent_ = 0;
  bool is_plain_ = false;  // the parser refused the text: all that follows is content
};

class OutputParser::MarkReader final : public OutputParser::Reader {
 public:
  explicit MarkReader(const OutputSyntax& syntax) {
    if (!syntax.think_open.empty() && !syntax.think_close.empty())
      splitter_.emplace(syntax.think_open, syntax.think_close, syntax.is_thinking);
  }

  void Add(std::string_view text, Piece* piece) override {
    if (splitter_) {
      Take(splitter_->Add(text), piece);
    } else {
      piece->text += text;
    }
  }
  void Finish(Piece* piece) override {
    if (splitter_) Take(splitter_->Finish(), piece);
  }

 private:
  static void Take(const ThinkSplitter::Parts& parts, Piece* piece) {
    piece->thinking += parts.thinking;
    piece->text += parts.text;
  }

  std::optional<ThinkSplitter> splitter_;
};

// Calls in what another reader takes for the answer.
class OutputParser::CallReader final : public OutputParser::Reader {
 public:
  CallReader(std::unique_ptr<Reader> answers, const OutputSyntax& syntax)
      : answers_(std::move(answers)), finder_(syntax.tool_mark, syntax.tool_names) {}

  void Add(std::string_view text, Piece* piece) override {
    Piece read;
    answers_->Add(text, &read);
    Take(read, piece);
  }
  void Finish(Piece* piece) override {
    Piece read;
    answers_->Finish(&read);
    Take(read, piece);
    finder_.Finish(piece);
  }

 private:
  void Take(const Piece& read, Piece* piece) {
    piece->thinking += read.thinking;
    piece->tool_calls.insert(piece->tool_calls.end(), read.tool_calls.begin(),
                             read.tool_calls.end());
    if (!read.text.empty()) finder_.Add(read.text, piece);
  }

  const std::unique_ptr<Reader> answers_;
  ToolFinder finder_;
};

OutputParser::OutputParser(std::shared_ptr<const OutputSyntax> syntax) {
  if (!syntax) return;
  if (syntax->parser) {
    reader_ = std::make_unique<TemplateReader>(syntax);
  } else {
    reader_ = std::make_unique<MarkReader>(*syntax);
  }
  if (!syntax->tool_mark.empty())
    reader_ = std::make_unique<CallReader>(std::move(reader_), *syntax);
}

OutputParser::~OutputParser() = default;

void OutputParser::Add(std::string_view text, Piece* piece) {
  if (!reader_) {
    piece->text += text;
  } else if (!text.empty()) {
    reader_->Add(text, piece);
  }
}

void OutputParser::Finish(Piece* piece) {
  if (reader_) reader_->Finish(piece);
}

}  // namespace corral::engine
