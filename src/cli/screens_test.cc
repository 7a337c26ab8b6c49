// Runs tests/cases/cli/*.test: a command line, the server's replies and the keys that are typed;
// then what is seen and what was asked.
//
//   == title                    begins a case
//   args: run m "two words"     words of the command line; the program is `ollama`
//   tty: in out err             which streams are terminals (none, if absent)
//   stdin: text                 what is piped in
//   key: text                   bytes typed at once; one line a read
//   env: NAME=value
//   reply: POST /api/show 200   a reply; its body follows, up to the next line that begins with a
//   word and a colon request: POST /api/chat     expected: the next request of that route has this
//   JSON body (follows) stdout:                     expected, exactly; lines begin with '|', the
//   last '|' line without a line break ends in '\c' stderr: screen:                     expected:
//   what a terminal of 80 columns shows of stdout exit: 1                     expected (0, if
//   absent)
//
// In values and '|' lines \n \r \t \e \\ and \xNN are escapes. Time stands still at
// 2026-08-01T10:00:00Z.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "cli/internal/json.h"
#include "cli/main.h"
#include "cli/testing/fakes.h"
#include "cli/testing/screen.h"
#include "core/text.h"

namespace corral::cli {
namespace {

struct Block {
  std::string key;
  std::string value;
  std::string body;
};

struct Case {
  std::string name;
  std::vector<Block> blocks;
};

std::string Unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    const char letter = text[++i];
    if (letter == 'n') out += '\n';
    if (letter == 'r') out += '\r';
    if (letter == 't') out += '\t';
    if (letter == 'e') out += '\x1b';
    if (letter == '\\' || letter == '"') out += letter;
    if (letter == 'x') {
      out += *HexDecode(text.substr(i + 1, 2));
      i += 2;
    }
  }
  return out;
}

// "|one", "|two\c" is "one\ntwo".
std::string BarText(const std::string& body) {
  std::string out;
  for (const std::string_view line : Split(body, '\n')) {
    if (!line.starts_with('|')) continue;
    const bool is_open = line.ends_with("\\c");
    out += Unescaped(line.substr(1, line.size() - 1 - (is_open ? 2 : 0)));
    if (!is_open) out += "\n";
  }
  return out;
}

std::vector<std::string> Words(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool is_quoted = false;
  bool is_word = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 1 < line.size()) {
      word += line[i++];
      word += line[i];
    } else if (line[i] == '"') {
      is_quoted = !is_quoted;
      is_word = true;
    } else if (line[i] == ' ' && !is_quoted) {
      if (is_word) words.push_back(Unescaped(word));
      word.clear();
      is_word = false;
    } else {
      word += line[i];
      is_word = true;
    }
  }
  if (is_word) words.push_back(Unescaped(word));
  return words;
}

bool IsKeyLine(const std::string& line, Block* block) {
  static const std::vector<std::string> keys = {"args",   "tty",    "stdin",   "key",
                                                "env",    "reply",  "request", "stdout",
                                                "stderr", "screen", "exit"};
  for (const std::string& key : keys) {
    if (!line.starts_with(key + ":")) continue;
    block->key = key;
    block->value = std::string(TrimSpace(line.substr(key.size() + 1)));
    return true;
  }
  return false;
}

std::vector<Case> ReadCases(const std::filesystem::path& file) {
  std::vector<Case> cases;
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("== ")) {
      cases.push_back({file.stem().string() + ": " + line.substr(3), {}});
      continue;
    }
    if (cases.empty() || line.starts_with('#')) continue;
    Block block;
    if (IsKeyLine(line, &block)) {
      cases.back().blocks.push_back(std::move(block));
    } else if (!cases.back().blocks.empty()) {
      cases.back().blocks.back().body += line + "\n";
    }
  }
  return cases;
}

std::string ShownOn80Columns(const std::string& bytes) {
  testing::Screen screen(80);
  screen.WriteCooked(bytes);
  std::string text;
  for (const std::string& row : screen.Rows()) text += row + "\n";
  return text;
}

