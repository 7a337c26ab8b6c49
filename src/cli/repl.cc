#include "cli/repl.h"

#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "cli/answer.h"
#include "cli/attachments.h"
#include "cli/repl_help.h"
#include "cli/tables.h"
#include "core/text.h"

namespace corral::cli {
namespace {

constexpr std::string_view kPasteOn = "\x1b[?2004h";
constexpr std::string_view kPasteOff = "\x1b[?2004l";
constexpr std::string_view kQuotes = "\"\"\"";

std::filesystem::path HistoryFile(const Context& context) {
  const std::string home = context.environment("HOME").value_or("");
  if (home.empty() || context.settings.no_history) return {};
  return std::filesystem::path(home) / ".ollama" / "history";
}

std::vector<std::string> ToWords(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : line) {
    if (c != ' ' && c != '\t') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

std::string Joined(const std::vector<std::string>& words, std::size_t first,
                   std::string_view between) {
  std::string out;
  for (std::size_t i = first; i < words.size(); ++i) {
    if (i > first) out += between;
    out += words[i];
  }
  return out;
}

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

Repl::Repl(Context& context, Session session)
    : context_(context),
      session_(std::move(session)),
      history_(context.files, HistoryFile(context)),
      editor_(EditorPrompts{}),
      interrupts_(context.console),
      stop_(interrupts_.Arm()) {}

void Repl::Say(std::string_view line) { Print(std::string(line) + "\n"); }

Status Repl::Run() {
  if (const Status loaded = LoadModel(context_, session_, stop_); !loaded) {
    if (loaded.error().code == Code::kCancelled) return {};
    return loaded;
  }
  ShowLoadedMessages();
  if (const Status status = history_.Load(); !status)
    context_.console.Err("warning: history: " + status.error().message + "\n");
  Print(kPasteOn);
  Status status;
  for (bool is_over = false; !is_over;) {
    std::string entry;
    const Input input = ReadEntry(&entry);
    if (input == Input::kEnd) {
      Say("");
      break;
    }
    if (input == Input::kInterrupt) {
      Say("\nUse Ctrl + d or /bye to exit.");
      block_ = Block::kNone;
      block_text_.clear();
      continue;
    }
    status = OnEntry(entry, &is_over);
    if (!status) break;
  }
  Print(kPasteOff);
  return status;
}

void Repl::ShowLoadedMessages() {
  for (const ChatMessage& message : session_.loaded_messages) {
    if (message.role == "user") Say(">>> " + message.content);
    if (message.role == "assistant")
      Say(WordWrap(WrapColumns(context_, session_)).Add(message.content) + "\n");
  }
}

// ---- input ----

Repl::Input Repl::ReadEntry(std::string* entry) {
  Console& console = context_.console;
  const auto columns = [&console] {
    return console.Size(Stream::kOutput).value_or(ScreenSize{}).columns;
  };
  std::string prefill;
  for (;;) {  // until there is an entry; once more after the external editor
    if (!console.SetRaw(true)) return Input::kEnd;
    Print(editor_.Start(history_.entries(), columns(), block_ != Block::kNone, prefill));
    std::string keys;  // those typed ahead are in the editor already
    for (;;) {
      std::string screen;
      const LineEditor::Event event = editor_.Feed(keys, &screen);
      Print(screen);
      if (event == LineEditor::Event::kNone) {
        std::optional<std::string> more = console.ReadKeys();
        if (!more) {
          static_cast<void>(console.SetRaw(false));
          return Input::kEnd;
        }
        keys = std::move(*more);
        editor_.SetColumns(columns());
        continue;
      }
      keys.clear();
      stop_ = interrupts_.Arm();  // from here on Ctrl+C is a signal
      static_cast<void>(console.SetRaw(false));
      if (event == LineEditor::Event::kSuspend) {
        console.Suspend();
        if (!console.SetRaw(true)) return Input::kEnd;
        Print(editor_.Redraw());
        continue;
      }
      if (event == LineEditor::Event::kInterrupt) return Input::kInterrupt;
      if (event == LineEditor::Event::kEndOfInput) return Input::kEnd;
      *entry = editor_.entry();
      Say("");
      if (event == LineEditor::Event::kOpenEditor) break;
      if (!TrimSpace(*entry).empty()) {
        if (const Status status = history_.Add(*entry); !status)
          context_.console.Err("warning: history: " + status.error().message + "\n");
      }
      return Input::kEntry;
    }
    prefill = EditElsewhere(*entry);
  }
}

std::string Repl::EditElsewhere(const std::string& text) {
  const auto variable = [this](std::string_view name) {
    return context_.environment(name).value_or("");
  };
  std::string editor = context_.settings.editor;
  if (editor.empty()) editor = variable("VISUAL");
  if (editor.empty()) editor = variable("EDITOR");
  if (editor.empty()) editor = "vi";

  std::error_code error;
  constexpr int kSuffixLength = 4;  // ".txt"
  std::string path =
      (std::filesystem::temp_directory_path(error) / "ollama-prompt-XXXXXX.txt").string();
  const UniqueFd file(mkstemps(path.data(), kSuffixLength));
  const auto fail = [this](const std::string& message) {
    context_.console.Err("error: " + message + "\n");
  };
  if (!file.is_valid()) {
    fail(ErrnoError(errno, "create " + path).message);
    return text;
  }
  std::ofstream(path) << text;
  std::vector<std::string> words = ToWords(editor);
  words.push_back(path);
  const Status status = context_.console.RunProgram(words);
  std::ifstream edited(path, std::ios::binary);
  std::string result{std::istreambuf_iterator<char>(edited), std::istreambuf_iterator<char>()};
  std::filesystem::remove(path, error);
  if (!status) {
    const bool is_missing = status.error().code == Code::kNotFound;
    fail(is_missing ? "editor " + GoQuote(words[0]) +
                          " not found, set OLLAMA_EDITOR to the path of your preferred editor"
                    : status.error().message);
    return text;
  }
  while (result.ends_with('\n') || result.ends_with('\r')) result.pop_back();
  return result;
}

// ---- entries ----

Status Repl::OnEntry(const std::string& entry, bool* is_over) {
  if (block_ != Block::kNone || entry.starts_with(kQuotes)) return OnBlockLine(entry);
  const bool is_single_line = !Contains(entry, "\n");
  if (is_single_line && entry.starts_with('/')) return OnCommand(entry, ToWords(entry), is_over);
  if (TrimSpace(entry).empty()) return {};
  return Ask(entry);
}

Status Repl::OnBlockLine(std::string_view line) {
  if (block_ == Block::kNone) {
    block_ = Block::kQuestion;
    line.remove_prefix(kQuotes.size());
  }
  const bool is_closed = line.ends_with(kQuotes);
  if (is_closed) line.remove_suffix(kQuotes.size());
  block_text_ += line;
  if (!is_closed) {
    block_text_ += "\n";
    return {};
  }
  const Block closed = std::exchange(block_, Block::kNone);
  std::string text = std::exchange(block_text_, {});
  if (closed == Block::kQuestion) return text.empty() ? Status() : Ask(text);
  SetSystem(std::move(text));
  Say("Set system message.");
  return {};
}

Status Repl::Ask(const std::string& question) {
  ChatMessage message;
  message.role = "user";
  message.content = question;
  if (session_.is_multimodal) {
    Result<Attachments> taken = TakeAttachments(question);
    if (!taken) {
      Say("Couldn't process file: " + GoQuote(taken.error().message));
      return Fail(taken.error());
    }
    for (const std::string& note : taken->notes) context_.console.Err(note + "\n");
    message.content = std::move(taken->text);
    message.images = std::move(taken->files);
  }
  session_.messages.push_back(std::move(message));
  ChatRequest request;
  static_cast<AnswerOptions&>(request) = session_;
  request.model = session_.model;
  request.messages = session_.messages;
  const Result<StreamedAnswer> answer =
      StreamAnswer(context_, session_, [&](const Client::OnAnswer& on_answer) {
        return context_.client.Chat(request, on_answer, stop_);
      });
  if (!answer) {
    const std::string& text = answer.error().message;
    if (Contains(text, "does not support thinking") || Contains(text, "invalid think value")) {
      session_.messages.pop_back();
      Say("error: " + text);
      return {};
    }
    if (Contains(text, "upstream error")) {
      Say("An error occurred while processing your message. Please try again.\n");
      return {};
    }
    return Fail(answer.error());
  }
  Print("\n\n");
  if (answer->was_stopped) return {};  // the question stays
  ChatMessage reply;
  reply.role = "assistant";
  reply.content = answer->text;
  reply.thinking = answer->thinking;
  session_.messages.push_back(std::move(reply));
  if (session_.is_verbose) context_.console.Err(TimingsText(answer->timings));
  return {};
}

// ---- commands ----

Status Repl::OnCommand(const std::string& line, const Words& words, bool* is_over) {
  const std::string& command = words[0];
  if (command == "/bye" || command == "/exit") {
    *is_over = true;
    return {};
  }
  if (command == "/set") return OnSet(line, words);
  if (command == "/show") return OnShow(words);
  if (command == "/load") return OnLoad(words);
  if (command == "/save") return OnSave(words);
  if (command == "/help" || command == "/?") {
    OnHelp(words);
    return {};
  }
  if (command == "/list") {
    CORRAL_TRY(const std::vector<ListedModel> models, context_.client.List());
    Print(ListTable(models, words.size() > 1 ? words[1] : "", context_.now()));
    return {};
  }
  if (command == "/clear") {
    session_.messages.clear();
    if (!session_.system.empty()) SetSystem(session_.system);
    Say("Cleared session context");
    return {};
  }
  if (session_.is_multimodal) {
    for (const std::string& path : FindPaths(line))
      if (path.starts_with(command)) return Ask(line);
  }
  Say("Unknown command '" + command + "'. Type /? for help");
  return {};
}

void Repl::OnHelp(const Words& words) {
  Console& console = context_.console;
  const std::string topic = words.size() > 1 ? words[1] : "";
  if (topic.empty()) console.Err(PromptHelp(session_.is_multimodal));
  if (topic == "set" || topic == "/set") console.Err(kSetHelp);
  if (topic == "show" || topic == "/show") console.Err(kShowHelp);
  if (topic == "shortcut" || topic == "shortcuts") console.Err(kShortcutHelp);
}

Status Repl::OnSet(const std::string& line, const Words& words) {
  const std::string name = words.size() > 1 ? words[1] : "";
  const std::string value = words.size() > 2 ? words[2] : "";
  if (name.empty() || (name == "system" && value.empty())) {
    context_.console.Err(kSetHelp);
  } else if (name == "history" || name == "nohistory") {
    history_.SetSaving(name == "history");
  } else if (name == "wordwrap" || name == "nowordwrap") {
    session_.has_word_wrap = name == "wordwrap";
    Say("Set '" + name + "' mode.");
  } else if (name == "verbose" || name == "quiet") {
    session_.is_verbose = name == "verbose";
    Say("Set '" + name + "' mode.");
  } else if (name == "think" || name == "nothink") {
    return OnSetThink(name == "think", name == "think" ? value : "");
  } else if (name == "format" && value == "json") {
    session_.format = value;
    Say("Set format to 'json' mode.");
  } else if (name == "format") {
    Say("Invalid or missing format. For 'json' mode use '/set format json'");
  } else if (name == "noformat") {
    session_.format.clear();
    Say("Disabled format.");
  } else if (name == "parameter") {
    OnSetParameter(words);
  } else if (name == "system") {
    // What follows the word, as it was typed.
    const std::size_t after = line.find("system") + std::string_view("system").size();
    OnSetSystem(TrimSpace(std::string_view(line).substr(after)));
  } else {
    Say("Unknown command '/set " + name + "'. Type /? for help");
  }
  return {};
}

Status Repl::OnSetThink(bool is_on, const std::string& level) {
  session_.think = Think{is_on, level};
  session_.is_think_given = true;
  const Result<ShowReply> reply = context_.client.Show(session_.model, false);
  if (reply && !reply->Can("thinking"))
    context_.console.Err("warning: model " + GoQuote(session_.model) +
                         " does not support thinking output\n");
  const std::string mode = is_on ? "Set 'think' mode" : "Set 'nothink' mode";
  Say(level.empty() ? mode + "." : mode + " to '" + level + "'.");
  return {};
}

void Repl::OnSetParameter(const Words& words) {
  if (words.size() < 4) {
    context_.console.Err(kParameterHelp);
    return;
  }
  const std::string& name = words[2];
  const std::vector<std::string> values(words.begin() + 3, words.end());
  std::vector<std::string> warnings;
  const auto parsed = modelfile::FormatParameters({{name, values}}, &warnings);
  if (!parsed) {
    Say("Couldn't set parameter: " + GoQuote(parsed.error().message));
    return;
  }
  for (const std::string& warning : warnings) context_.console.Err(warning + "\n");
  if (parsed->empty()) return;
  std::erase_if(session_.options,
                [&](const modelfile::Parameter& old) { return old.name == name; });
  session_.options.push_back(parsed->front());
  Say("Set parameter '" + name + "' to '" + Joined(values, 0, ", ") + "'");
}

void Repl::OnSetSystem(std::string_view text) {
  if (!text.starts_with(kQuotes)) {
    SetSystem(std::string(text));
    Say("Set system message.");
    return;
  }
  text.remove_prefix(kQuotes.size());
  block_ = Block::kSystem;
  static_cast<void>(OnBlockLine(text));
}

void Repl::SetSystem(std::string text) {
  session_.system = text;
  ChatMessage message;
  message.role = "system";
  message.content = std::move(text);
  std::vector<ChatMessage>& messages = session_.messages;
  if (!messages.empty() && messages.back().role == "system") {
    messages.back() = std::move(message);
  } else {
    messages.push_back(std::move(message));
  }
}

Status Repl::OnLoad(const Words& words) {
  if (words.size() != 2) {
    Say("Usage:\n  /load <modelname>");
    return {};
  }
  Session next = session_;
  next.model = words[1];
  next.messages.clear();
  Say("Loading model '" + next.model + "'");
  Result<ShowReply> reply = context_.client.Show(next.model, false);
  Status status = reply ? Status() : Fail(reply.error());
  if (reply) {
    next.Adopt(*reply);
    status = LoadModel(context_, next, stop_);
  }
  if (status) {
    session_ = std::move(next);
    return {};
  }
  const std::string& text = status.error().message;
  if (status.error().code == Code::kCancelled) return {};
  if (status.error().code == Code::kNotFound || Contains(text, "not found")) {
    Say("Couldn't find model '" + next.model + "'");
    return {};
  }
  if (Contains(text, "does not support thinking")) {
    Say("error: " + text);
    return {};
  }
  return status;
}

Status Repl::OnSave(const Words& words) {
  if (words.size() != 2) {
    Say("Usage:\n  /save <modelname>");
    return {};
  }
  CreateRequest request;
  request.model = words[1];
  // The parent may be gone, or never have been a model: the name of a file that it was made from.
  const bool has_parent =
      !session_.parent_model.empty() && context_.client.Show(session_.parent_model, false);
  request.from = has_parent ? session_.parent_model : session_.model;
  request.system = session_.system;
  request.parameters = session_.options;
  for (const ChatMessage& message : session_.messages)
    if (message.role != "system")
      request.messages.push_back(message);  // the system text has its own place
  if (!request.messages.empty())
    request.messages.insert(request.messages.begin(), session_.loaded_messages.begin(),
                            session_.loaded_messages.end());
  const Status status = context_.client.Create(request, [](const ProgressRecord&) {});
  if (!status && Contains(status.error().message, "invalid model name")) {
    Say("error: The model name '" + request.model + "' is invalid");
    return {};
  }
  if (status) Say("Created new model '" + request.model + "'");
  return status;
}

}  // namespace corral::cli
