#include "modelfile/modelfile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace corral::modelfile {
namespace {

using ::testing::StartsWith;

std::string Expand(std::string text) {
  const std::pair<std::string, std::string> texts[] = {
      {"<ERR_COMMAND>",
       "command must be one of \"from\", \"license\", \"template\", \"system\", \"adapter\", "
       "\"draft\", \"renderer\", "
       "\"parser\", \"parameter\", \"message\", or \"requires\""},
      {"<ERR_ROLE>", "message role must be one of \"system\", \"user\", or \"assistant\""}};
  for (const auto& [word, full] : texts) {
    if (const auto at = text.find(word); at != std::string::npos)
      text.replace(at, word.size(), full);
  }
  return text;
}

TEST(Modelfile, ParsesAndPrintsTheCases) {
  std::ifstream file(CORRAL_TEST_CASES "/modelfile.test");
  ASSERT_TRUE(file) << CORRAL_TEST_CASES;
  int n_cases = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.front() == '#') continue;
    const auto wanted = nlohmann::json::parse(line);
    SCOPED_TRACE(wanted.at("id").get<std::string>());
    ++n_cases;
    const auto input = wanted.at("in").get<std::string>();
    const auto parsed = Parse(input);
    if (wanted.contains("error")) {
      ASSERT_FALSE(parsed);
      EXPECT_EQ(parsed.error().code, Code::kInvalidArgument);
      EXPECT_EQ(parsed.error().message, Expand(wanted.at("error")));
      continue;
    }
    ASSERT_TRUE(parsed) << parsed.error().message;
    auto commands = nlohmann::json::array();
    for (const auto& command : parsed->commands) commands.push_back({command.name, command.args});
    EXPECT_EQ(commands, wanted.at("cmds"));
    const auto print = wanted.at("print").get<std::string>();
    EXPECT_EQ(parsed->ToString(), print == "=in" ? input : print);
  }
  EXPECT_GE(n_cases, 54);
}

TEST(Modelfile, ReadsUtf16WithAByteOrderMark) {
  const std::u16string text = u"FROM a\nSYSTEM gr\u00FC\u00DF \U0001F600\n";
  for (const bool is_little : {true, false}) {
    std::string bytes = is_little ? "\xFF\xFE" : "\xFE\xFF";
    for (const char16_t unit : text) {
      const char low = static_cast<char>(unit & 0xFF);
      const char high = static_cast<char>(unit >> 8);
      bytes.push_back(is_little ? low : high);
      bytes.push_back(is_little ? high : low);
    }
    const auto parsed = Parse(bytes);
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(
        parsed->commands,
        (std::vector<Command>{{"model", "a"}, {"system", "gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80"}}));
  }
}

TEST(Modelfile, ReadsBytesThatAreNotUtf8AsReplacementCharacters) {
  const auto parsed = Parse("FROM a\nSYSTEM x\xFFy\xC3\xE2\x82z\xED\xA0\x80\n");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_THAT(parsed->commands.at(1).args, StartsWith("x\xEF\xBF\xBDy\xEF\xBF\xBD"));
  EXPECT_EQ(parsed->commands.at(1).args.find('\xED'), std::string::npos);
}

TEST(Modelfile, TakesLinearTimeOnAnOpenQuoteFullOfNewlines) {
  // With a search from the end at each newline this would be 10^12 steps.
  const auto parsed = Parse("FROM a\nSYSTEM \"x" + std::string(1 << 20, '\n'));
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().message, "unexpected EOF");
}

TEST(Modelfile, PrintsWhatItParsesTheSameTwice) {
  const auto first = Parse(
      "FROM a\nTEMPLATE \"\"\"{{ .System }}\n\"{{ .Prompt }}\" \"\"\"\nMESSAGE user a: b\nSTOP");
  ASSERT_FALSE(first);
  const auto good =
      Parse("FROM a\nTEMPLATE \"\"\"{{ .System }}\n\"{{ .Prompt }}\" \"\"\"\nMESSAGE user a: b\n");
  ASSERT_TRUE(good) << good.error().message;
  const auto again = Parse(good->ToString());
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->commands, good->commands);
}

TEST(ModelfileRequires, TakesTheVOff) {
  EXPECT_EQ(ParseRequires("v0.14").value(), "0.14");
  EXPECT_EQ(ParseRequires("0.14.0").value(), "0.14.0");
  EXPECT_EQ(ParseRequires("1").value(), "1");
  EXPECT_EQ(ParseRequires("1.2.3-rc.1+build.01").value(), "1.2.3-rc.1+build.01");
}

TEST(ModelfileRequires, RefusesWhatIsNoVersion) {
  for (const char* text : {"abc", "", "v", "vv1", "01.2", "1.", "1.2.3.4", "1.2-rc", "1.2.3-",
                           "1.2.3-01", "1.2.3+", "1.2.3 "}) {
    const auto parsed = ParseRequires(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().message, "requires must be a valid semver (e.g. 0.14.0)");
  }
}

}  // namespace
}  // namespace corral::modelfile
