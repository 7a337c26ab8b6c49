#include "cli/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/text.h"

namespace corral::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Result<Invocation> Parse(std::string_view line) {
  std::vector<std::string> words;
  for (const std::string_view word : Split(line, ' '))
    if (!word.empty()) words.emplace_back(word == "''" ? "" : word);
  return ParseCommandLine("ollama", words);
}

std::string ErrorOf(std::string_view line) {
  const Result<Invocation> parsed = Parse(line);
  return parsed ? "no error" : parsed.error().message;
}

// Expected texts: printed by cobra 1.7 for a program with these commands.
TEST(CommandLine, NamesWhatIsWrongAsCobraDoes) {
  EXPECT_EQ(ErrorOf("foo"), "unknown command \"foo\" for \"ollama\"");
  EXPECT_EQ(ErrorOf("stow"),
            "unknown command \"stow\" for \"ollama\"\n\nDid you mean this?\n\tshow\n\tstop\n");
  EXPECT_EQ(ErrorOf("LIST"),
            "unknown command \"LIST\" for \"ollama\"\n\nDid you mean this?\n\tlist\n");
  EXPECT_EQ(ErrorOf("--bogus foo"), "unknown flag: --bogus");
  EXPECT_EQ(ErrorOf("-z"), "unknown shorthand flag: 'z' in -z");
  EXPECT_EQ(ErrorOf("show -vz m"), "unknown shorthand flag: 'z' in -z");
  EXPECT_EQ(ErrorOf("run m --format"), "flag needs an argument: --format");
  EXPECT_EQ(ErrorOf("create -f"), "flag needs an argument: 'f' in -f");
  EXPECT_EQ(ErrorOf("run m --dimensions x"),
            "invalid argument \"x\" for \"--dimensions\" flag: strconv.ParseInt: parsing \"x\": "
            "invalid syntax");
  EXPECT_EQ(ErrorOf("show --verbose=x m"),
            "invalid argument \"x\" for \"-v, --verbose\" flag: strconv.ParseBool: parsing \"x\": "
            "invalid syntax");
  EXPECT_EQ(ErrorOf("run --=x m"), "bad flag syntax: --=x");
  EXPECT_EQ(ErrorOf("run ---x m"), "bad flag syntax: ---x");
}

TEST(CommandLine, CountsArguments) {
  EXPECT_EQ(ErrorOf("show"), "accepts 1 arg(s), received 0");
  EXPECT_EQ(ErrorOf("show a b"), "accepts 1 arg(s), received 2");
  EXPECT_EQ(ErrorOf("serve x"), "accepts 0 arg(s), received 1");
  EXPECT_EQ(ErrorOf("rm"), "requires at least 1 arg(s), only received 0");
  EXPECT_EQ(ErrorOf("run"), "requires at least 1 arg(s), only received 0");
  EXPECT_EQ(ErrorOf("cp a"), "accepts 2 arg(s), received 1");
}

TEST(CommandLine, FlagsMayStandAnywhere) {
  EXPECT_TRUE(Parse("--verbose run m")->Bool("verbose"));
  EXPECT_EQ(Parse("--format json run m")->Text("format"), "json");
  for (const char* line : {"create -fx m", "create -f=x m", "create m -f x", "create m --file=x",
                           "create --file x m"}) {
    const Result<Invocation> parsed = Parse(line);
    ASSERT_TRUE(parsed) << line;
    EXPECT_EQ(parsed->Text("file"), "x") << line;
    EXPECT_THAT(parsed->arguments, ElementsAre("m")) << line;
  }
  EXPECT_EQ(Parse("run --dimensions 0x10 m")->Int("dimensions"), 16);
  EXPECT_EQ(Parse("run --dimensions=-3 m")->Int("dimensions"), -3);
}

TEST(CommandLine, ThinkTakesItsValueOnlyWithAnEqualsSign) {
  const Result<Invocation> parsed = Parse("run m --think high");
  EXPECT_EQ(parsed->Text("think"), "true");
  EXPECT_THAT(parsed->arguments, ElementsAre("m", "high"));
  EXPECT_EQ(Parse("run m --think=high")->Text("think"), "high");
}

TEST(CommandLine, TwoDashesEndTheFlags) {
  EXPECT_THAT(Parse("run m -- --think -x")->arguments, ElementsAre("m", "--think", "-x"));
  EXPECT_THAT(Parse("run -- m --think")->arguments, ElementsAre("m", "--think"));
}

