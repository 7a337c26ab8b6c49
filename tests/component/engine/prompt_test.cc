// Prompts: rendering, dropping messages, cutting.
#include <gmock/gmock.h>

#include "bench.h"
#include "engine/prompt_cut.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

GenerateJob Chat(std::vector<ChatMessage> messages, std::string go_template = {}) {
  GenerateJob job = Greedy("", 1);
  job.prompt.kind = PromptSource::Kind::kMessages;
  job.prompt.messages = std::move(messages);
  job.prompt.go_template = std::move(go_template);
  job.is_chat = true;
  job.render_only = true;
  return job;
}

ChatMessage Message(std::string role, std::string content) {
  ChatMessage message;
  message.role = std::move(role);
  message.content = std::move(content);
  return message;
}

TEST(EnginePrompt, RendersTheModelsOwnTemplate) {
  Bench bench(ChatModel());
  const Story story = bench.Run(Chat({Message("system", "S"), Message("user", "U")}));
  EXPECT_EQ(
      story.finish().rendered_prompt,
      "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n");
}

TEST(EnginePrompt, RendersByTheNameOfARenderer) {
  Bench bench(EndlessModel());  // no template in the GGUF
  GenerateJob job = Chat({Message("user", "U")});
  job.prompt.renderer = "qwen3-coder";
  EXPECT_THAT(bench.Run(job).finish().rendered_prompt,
              HasSubstr("<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"));
  job.prompt.renderer = "no-such";
  EXPECT_THAT(bench.Run(job).error().message, HasSubstr("unknown renderer \"no-such\""));
}

// The grammar of the answer is the parser's: its marks are part of what the model must write.
TEST(EnginePrompt, ReadsByTheNameOfAParser) {
  corral::testing::TinyLlamaOptions options;
  options.has_chat_template = false;
  options.is_endless = true;
  options.control_tokens = {"<|start|>", "<|channel|>", "<|message|>", "<|end|>"};
  Bench bench(corral::testing::TinyLlama(options).Bytes());
  GenerateJob job = Chat({Message("user", "U")}, "{{ .Prompt }}<|start|>assistant");
  job.render_only = false;
  job.sampling.num_predict = 200;
  job.prompt.parser = "harmony";
  job.format_json = R"({"const":1})";
  const Story story = bench.Run(job);
  ASSERT_TRUE(story.IsFinished()) << story.error().message;
  std::string raw;
  for (const TokenLogprob& one : story.logprobs) raw += one.token;
  EXPECT_THAT(raw, HasSubstr("<|channel|>"));
  EXPECT_THAT(story.text, Not(HasSubstr("<|channel|>")));
}

TEST(EnginePrompt, DropsTheOldestMessagesAndKeepsSystemAndLast) {
  Bench bench(ChatModel(), Bench::Small(1, 128));
  std::vector<ChatMessage> messages = {Message("user", "first " + Words(20, 1)),
                                       Message("system", "be brief"),
                                       Message("assistant", "second " + Words(20, 2)),
                                       Message("user", "third " + Words(20, 3)),
                                       Message("assistant", "fourth"),
                                       Message("user", "last")};
  const std::string text = bench.Run(Chat(messages)).finish().rendered_prompt;
  EXPECT_THAT(text, HasSubstr("be brief"));
  EXPECT_THAT(text, HasSubstr("last"));
  EXPECT_THAT(text, HasSubstr("fourth"));
  EXPECT_THAT(text, Not(HasSubstr("first")));

  messages[2].content = messages[3].content = Words(300, 4);
  const std::string less = bench.Run(Chat(messages)).finish().rendered_prompt;
  EXPECT_THAT(less, HasSubstr("be brief"));
  EXPECT_THAT(less, HasSubstr("last"));
  EXPECT_THAT(less, Not(HasSubstr("third")));

  GenerateJob whole = Chat(messages);
  whole.truncate = false;
  const Error error = bench.Run(whole).error();
  EXPECT_EQ(error.code, Code::kInvalidArgument);
  EXPECT_THAT(error.message,
              HasSubstr("exceeds the available context size (128 tokens), try increasing it"));
}

