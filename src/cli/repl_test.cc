// What the screen cases cannot say: Ctrl+C in the middle of an answer, the editor, a suspension,
// the history.
#include "cli/repl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "cli/testing/fakes.h"

namespace corral::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ReplTest : public ::testing::Test {
 protected:
  ReplTest() {
    std::string name = (std::filesystem::temp_directory_path() / "corral-repl-XXXXXX").string();
    home_ = mkdtemp(name.data());
    variables_["HOME"] = home_.string();
    console_.is_input_terminal = true;
    console_.is_output_terminal = true;
    transport_.OnText("POST /api/generate", "{\"done\":true}\n");
    transport_.OnText("POST /api/chat",
                      "{\"message\":{\"role\":\"assistant\",\"content\":\"Hi.\"},\"done\":true}\n");
    transport_.OnText("POST /api/show", "{}");
  }
  ~ReplTest() override { std::filesystem::remove_all(home_); }

  Status Run(std::vector<std::string> keys) {
    console_.keys.assign(keys.begin(), keys.end());
    const Settings settings = ReadSettings(environment_, {}, nullptr);
    Context context{client_, console_, RealFileSystem(), environment_, settings, &Timestamp::Now};
    Session session;
    session.model = "m";
    return Repl(context, session).Run();
  }
  std::vector<std::string> Chats() const {
    std::vector<std::string> bodies;
    for (const auto& request : transport_.Requests("POST /api/chat"))
      bodies.push_back(request.body);
    return bodies;
  }

  std::filesystem::path home_;
  std::map<std::string, std::string, std::less<>> variables_;
  Environment environment_ = [this](std::string_view name) -> std::optional<std::string> {
    const auto found = variables_.find(name);
    return found == variables_.end() ? std::nullopt : std::optional(found->second);
  };
  testing::FakeConsole console_;
  testing::FakeTransport transport_;
  Client client_{transport_};
};

TEST_F(ReplTest, CtrlCDropsTheAnswerAndKeepsTheQuestion) {
  bool is_first_chat = true;
  transport_.on_piece = [&] {
    if (transport_.seen.back().route == "POST /api/chat" && std::exchange(is_first_chat, false))
      console_.interrupt();
  };
  ASSERT_TRUE(Run({"one\r", "two\r", "/bye\r"}));
  EXPECT_THAT(
      Chats(),
      ElementsAre(
          R"({"model":"m","messages":[{"role":"user","content":"one"}]})",
          R"({"model":"m","messages":[{"role":"user","content":"one"},{"role":"user","content":"two"}]})"));
  EXPECT_FALSE(console_.is_raw);
}

TEST_F(ReplTest, CtrlCWhileTheModelLoadsEndsIt) {
  transport_.on_piece = [&] { console_.interrupt(); };
  EXPECT_TRUE(Run({"one\r"}));
  EXPECT_TRUE(Chats().empty());
}

TEST_F(ReplTest, CtrlGEditsTheEntryInTheUsersEditor) {
  variables_["OLLAMA_EDITOR"] = "code --wait";
  std::string given;
  console_.run_program = [&](const std::vector<std::string>& words) {
    EXPECT_FALSE(console_.is_raw);
    std::ifstream(words.back()) >> given;
    std::ofstream(words.back()) << "edited\ntext\n\n";
    return Status();
  };
  ASSERT_TRUE(Run({"draft\x07", "!\r", "/bye\r"}));
  EXPECT_EQ(given, "draft");
  ASSERT_EQ(console_.programs.size(), 1U);
  EXPECT_THAT(console_.programs[0], ElementsAre("code", "--wait", HasSubstr("ollama-prompt-")));
  EXPECT_FALSE(std::filesystem::exists(console_.programs[0][2]));
  EXPECT_THAT(Chats(), ElementsAre(HasSubstr(R"("content":"edited\ntext!")")));
}

TEST_F(ReplTest, AMissingEditorKeepsTheEntry) {
  variables_["EDITOR"] = "nope";
  console_.run_program = [](const std::vector<std::string>&) -> Status {
    return Fail(Code::kNotFound, "nope");
  };
  ASSERT_TRUE(Run({"draft\x07", "\r", "/bye\r"}));
  EXPECT_THAT(console_.err, HasSubstr("error: editor \"nope\" not found, set OLLAMA_EDITOR to the "
                                      "path of your preferred editor\n"));
  EXPECT_THAT(Chats(), ElementsAre(HasSubstr(R"("content":"draft")")));
}

TEST_F(ReplTest, CtrlZSuspendsAndGoesOn) {
  ASSERT_TRUE(Run({"dr\x1a", "aft\r", "/bye\r"}));
  EXPECT_EQ(console_.n_suspended, 1);
  EXPECT_THAT(Chats(), ElementsAre(HasSubstr(R"("content":"draft")")));
}

TEST_F(ReplTest, EntriesGoToTheHistoryUnlessItIsOff) {
  ASSERT_TRUE(Run({"one\r", "  \r", "/set nohistory\r", "secret\r", "/bye\r"}));
  std::ifstream file(home_ / ".ollama" / "history");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_EQ(text, "one\n/set nohistory\n");
  variables_["OLLAMA_NOHISTORY"] = "1";
  std::filesystem::remove_all(home_ / ".ollama");
  ASSERT_TRUE(Run({"secret\r"}));
  EXPECT_FALSE(std::filesystem::exists(home_ / ".ollama"));
}

TEST_F(ReplTest, PastesAreAskedForAndTheTerminalIsLeftAsItWas) {
  ASSERT_TRUE(Run({"\x04"}));
  EXPECT_THAT(console_.out, HasSubstr("\x1b[?2004h"));
  EXPECT_TRUE(console_.out.ends_with("\n\x1b[?2004l")) << console_.out;
  EXPECT_FALSE(console_.is_raw);
}

TEST_F(ReplTest, AnotherModelTakesOverWithAnEmptyConversation) {
  ASSERT_TRUE(Run({"one\r", "/load other\r", "two\r", "/bye\r"}));
  EXPECT_THAT(Chats().back(),
              HasSubstr(R"({"model":"other","messages":[{"role":"user","content":"two"}]})"));
  EXPECT_THAT(console_.out, Not(HasSubstr("Couldn't")));
}

TEST_F(ReplTest, ThinkingIsSentBackWithTheConversation) {
  testing::FakeTransport thinking;
  thinking.OnText("POST /api/generate", "{\"done\":true}\n");
  thinking.OnText("POST /api/chat",
                  "{\"message\":{\"role\":\"assistant\",\"content\":\"Yes.\",\"thinking\":\"Hm.\"},"
                  "\"done\":true}\n");
  Client client(thinking);
  const Settings settings = ReadSettings(environment_, {}, nullptr);
  Context context{client, console_, RealFileSystem(), environment_, settings, &Timestamp::Now};
  console_.keys = {"one\r", "two\r", "\x04"};
  Session session;
  session.model = "m";
  ASSERT_TRUE(Repl(context, session).Run());
  EXPECT_THAT(thinking.seen.back().body, HasSubstr(R"("content":"Yes.","thinking":"Hm.")"));
}

}  // namespace
}  // namespace corral::cli
