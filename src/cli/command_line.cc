#include "cli/command_line.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "core/settings.h"
#include "core/text.h"

namespace corral::cli {
namespace {

constexpr FlagInfo kHelpFlag{"help", 'h', FlagType::kBool, ""};

// ---- commands ----

bool IsNamed(const CommandInfo& command, std::string_view word) {
  return command.name == word || (!command.alias.empty() && command.alias == word);
}

const CommandInfo* FindCommand(std::string_view word) {
  for (const CommandInfo& command : CommandTable())
    if (IsNamed(command, word)) return &command;
  return nullptr;
}

// Aliases that exist for scripts only and that no help screen shows.
bool IsAliasHidden(const CommandInfo& command) {
  return command.id == CommandId::kSignin || command.id == CommandId::kSignout;
}

std::size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

std::string UnknownCommand(std::string_view program, const std::string& word) {
  constexpr std::size_t kMostEdits = 2;
  std::string text = "unknown command " + GoQuote(word) + " for " + GoQuote(program);
  const std::string typed = ToLowerAscii(word);
  std::string near;
  for (const CommandInfo& command : CommandTable()) {
    if (command.is_hidden) continue;
    if (EditDistance(typed, command.name) <= kMostEdits || command.name.starts_with(typed))
      near += "\t" + std::string(command.name) + "\n";
  }
  if (!near.empty()) text += "\n\nDid you mean this?\n" + near;
  return text;
}

// ---- flags ----

const FlagInfo* FindFlag(const CommandInfo& command, std::string_view name) {
  if (name == kHelpFlag.name) return &kHelpFlag;
  for (const FlagInfo& flag : command.flags)
    if (flag.name == name) return &flag;
  return nullptr;
}

const FlagInfo* FindShorthand(const CommandInfo& command, char letter) {
  if (letter == kHelpFlag.shorthand) return &kHelpFlag;
  for (const FlagInfo& flag : command.flags)
    if (flag.shorthand == letter) return &flag;
  return nullptr;
}

std::string BareValue(const FlagInfo& flag) {
  return flag.type == FlagType::kBool ? "true" : std::string(flag.value_if_bare);
}

std::optional<bool> ParseGoBool(std::string_view text) {
  if (text == "1" || text == "t" || text == "T" || text == "true" || text == "TRUE" ||
      text == "True")
    return true;
  if (text == "0" || text == "f" || text == "F" || text == "false" || text == "FALSE" ||
      text == "False")
    return false;
  return std::nullopt;
}

// Go's strconv.ParseInt(text, 0, 64): a prefix may name the base.
std::optional<std::int64_t> ParseGoInt(std::string_view text) {
  bool is_negative = false;
  if (text.starts_with('-') || text.starts_with('+')) {
    is_negative = text.front() == '-';
    text.remove_prefix(1);
  }
  int base = 10;
  const std::string lower = ToLowerAscii(text);
  std::string_view digits = lower;
  const auto take_prefix = [&](std::string_view prefix, int prefix_base) {
    if (base != 10 || !digits.starts_with(prefix) || digits.size() == prefix.size()) return;
    digits.remove_prefix(prefix.size());
    base = prefix_base;
  };
  take_prefix("0x", 16);
  take_prefix("0b", 2);
  take_prefix("0o", 8);
  take_prefix("0", 8);
  std::uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size() || digits.empty())
    return std::nullopt;
  constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();
  if (value > kMost) return std::nullopt;
  return is_negative ? -static_cast<std::int64_t>(value) : static_cast<std::int64_t>(value);
}

// Puts a flag's value into `invocation`, checked.
Status SetFlag(Invocation& invocation, const FlagInfo& flag, std::string value) {
  const auto invalid = [&](std::string_view function) {
    const std::string name = (flag.shorthand != 0 ? std::string("-") + flag.shorthand + ", " : "") +
                             "--" + std::string(flag.name);
    return Fail(Code::kInvalidArgument, "invalid argument " + GoQuote(value) + " for \"" + name +
                                            "\" flag: strconv." + std::string(function) +
                                            ": parsing " + GoQuote(value) + ": invalid syntax");
  };
  if (flag.type == FlagType::kBool) {
    const std::optional<bool> parsed = ParseGoBool(value);
    if (!parsed) return invalid("ParseBool");
    value = *parsed ? "true" : "false";
  } else if (flag.type == FlagType::kInt) {
    const std::optional<std::int64_t> parsed = ParseGoInt(value);
    if (!parsed) return invalid("ParseInt");
    value = std::to_string(*parsed);
  }
  invocation.flags[std::string(flag.name)] = std::move(value);
  return {};
}

class FlagParser {
 public:
  FlagParser(const CommandInfo& command, std::span<const std::string> words) : words_(words) {
    invocation_.command = &command;
  }