class ScreenCase {
 public:
  void Give(const Block& block) {
    if (block.key == "args") words_ = Words(block.value);
    if (block.key == "stdin") console_.input = Unescaped(block.value);
    if (block.key == "key") console_.keys.push_back(Unescaped(block.value));
    if (block.key == "env")
      variables_[block.value.substr(0, block.value.find('='))] =
          block.value.substr(block.value.find('=') + 1);
    if (block.key == "tty") {
      console_.is_input_terminal = block.value.find("in") != std::string::npos;
      console_.is_output_terminal = block.value.find("out") != std::string::npos;
      console_.is_error_terminal = block.value.find("err") != std::string::npos;
    }
    if (block.key == "reply") {
      const std::size_t status = block.value.rfind(' ');
      std::string body = block.body;
      while (body.ends_with('\n')) body.pop_back();
      transport_.OnText(block.value.substr(0, status), body,
                        std::stoi(block.value.substr(status + 1)));
    }
  }

  int Run() {
    Hooks hooks;
    hooks.serve = [this] {
      console_.Out("serving\n");
      return 3;
    };
    hooks.version = "0.1.0";
    hooks.ollama_version = "0.31.0";
    hooks.environment = [this](std::string_view name) -> std::optional<std::string> {
      const auto found = variables_.find(name);
      return found == variables_.end() ? std::nullopt : std::optional(found->second);
    };
    hooks.console = &console_;
    hooks.transport = &transport_;
    hooks.now = [] { return *ParseRfc3339("2026-08-01T10:00:00Z"); };
    words_.insert(words_.begin(), "/usr/bin/ollama");
    std::vector<char*> argv;
    for (std::string& word : words_) argv.push_back(word.data());
    return Main(static_cast<int>(argv.size()), argv.data(), hooks);
  }

  void Expect(const Block& block, int exit_code) {
    if (block.key == "exit") {
      EXPECT_EQ(std::to_string(exit_code), block.value);
    }
    if (block.key == "stdout") {
      EXPECT_EQ(console_.out, BarText(block.body));
    }
    if (block.key == "stderr") {
      EXPECT_EQ(console_.err, BarText(block.body));
    }
    if (block.key == "screen") {
      EXPECT_EQ(ShownOn80Columns(console_.out), BarText(block.body));
    }
    if (block.key == "request") {
      const std::size_t index = n_checked_[block.value]++;
      const auto requests = transport_.Requests(block.value);
      ASSERT_LT(index, requests.size()) << "no such request: " << block.value;
      const auto expected = internal::ParseJson(block.body);
      const auto sent = internal::ParseJson(requests[index].body);
      ASSERT_TRUE(expected) << "the case's JSON is none: " << block.body;
      ASSERT_TRUE(sent);
      EXPECT_EQ(*sent, *expected);
    }
  }

 private:
  testing::FakeConsole console_;
  testing::FakeTransport transport_;
  std::map<std::string, std::string, std::less<>> variables_;
  std::vector<std::string> words_;
  std::map<std::string, std::size_t> n_checked_;
};

TEST(Screens, AreWhatTheCasesSay) {
  std::size_t n_cases = 0;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(CORRAL_CLI_CASES))
    if (entry.path().extension() == ".test") files.push_back(entry.path());
  for (const auto& file : files) {
    for (const Case& screen_case : ReadCases(file)) {
      SCOPED_TRACE(screen_case.name);
      ScreenCase run;
      bool names_exit = false;
      for (const Block& block : screen_case.blocks) {
        run.Give(block);
        names_exit |= block.key == "exit";
      }
      const int exit_code = run.Run();
      for (const Block& block : screen_case.blocks) run.Expect(block, exit_code);
      if (!names_exit) {
        EXPECT_EQ(exit_code, 0);
      }
      ++n_cases;
    }
  }
  EXPECT_GT(n_cases, 50U) << "cases are missing in " << CORRAL_CLI_CASES;
}

}  // namespace
}  // namespace corral::cli
