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

// Follows a JSON object or array to its end.
class JsonScanner {
 public:
  // How much of `text`, which goes on where the last one ended, belongs to it.
  std::size_t Take(std::string_view text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      if (is_escaped_) {
        is_escaped_ = false;
      } else if (is_in_string_) {
        is_escaped_ = c == '\\';
        is_in_string_ = c != '"';
      } else if (c == '"') {
        is_in_string_ = true;
      } else if (c == '{' || c == '[') {
        ++depth_;
      } else if ((c == '}' || c == ']') && --depth_ == 0) {
        return i + 1;
      }
    }
    return text.size();
  }
  bool is_open() const { return depth_ > 0; }

 private:
  int depth_ = 0;
  bool is_in_string_ = false, is_escaped_ = false;
};

// The first character boundary in `text` at or behind `at`.
std::size_t Boundary(const std::string& text, std::size_t at) {
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U) ++at;
  return at;
}

}  // namespace

class OutputParser::Reader {
 public:
  virtual ~Reader() = default;
  virtual void Add(std::string_view text, Piece* piece) = 0;
  virtual void Finish(Piece* piece) = 0;
  virtual std::size_t n_parsed_bytes() const { return 0; }
};

// llama.cpp's parser knows no stream: it reads a text from its beginning. So that a token does not
// cost the whole answer each time, the text that it sees is kept short: the middle of a long run of
// thinking or content is left out once the parser has been seen to make the same of the rest. Where
// it cannot be (calls, and what the parser refuses or waits with: nothing streams there) it is
// asked each time the text has grown by a sixteenth, and JSON that answers a schema passes by until
// it closes.
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
    if (json_.is_open()) {
      const std::string_view inside = text.substr(0, json_.Take(text));
      piece->text += inside;
      content_ += inside;
      if (json_.is_open()) return;
    }
    if (text_.size() >= parse_at_) Parse(true, piece);
  }
  void Finish(Piece* piece) override {
    if (!is_plain_ && !text_.empty()) Parse(false, piece);
  }
  std::size_t n_parsed_bytes() const override { return n_parsed_bytes_; }

 private:
  static constexpr std::size_t kShortText = 1024;          // asked about at each token
  static constexpr std::size_t kLongText = 4096;           // to be shortened
  static constexpr std::size_t kHead = 256, kTail = 1024;  // of a run, which stay
  static constexpr std::size_t kMost = 256;  // behind a run that still goes on: half a mark

  std::optional<common_chat_msg> ReadAll(const std::string& text, bool is_partial) {
    std::optional<common_chat_msg> message = ReadWith(*syntax_->parser, text, is_partial);
    if (syntax_->answer_parser && (!message || message->tool_calls.empty())) {
      auto answer = ReadWith(*syntax_->answer_parser, text, is_partial);
      // While it may still become a call, only what both agree on is certain.
      if (is_partial && message && answer && message->content.empty()) answer->content.clear();
      if (answer) message = std::move(answer);
    }
    // White space behind the marks belongs to them, as in Ollama's own parsers.
    if (message && !syntax_->is_continuation) {
      DropLeadingBlanks(message->reasoning_content);
      if (!message->reasoning_content.empty()) DropLeadingBlanks(message->content);
    }
    return message;
  }
  std::optional<common_chat_msg> ReadWith(const common_chat_parser_params& parser,
                                          const std::string& text, bool is_partial) {
    n_parsed_bytes_ += text.size();
    return Read(text, is_partial, parser);
  }

  void AskLater() { parse_at_ = text_.size() < kShortText ? 0 : text_.size() + text_.size() / 16; }

  // Behind a reading of all text so far.
  void Prepare(bool has_calls, bool has_grown) {
    if (has_grown) grown_at_ = text_.size();
    if (has_calls || text_.size() > grown_at_ + kMost) {
      AskLater();
      return;
    }
    parse_at_ = 0;
    if (syntax_->begins_with_prompt && !content_.empty() &&
        (content_[0] == '{' || content_[0] == '[') && text_.ends_with(content_)) {
      json_ = {};
      json_.Take(content_);
      if (json_.is_open()) return;
    }
    if (text_.size() < shorten_at_) return;
    if (!Shorten(&content_)) Shorten(&thinking_);
    shorten_at_ = std::max(kLongText, 2 * text_.size());
    grown_at_ = text_.size();
  }

  // Leaves the middle of a run out, which `sent` and the text both end with. False: it did not, and
  // nothing is changed.
  bool Shorten(std::string* sent) {
    if (sent->size() < kHead + 2 * kTail) return false;
    const std::string_view end_of_run = std::string_view(*sent).substr(sent->size() - kMost);
    const std::size_t at = text_.rfind(end_of_run);
    if (at == std::string::npos) return false;
    const std::size_t end = at + kMost;
    if (text_.size() - end > kMost) return false;
    std::size_t n_run = kMost;
    while (n_run < std::min(end, sent->size()) &&
           text_[end - n_run - 1] == (*sent)[sent->size() - n_run - 1])
      ++n_run;
    if (n_run < kHead + 2 * kTail) return false;
    const std::size_t from = Boundary(text_, end - n_run + kHead);
    const std::size_t n_cut = Boundary(text_, end - kTail) - from;
    std::string text = text_;
    text.erase(from, n_cut);
    std::string rest = *sent;
    rest.erase(sent->size() - (end - from), n_cut);
    const auto message = ReadAll(text, true);
    const bool is_content = sent == &content_;
    if (!message || !message->tool_calls.empty() ||
        message->content != (is_content ? rest : content_) ||
        message->reasoning_content != (is_content ? thinking_ : rest))
      return false;
    text_ = std::move(text);
    *sent = std::move(rest);
    return true;
  }

  void Parse(bool is_partial, Piece* piece) {
    const auto message = ReadAll(text_, is_partial);
    if (!message) {
      if (is_partial) {
        AskLater();  // more text may mend it
        return;
      }
      // Nothing is lost: what has not been sent goes out as text.
      is_plain_ = true;
      piece->text += NotSent(text_, thinking_, content_);
      return;
    }
    const std::string thinking = Grown(thinking_, message->reasoning_content);
    const std::string content = Grown(content_, message->content);
    piece->thinking += thinking;
    piece->text += content;
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
    if (is_partial) Prepare(!message->tool_calls.empty(), !thinking.empty() || !content.empty());
  }

  // The beginning of the call whose name stands at `name_at`: behind what has been told as text, or
  // where its object opens if other calls have been told.
  std::size_t CallBegin(std::size_t name_at) const {
    if (n_calls_sent_ > 0) return std::min(text_.rfind('{', name_at), name_at);
    const std::size_t sent = text_.size() - NotSent(text_, thinking_, content_).size();
    return std::min(sent, name_at);
  }

  const std::shared_ptr<const OutputSyntax> syntax_;
  // All of it, and what was sent of it, but for what Shorten left out.
  std::string text_, content_, thinking_;
  std::size_t n_calls_sent_ = 0;
  std::size_t parse_at_ = 0;            // bytes of text_
  std::size_t grown_at_ = 0;            // bytes of text_ when something went out last
  std::size_t shorten_at_ = kLongText;  // bytes of text_
  JsonScanner json_;                    // open: content_ ends inside of it, as text_ does
  std::size_t n_parsed_bytes_ = 0;
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
  std::size_t n_parsed_bytes() const override { return answers_->n_parsed_bytes(); }

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

std::size_t OutputParser::n_parsed_bytes() const { return reader_ ? reader_->n_parsed_bytes() : 0; }

}  // namespace corral::engine