TEST(CommandLine, AnEmptyWordIsAnArgument) {
  EXPECT_THAT(Parse("run m ''")->arguments, ElementsAre("m", ""));
}

TEST(CommandLine, KnowsAliases) {
  EXPECT_EQ(Parse("ls")->command->id, CommandId::kList);
  EXPECT_EQ(Parse("start")->command->id, CommandId::kServe);
  EXPECT_EQ(Parse("login")->command->id, CommandId::kSignin);
}

TEST(CommandLine, HelpIsAskedForInThreeWays) {
  EXPECT_TRUE(Parse("show --help")->wants_help);
  EXPECT_TRUE(Parse("run m -h")->wants_help);
  EXPECT_FALSE(Parse("run m --help=false")->wants_help);
  EXPECT_EQ(Parse("help run")->command->id, CommandId::kHelp);
  // The root does not know -h when it looks for the command: the next word is taken for its value.
  EXPECT_EQ(Parse("-h run")->command->id, CommandId::kRoot);
}

TEST(Help, OfTheRootListsTheCommandsInOllamasOrder) {
  EXPECT_EQ(HelpText("ollama", RootCommand()),
            "Large language model runner\n"
            "\n"
            "Usage:\n"
            "  ollama [flags]\n"
            "  ollama [command]\n"
            "\n"
            "Available Commands:\n"
            "  serve        Start Ollama\n"
            "  create       Create a model\n"
            "  show         Show information for a model\n"
            "  run          Run a model\n"
            "  stop         Stop a running model\n"
            "  pull         Pull a model from a registry\n"
            "  push         Push a model to a registry\n"
            "  signin       Sign in to ollama.com\n"
            "  signout      Sign out from ollama.com\n"
            "  list         List models\n"
            "  ps           List running models\n"
            "  cp           Copy a model\n"
            "  rm           Remove a model\n"
            "  help         Help about any command\n"
            "\n"
            "Flags:\n"
            "  -h, --help         help for ollama\n"
            "      --nowordwrap   Don't wrap words to the next line automatically\n"
            "      --verbose      Show timings for response\n"
            "  -v, --version      Show version information\n"
            "\n"
            "Use \"ollama [command] --help\" for more information about a command.\n");
}

TEST(Help, OfRunHasTenFlagsAndThreeVariables) {
  const std::vector<std::string> topic = {"run"};
  const std::string help = HelpText("ollama", *FindTopic(topic));
  EXPECT_THAT(
      help, StartsWith(
                "Run a model\n\nUsage:\n  ollama run MODEL [PROMPT] [flags]\n\nFlags:\n"
                "      --dimensions int          Truncate output embeddings to specified dimension "
                "(embedding models only)\n"
                "      --format string           Response format (e.g. json)\n"
                "  -h, --help                    help for run\n"));
  EXPECT_THAT(
      help,
      HasSubstr(
          "      --think string[=\"true\"]   Enable thinking mode: true/false or "
          "high/medium/low for supported models\n"
          "      --truncate                For embedding models: truncate inputs exceeding context "
          "length (default: true). Set --truncate=false to error instead\n"
          "      --verbose                 Show timings for response\n"
          "\nEnvironment Variables:\n"
          "      OLLAMA_EDITOR                 "));
  EXPECT_THAT(
      help,
      HasSubstr("      OLLAMA_HOST                   IP Address for the ollama server (default "
                "127.0.0.1:11434)\n"));
}

TEST(Help, OfServeListsItsVariables) {
  const std::vector<std::string> topic = {"serve"};
  EXPECT_THAT(
      HelpText("ollama", *FindTopic(topic)),
      StartsWith(
          "Start Ollama\n\nUsage:\n  ollama serve [flags]\n\nAliases:\n  serve, start\n\nFlags:\n"
          "  -h, --help   help for serve\n\nEnvironment Variables:\n"
          "      OLLAMA_DEBUG                  Show additional debug information (e.g. "
          "OLLAMA_DEBUG=1)\n"));
}

TEST(Help, NamesTheProgramAsItWasCalled) {
  EXPECT_THAT(HelpText("corral", RootCommand()), HasSubstr("  corral [command]\n"));
}

TEST(Help, ForAnUnknownTopicShowsTheUsage) {
  const std::vector<std::string> topic = {"foo"};
  EXPECT_EQ(FindTopic(topic), nullptr);
  EXPECT_THAT(UnknownTopicText("ollama", topic),
              StartsWith("Unknown help topic [`foo`]\nUsage:\n  ollama [flags]\n"));
}

}  // namespace
}  // namespace corral::cli