  Result<Invocation> Parse() {
    while (next_ < words_.size()) {
      const std::string& word = words_[next_++];
      if (word == "--") {
        invocation_.arguments.insert(invocation_.arguments.end(),
                                     words_.begin() + static_cast<long>(next_), words_.end());
        break;
      }
      if (word.size() < 2 || word[0] != '-') {
        invocation_.arguments.push_back(word);
      } else if (word[1] == '-') {
        CORRAL_TRY_STATUS(ParseLong(word));
      } else {
        CORRAL_TRY_STATUS(ParseShort(word));
      }
    }
    invocation_.wants_help = invocation_.Bool(kHelpFlag.name);
    return std::move(invocation_);
  }

 private:
  Status ParseLong(const std::string& word) {
    std::string_view name = std::string_view(word).substr(2);
    if (name.empty() || name[0] == '-' || name[0] == '=')
      return Fail(Code::kInvalidArgument, "bad flag syntax: " + word);
    const std::size_t equals = name.find('=');
    std::optional<std::string> value;
    if (equals != std::string_view::npos) {
      value = std::string(name.substr(equals + 1));
      name = name.substr(0, equals);
    }
    const FlagInfo* flag = FindFlag(*invocation_.command, name);
    if (flag == nullptr)
      return Fail(Code::kInvalidArgument, "unknown flag: --" + std::string(name));
    if (!value) {
      if (std::string bare = BareValue(*flag); !bare.empty()) {
        value = std::move(bare);
      } else if (next_ < words_.size()) {
        value = words_[next_++];
      } else {
        return Fail(Code::kInvalidArgument, "flag needs an argument: --" + std::string(name));
      }
    }
    return SetFlag(invocation_, *flag, std::move(*value));
  }

  // One word of letters: `-v`, `-fPATH`, `-f=PATH`, `-vf PATH`.
  Status ParseShort(const std::string& word) {
    std::string_view letters = std::string_view(word).substr(1);
    while (!letters.empty()) {
      const char letter = letters[0];
      const FlagInfo* flag = FindShorthand(*invocation_.command, letter);
      if (flag == nullptr)
        return Fail(Code::kInvalidArgument, std::string("unknown shorthand flag: '") + letter +
                                                "' in -" + std::string(letters));
      if (letters.size() > 2 && letters[1] == '=')
        return SetFlag(invocation_, *flag, std::string(letters.substr(2)));
      if (std::string bare = BareValue(*flag); !bare.empty()) {
        CORRAL_TRY_STATUS(SetFlag(invocation_, *flag, std::move(bare)));
        letters.remove_prefix(1);
        continue;
      }
      if (letters.size() > 1) return SetFlag(invocation_, *flag, std::string(letters.substr(1)));
      if (next_ < words_.size()) return SetFlag(invocation_, *flag, words_[next_++]);
      return Fail(Code::kInvalidArgument, std::string("flag needs an argument: '") + letter +
                                              "' in -" + std::string(letters));
    }
    return {};
  }

  std::span<const std::string> words_;
  std::size_t next_ = 0;
  Invocation invocation_;
};

// Where the command's name stands in `words`: the first word that is no flag and no value of one of
// the root's flags. Any other flag, --help too, takes the word after it with it, as in cobra.
std::optional<std::size_t> FindCommandWord(std::span<const std::string> words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (word == "--") return std::nullopt;
    if (word.starts_with("--") && word.find('=') == std::string_view::npos) {
      const FlagInfo* flag = FindFlag(RootCommand(), word.substr(2));
      if (flag == nullptr || flag == &kHelpFlag) ++i;
    } else if (word.size() == 2 && word[0] == '-') {
      const FlagInfo* flag = FindShorthand(RootCommand(), word[1]);
      if (flag == nullptr || flag == &kHelpFlag) ++i;
    } else if (!word.empty() && word[0] != '-') {
      return i;
    }
  }
  return std::nullopt;
}

Status CheckArgumentCount(std::string_view program, const Invocation& invocation) {
  const CommandInfo& command = *invocation.command;
  const std::size_t n = invocation.arguments.size();
  if (command.id == CommandId::kRoot) {
    if (n > 0)
      return Fail(Code::kInvalidArgument, UnknownCommand(program, invocation.arguments[0]));
    return {};
  }
  if (command.max_arguments == command.min_arguments && n != command.min_arguments)
    return Fail(Code::kInvalidArgument, "accepts " + std::to_string(command.min_arguments) +
                                            " arg(s), received " + std::to_string(n));
  if (n < command.min_arguments)
    return Fail(Code::kInvalidArgument, "requires at least " +
                                            std::to_string(command.min_arguments) +
                                            " arg(s), only received " + std::to_string(n));
  return {};
}

// ---- help ----

std::string Padded(std::string_view text, std::size_t width) {
  std::string padded(text);
  if (padded.size() < width) padded.append(width - padded.size(), ' ');
  return padded;
}

