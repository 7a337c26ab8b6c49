// The commands, their flags and their help: a table, a parser and a printer. Pure: no I/O.
//
// Words, errors and help screens are those of Ollama's command line, which is built on Go's cobra
// and pflag: flags may stand anywhere, `--` ends them, a string flag may have a value for "given
// without one" (`--think`). Thread-safe (values and constants).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace corral::cli {

enum class FlagType { kBool, kString, kInt };

struct FlagInfo {
  std::string_view name;
  char shorthand = 0;  // 0: none
  FlagType type = FlagType::kBool;
  std::string_view text;
  std::string_view value_if_bare =
      {};  // of a string flag given without a value; empty: a value must follow
};

enum class CommandId {
  kRoot,
  kServe,
  kCreate,
  kShow,
  kRun,
  kStop,
  kPull,
  kPush,
  kSignin,
  kSignout,
  kList,
  kPs,
  kCopy,
  kRemove,
  kHealth,
  kVerify,
  kSave,
  kLoad,
  kHelp,
};

struct CommandInfo {
  CommandId id;
  std::string_view name;
  std::string_view alias;      // "": none
  std::string_view arguments;  // as usage shows them: "MODEL [PROMPT]"
  std::string_view text;
  std::size_t min_arguments = 0;
  std::optional<std::size_t> max_arguments = {};
  std::span<const FlagInfo> flags = {};              // in the order of their names, without --help
  std::span<const std::string_view> variables = {};  // environment variables that help shows
  bool is_hidden = false;
};

// In the order of help. The root itself is not in it.
std::span<const CommandInfo> CommandTable();
const CommandInfo& RootCommand();

// What a command line says.
struct Invocation {
  const CommandInfo* command = nullptr;
  bool wants_help = false;
  std::vector<std::string> arguments;
  std::map<std::string, std::string, std::less<>> flags;  // given ones; a bool is "true" or "false"

  bool IsGiven(std::string_view flag) const { return flags.contains(flag); }
  bool Bool(std::string_view flag) const;
  std::string Text(std::string_view flag) const;
  std::int64_t Int(std::string_view flag) const;
};

// `words` without the program's name; `program` as the messages name it.
// Errors: kInvalidArgument: `unknown command "foo" for "ollama"`, `unknown flag: --bogus`,
// `accepts 1 arg(s), received 0`, ...
Result<Invocation> ParseCommandLine(std::string_view program, std::span<const std::string> words);

// The screen of `--help`. `describe` gives the text of an environment variable.
std::string HelpText(std::string_view program, const CommandInfo& command);
// The screen of `help foo` for a command that does not exist.
std::string UnknownTopicText(std::string_view program, std::span<const std::string> topic);

// The command that `words` (of `help`) name; null if there is none.
const CommandInfo* FindTopic(std::span<const std::string> words);

}  // namespace corral::cli
