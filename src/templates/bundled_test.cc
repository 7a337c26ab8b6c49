#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "templates/template.h"

namespace corral::templates {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string NameOf(std::string_view jinja) {
  const Bundled* found = DetectBundled(jinja);
  return found == nullptr ? "" : std::string(found->name);
}

const Bundled& Named(std::string_view name) {
  for (const Bundled& bundled : AllBundled()) {
    if (bundled.name == name) return bundled;
  }
  ADD_FAILURE() << "no bundled template " << name;
  return AllBundled().front();
}

std::string Render(std::string_view name, std::vector<std::pair<std::string, std::string>> messages,
                   const std::string& tools_json = "") {
  RenderInput input;
  for (auto& [role, content] : messages) {
    ChatMessage message;
    message.role = role;
    message.content = content;
    input.messages.push_back(std::move(message));
  }
  input.tools_json = tools_json;
  const auto parsed = Template::Parse(Named(name).text);
  EXPECT_TRUE(parsed);
  const auto out = parsed->Render(input);
  EXPECT_TRUE(out) << (out ? "" : out.error().message);
  return out.value_or("");
}

TEST(Bundled, AreTwentyWithStopTextsEach) {
  std::set<std::string_view> names;
  for (const Bundled& bundled : AllBundled()) {
    names.insert(bundled.name);
    EXPECT_FALSE(bundled.stop.empty()) << bundled.name;
    EXPECT_TRUE(Template::Parse(bundled.text)) << bundled.name;
  }
  EXPECT_EQ(names.size(), 20U);
}

TEST(Bundled, LeaveTheAnswerOpenWhenTheLastMessageIsTheAssistants) {
  for (const Bundled& bundled : AllBundled()) {
    if (bundled.name == "command-r") continue;  // closes every turn
    const std::string out =
        Render(bundled.name, {{"user", "U"}, {"assistant", "An answer that beg"}});
    EXPECT_THAT(out, ::testing::EndsWith("An answer that beg")) << bundled.name;
  }
}

TEST(Bundled, NeverPutAResponseIntoABranchWithElse) {
  // Ollama's cut at .Response crashes there, and a volume may go back to it.
  for (const Bundled& bundled : AllBundled()) {
    const bool is_legacy = bundled.text.find(".Response") != std::string_view::npos;
    EXPECT_FALSE(is_legacy && bundled.text.find("else") != std::string_view::npos) << bundled.name;
  }
}

TEST(Bundled, CommandRShowsToolsAndTheirResults) {
  const std::string out =
      Render("command-r", {{"user", "U"}, {"assistant", "A"}, {"tool", "21 degrees"}},
             R"([{"type":"function","function":{"name":"f","description":"d"}}])");
  EXPECT_THAT(out, HasSubstr(R"("name":"f")"));
  EXPECT_THAT(out, HasSubstr("<results>\n21 degrees\n</results>"));
  EXPECT_THAT(Template::Parse(Named("command-r").text)->Capabilities(),
              ElementsAre(Capability::kTools));
}

TEST(Bundled, Gemma3ShowsTheSystemTextInTheFirstUserTurnOnly) {
  EXPECT_EQ(Render("gemma3-instruct", {{"user", "U"}}),
            "<start_of_turn>user\nU<end_of_turn>\n<start_of_turn>model\n\n");
}

TEST(Bundled, SaySoWhenTheySpellOutTheEndOfSequence) {
  for (const Bundled& bundled : AllBundled()) {
    for (const std::string_view eos : {"</s>", "<|endoftext|>"}) {
      EXPECT_EQ(bundled.eos == eos, bundled.text.find(eos) != std::string_view::npos)
          << bundled.name;
    }
  }
}

// Jinja in the manner of each family, written for this test.
TEST(Detect, KnowsFamiliesByTheWordsTheyPrint) {
  const std::string loop = "{% for message in messages %}";
  const std::string end = "{% endfor %}";
  EXPECT_EQ(
      NameOf(
          loop +
          "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}" +
          end + "{{ '<|im_start|>assistant\\n' }}"),
      "chatml");
  EXPECT_EQ(
      NameOf("{%- if messages[0].role != \"system\" %}{{ \"<|im_start|>system\\nYou are a helpful "
             "AI assistant named "
             "Example.<|im_end|>\\n\" }}{% endif %}" +
             loop + "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n" + end),
      "chatml");
  EXPECT_EQ(NameOf(loop + "<|{{ message.role }}|>\n{{ message.content }}<|end|>\n" + end +
                   "<|assistant|>\n"),
            "phi-3");
  EXPECT_EQ(NameOf(loop +
                   "{% if message.role == 'user' %}{{ '<|user|>\\n' + message.content + eos_token "
                   "}}{% else %}"
                   "{{ '<|assistant|>\\n' + message.content + eos_token }}{% endif %}" +
                   end),
            "zephyr");
  EXPECT_EQ(
      NameOf(
          loop +
          "{{ '[INST] ' + message['content'] + ' [/INST]' }}{{ message['content'] + eos_token }}" +
          end),
      "mistral-instruct");
  EXPECT_EQ(
      NameOf("{% set c = '<<SYS>>\\\\n' + messages[0]['content'] + '\\\\n<</SYS>>\\\\n\\\\n' %}" +
             loop + "{{ bos_token + '[INST] ' + c + ' [/INST]' }}{{ ' ' + c + ' ' + eos_token }}" +
             end),
      "llama2-chat");
  EXPECT_EQ(NameOf(loop +
                   "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + "
                   "message['content'] + "
                   "'<|eot_id|>' }}" +
                   end),
            "llama3-instruct");
  EXPECT_EQ(
      NameOf("{{ raise_exception('No system role') }}" + loop +
             "{{ '<start_of_turn>' + role + '\\n' + message['content'] + '<end_of_turn>\\n' }}" +
             end),
      "gemma-instruct");
  EXPECT_EQ(NameOf(loop +
                   "{{ 'GPT4 Correct ' + message['role'].title() + ': ' + message['content'] + "
                   "'<|end_of_turn|>' }}" +
                   end),
            "openchat");
  EXPECT_EQ(NameOf(loop +
                   "{{ '### User:\\n' + message['content'] }}{{ '### Assistant:\\n' + "
                   "message['content'] }}" +
                   end),
            "solar-instruct");
  EXPECT_EQ(
      NameOf(loop + "{{ 'User: ' + message['content'] }}{{ 'Falcon: ' + message['content'] }}" +
             end),
      "falcon-instruct");
  EXPECT_EQ(
      NameOf(loop +
             "{{ 'Question:\\n' + message['content'] }}{{ 'Answer:\\n' + message['content'] }}" +
             end),
      "granite-instruct");
  EXPECT_EQ(NameOf(loop +
                   "{{ '@@ Instruction\\n' + message['content'] }}{{ '@@ Response\\n' + "
                   "message['content'] }}" +
                   end),
            "magicoder");
}

TEST(Detect, LeavesAloneWhatOffersMore) {
  const std::string chatml =
      "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
      "message['content'] + '<|im_end|>' }}"
      "{% endfor %}";
  ASSERT_EQ(NameOf(chatml), "chatml");
  EXPECT_EQ(NameOf(chatml + "{% if tools %}{{ tools }}{% endif %}"), "");
  EXPECT_EQ(NameOf(chatml + "{{ '<think>' }}"), "");
  EXPECT_EQ(NameOf(chatml + "{{ '<|vision_start|>' }}"), "");
  EXPECT_EQ(NameOf(chatml + "{{ '[INST]' }}"), "");
  EXPECT_EQ(NameOf(chatml + "{{ '" + std::string(300, 'x') + "' }}"), "");
  EXPECT_EQ(NameOf(chatml + std::string(20000, ' ')), "");
}

TEST(Detect, LeavesAloneWhatItDoesNotKnow) {
  EXPECT_EQ(NameOf(""), "");
  EXPECT_EQ(NameOf("{{ messages[0]['content'] }}"), "");
  EXPECT_EQ(NameOf("{% unclosed"), "");
  EXPECT_EQ(NameOf("{"), "");
  EXPECT_EQ(NameOf("{{ 'open literal"), "");
  EXPECT_EQ(
      NameOf(
          "{% for m in messages %}User: {{ m.content }}\n\nAssistant: {{ m.content }}{% endfor %}"),
      "");
}

}  // namespace
}  // namespace corral::templates