TEST(EnginePrompt, RefusesALastMessageThatIsTooLong) {
  Bench bench(ChatModel(), Bench::Small(1, 128));
  const GenerateJob job = Chat({Message("user", "hello"), Message("user", Words(300, 1))});
  EXPECT_THAT(bench.Run(job).error().message, HasSubstr("exceeds the available context size"));
}

TEST(EnginePrompt, CutsTheMiddleOfAPromptThatIsTooLong) {
  Bench bench(EndlessModel(), Bench::Small(1, 128));
  GenerateJob job = Greedy(Words(300, 1), 1);
  const Story story = bench.Run(job);
  ASSERT_TRUE(story.IsFinished()) << story.error().message;
  EXPECT_EQ(story.finish().prompt_tokens, CutPromptLength(128, 5)) << "num_keep 4 and the BOS";
  job.shift = false;
  EXPECT_THAT(bench.Run(job).error().message,
              HasSubstr("the prompt is longer than the context length currently available"));
  job.truncate = false;
  EXPECT_THAT(bench.Run(job).error().message, HasSubstr("exceeds the available context size"));
}

TEST(EnginePrompt, CutsAHugePromptToTheSameTokens) {
  Bench bench(EndlessModel(), Bench::Small(1, 128));
  // The same two ends, once short enough to be tokenised whole, once not.
  const std::string head = Words(50, 1);
  const std::string tail = Words(200, 2);
  GenerateJob small = Greedy(head + " " + Words(500, 3) + " " + tail, 1);
  small.want_context = true;
  std::string middle;
  while (middle.size() < (5U << 20)) middle += Words(5000, 4) + " ";
  GenerateJob huge = Greedy(head + " " + middle + tail, 1);
  huge.want_context = true;
  const Finish of_small = bench.Run(small).finish();
  const Finish of_huge = bench.Run(huge).finish();
  EXPECT_EQ(of_huge.prompt_tokens, of_small.prompt_tokens);
  EXPECT_EQ(of_huge.context, of_small.context);
  huge.truncate = false;
  EXPECT_THAT(bench.Run(huge).error().message,
              HasSubstr("exceeds the available context size (128 tokens)"));
}

TEST(EnginePrompt, CutsAHugePromptBehindAConversation) {
  Bench bench(EndlessModel(), Bench::Small(1, 128));
  GenerateJob job = Greedy(Words(50, 1), 1);
  job.want_context = true;
  const std::vector<Token> before = bench.Run(job).finish().context;
  std::string middle;
  while (middle.size() < (5U << 20)) middle += Words(5000, 4) + " ";
  const std::string tail = Words(200, 2);
  job.prompt.context = before;
  job.prompt.text = Words(500, 3) + " " + tail;
  const Finish of_small = bench.Run(job).finish();
  job.prompt.text = middle + tail;
  EXPECT_EQ(bench.Run(job).finish().context, of_small.context);
}

TEST(EnginePrompt, RefusesATextThatWouldTakeTooMuchMemoryToRead) {
  Bench bench(EndlessModel());
  TokenJob job;
  job.text.assign((32U << 20) + 1, 'a');
  const Story story = bench.Wait(bench.Submit(job));
  EXPECT_EQ(story.error().code, Code::kInvalidArgument);
  EXPECT_EQ(story.error().message, "the text is larger than 32 MiB");
}

TEST(EnginePrompt, SaysWhatIsWrongWithATemplate) {
  Bench bench(ChatModel());
  EXPECT_EQ(bench.Run(Chat({Message("user", "U")}, "{{ .Prompt ")).n_last, 1);
  EXPECT_NE(bench.Run(Chat({Message("user", "U")}, "{{ .Prompt ")).error().message, "");
  EXPECT_EQ(bench.Run(Chat({Message("user", "U")}, "[{{ .Prompt }}]")).finish().rendered_prompt,
            "[U]");
}

TEST(EnginePrompt, AnswersAnEmptyPrompt) {
  Bench bench(EndlessModel());
  const Story story = bench.Run(Greedy("", 3));
  EXPECT_EQ(story.finish().eval_tokens, 3) << story.error().message;
}

TEST(EnginePrompt, TakesAnyBytes) {
  Bench bench(EndlessModel());
  EXPECT_TRUE(bench.Run(Greedy(std::string("\0\xFF\xFE\xC3 \xF0\x9F", 8), 3)).IsFinished());
}

}  // namespace
}  // namespace corral::engine