std::string FlagColumn(const FlagInfo& flag) {
  std::string column = flag.shorthand != 0 ? std::string("  -") + flag.shorthand + ", " : "      ";
  column += "--" + std::string(flag.name);
  if (flag.type == FlagType::kString) column += " string";
  if (flag.type == FlagType::kInt) column += " int";
  if (!flag.value_if_bare.empty()) column += "[=\"" + std::string(flag.value_if_bare) + "\"]";
  return column;
}

std::string FlagsText(std::string_view program, const CommandInfo& command, bool with_help) {
  std::vector<std::pair<FlagInfo, std::string>> rows;
  for (const FlagInfo& flag : command.flags) rows.emplace_back(flag, std::string(flag.text));
  if (with_help) {
    const std::string_view of = command.id == CommandId::kRoot ? program : command.name;
    rows.emplace_back(kHelpFlag, "help for " + std::string(of));
  }
  std::sort(rows.begin(), rows.end(),
            [](const auto& a, const auto& b) { return a.first.name < b.first.name; });
  std::size_t width = 0;
  for (const auto& [flag, text] : rows) width = std::max(width, FlagColumn(flag).size());
  std::string out = "\n\nFlags:\n";
  for (const auto& [flag, text] : rows) out += Padded(FlagColumn(flag), width + 3) + text + "\n";
  out.pop_back();
  return out;
}

std::string VariablesText(const CommandInfo& command) {
  constexpr std::size_t kNameWidth = 27;
  std::string rows;
  const auto add = [&rows](const SettingInfo& setting) {
    rows += "      " + Padded(setting.name, kNameWidth) + "   " + std::string(setting.text) + "\n";
  };
  if (command.id == CommandId::kServe) {
    for (const SettingInfo& setting : SettingTable())
      if (setting.in_serve_help) add(setting);
  }
  for (const std::string_view name : command.variables)
    for (const SettingInfo& setting : SettingTable())
      if (setting.name == name) add(setting);
  return rows.empty() ? rows : "\nEnvironment Variables:\n" + rows;
}

std::string UsageText(std::string_view program, const CommandInfo& command, bool with_help) {
  const bool is_root = command.id == CommandId::kRoot;
  std::string out = "Usage:\n  " + std::string(program);
  if (!is_root) out += " " + std::string(command.name);
  if (!command.arguments.empty()) out += " " + std::string(command.arguments);
  out += " [flags]";
  if (is_root) {
    constexpr std::size_t kNameWidth = 12;  // of Ollama's longest command, a hidden one
    out += "\n  " + std::string(program) + " [command]\n\nAvailable Commands:";
    for (const CommandInfo& listed : CommandTable())
      if (!listed.is_hidden)
        out += "\n  " + Padded(listed.name, kNameWidth) + " " + std::string(listed.text);
  }
  if (!command.alias.empty() && !IsAliasHidden(command))
    out += "\n\nAliases:\n  " + std::string(command.name) + ", " + std::string(command.alias);
  out += FlagsText(program, command, with_help);
  if (is_root)
    out += "\n\nUse \"" + std::string(program) +
           " [command] --help\" for more information about a command.";
  return out + "\n" + VariablesText(command);
}

}  // namespace

bool Invocation::Bool(std::string_view flag) const {
  const auto found = flags.find(flag);
  return found != flags.end() && found->second == "true";
}

std::string Invocation::Text(std::string_view flag) const {
  const auto found = flags.find(flag);
  return found == flags.end() ? "" : found->second;
}

std::int64_t Invocation::Int(std::string_view flag) const {
  return ParseInt(Text(flag)).value_or(0);
}

Result<Invocation> ParseCommandLine(std::string_view program, std::span<const std::string> words) {
  const CommandInfo* command = &RootCommand();
  std::vector<std::string> rest(words.begin(), words.end());
  if (const std::optional<std::size_t> at = FindCommandWord(words)) {
    command = FindCommand(words[*at]);
    if (command == nullptr)
      return Fail(Code::kInvalidArgument, UnknownCommand(program, words[*at]));
    rest.erase(rest.begin() + static_cast<long>(*at));
  }
  CORRAL_TRY(Invocation invocation, FlagParser(*command, rest).Parse());
  if (!invocation.wants_help) CORRAL_TRY_STATUS(CheckArgumentCount(program, invocation));
  return invocation;
}

std::string HelpText(std::string_view program, const CommandInfo& command) {
  std::string text(command.text);
  if (command.id == CommandId::kHelp)
    text = "Help provides help for any command in the application.\nSimply type " +
           std::string(program) + " help [path to command] for full details.";
  return text + "\n\n" + UsageText(program, command, true);
}

std::string UnknownTopicText(std::string_view program, std::span<const std::string> topic) {
  std::string words;
  for (const std::string& word : topic) words += (words.empty() ? "`" : " `") + word + "`";
  return "Unknown help topic [" + words + "]\n" + UsageText(program, RootCommand(), false);
}

const CommandInfo* FindTopic(std::span<const std::string> words) {
  return words.empty() ? &RootCommand() : FindCommand(words[0]);
}

}  // namespace corral::cli
