// The grammar of tool calls rests until a call begins, on a model that says what the test wants it
// to as long as no grammar forbids it.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench.h"
#include "engine/llama/chat_templates.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

// All calls of it are short.
constexpr std::string_view kSwitch =
    R"([{"type":"function","function":{"name":"switch","description":"A lamp","parameters":)"
    R"({"type":"object","properties":{"lamp":{"type":"string","enum":["on","off"]}},)"
    R"("required":["lamp"]}}}])";

// Qwen 3's template, but no line break follows the mark of a call: the model knows one token only
// that may come after a line break, and with one the prompt ends.
std::string Template() {
  std::string text(EmbeddedTemplate("Qwen-Qwen3-0.6B.jinja"));
  for (const auto& [written, ours] :
       {std::pair{"<tool_call>\\n", "<tool_call>"}, std::pair{"\\n</tool_call>", "</tool_call>"}}) {
    for (std::size_t at; (at = text.find(written)) != std::string::npos;)
      text.replace(at, std::string_view(written).size(), ours);
  }
  return text;
}

std::string ModelThatSays(std::vector<std::string> tokens) {
  testing::TinyLlamaOptions options;
  options.is_endless = true;
  options.chat_template = Template();
  options.control_tokens = {"<|im_start|>", "<|im_end|>",  "<think>",
                            "</think>",     "<tool_call>", "</tool_call>"};
  options.script = std::move(tokens);
  options.script.insert(options.script.begin(), "<0x0A>");
  return testing::TinyLlama(options).Bytes();
}

GenerateJob Ask(bool with_thinking) {
  GenerateJob job = Greedy("", 200);
  job.is_chat = true;
  job.prompt.kind = PromptSource::Kind::kMessages;
  ChatMessage message;
  message.role = "user";
  message.content = "hello world";
  job.prompt.messages = {message};
  job.prompt.think = Think{with_thinking, ""};
  job.prompt.tools_json = kSwitch;
  return job;
}

void ExpectACallOfTheSwitch(const Story& story) {
  ASSERT_TRUE(story.IsFinished()) << story.error().message;
  ASSERT_FALSE(story.tool_calls.empty()) << story.text;
  EXPECT_EQ(story.tool_calls[0].name, "switch");
  const auto arguments = nlohmann::json::parse(story.tool_calls[0].arguments_json);
  EXPECT_THAT(arguments["lamp"], ::testing::AnyOf("on", "off"));
}

TEST(EngineLazyGrammar, BindsFromTheMarkOfACall) {
  // Left alone the model would go on with a word.
  Bench bench(ModelThatSays({"▁world", "<tool_call>", "▁hello"}), Bench::Small(1, 2048));
  const Story story = bench.Run(Ask(false));
  EXPECT_THAT(story.text, ::testing::HasSubstr("world")) << "what comes before it is free";
  ExpectACallOfTheSwitch(story);
}

TEST(EngineLazyGrammar, RestsWhileTheModelThinks) {
  Bench bench(ModelThatSays(
                  {"<think>", "▁sky", "<tool_call>", "▁hello", "</think>", "▁world", "<|im_end|>"}),
              Bench::Small(1, 2048));
  const Story story = bench.Run(Ask(true));
  ASSERT_TRUE(story.IsFinished()) << story.error().message;
  EXPECT_THAT(story.thinking, ::testing::HasSubstr("hello"))
      << "a mark that is only thought of is no call: " << story.text;
  EXPECT_THAT(story.text, ::testing::HasSubstr("world"));
  EXPECT_THAT(story.tool_calls, ::testing::IsEmpty());
}

TEST(EngineLazyGrammar, BindsAfterTheThinking) {
  Bench bench(ModelThatSays({"<think>", "▁sky", "</think>", "<tool_call>", "▁hello"}),
              Bench::Small(1, 2048));
  const Story story = bench.Run(Ask(true));
  EXPECT_THAT(story.thinking, ::testing::HasSubstr("sky"));
  ExpectACallOfTheSwitch(story);
}

TEST(EngineLazyGrammar, TokensOfACallHaveTheirLogprobs) {
  Bench bench(ModelThatSays({"▁world", "<tool_call>", "▁hello"}), Bench::Small(1, 2048));
  GenerateJob job = Ask(false);
  job.logprobs = true;
  job.top_logprobs = 2;
  const Story story = bench.Run(job);
  ExpectACallOfTheSwitch(story);
  const bool has_end = story.finish().reason == DoneReason::kStop;
  EXPECT_EQ(static_cast<std::int64_t>(story.logprobs.size()),
            story.finish().eval_tokens - (has_end ? 1 : 0));
  std::string text;
  for (const TokenLogprob& one : story.logprobs) {
    text += one.token;
    EXPECT_EQ(one.top.size(), 2U);
    EXPECT_LE(one.logprob, 0);
  }
  EXPECT_THAT(text, ::testing::HasSubstr(R"("name": "switch")"))
      << "the call as the model wrote it";
}

}  // namespace
}  // namespace corral::engine
