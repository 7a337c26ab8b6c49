#include "api/native/jobs.h"

#include <gtest/gtest.h>

namespace corral::api {
namespace {

models::Model SmallModel(std::string_view name = "tiny") {
  models::Model model{*models::ModelName::Parse(name), {}};
  gguf::Info info;
  info.metadata = {{"general.architecture", gguf::ValueType::kString, std::string("llama")},
                   {"llama.block_count", gguf::ValueType::kUint32, std::uint64_t{1}}};
  model.info = std::make_shared<const gguf::Info>(std::move(info));
  return model;
}

std::string NameError(Asker asker, std::string_view text) {
  const auto name = CheckName(asker, text);
  return name ? "ok " + name->name.Short()
              : std::to_string(name.error().status) + " " + name.error().text;
}

TEST(CheckName, HasTextsForEachAsker) {
  EXPECT_EQ(NameError(Asker::kGenerate, ""), "404 model '' not found");
  EXPECT_EQ(NameError(Asker::kEmbed, " "), "404 model '' not found");
  EXPECT_EQ(NameError(Asker::kChat, ""), "400 model is required");
  EXPECT_EQ(NameError(Asker::kEmbeddings, ""), "400 model is required");
  EXPECT_EQ(NameError(Asker::kShow, ""), "400 model is required");
  EXPECT_EQ(NameError(Asker::kChat, "bad name"), "400 invalid model name");
  EXPECT_EQ(NameError(Asker::kChat, "foo:cloud:local"),
            "400 use either :local or :cloud, not both: \"foo:cloud:local\"");
  EXPECT_EQ(NameError(Asker::kChat, "x:CLOUD"),
            "403 ollama cloud is disabled: remote model is unavailable");
  EXPECT_EQ(NameError(Asker::kShow, "x:20b-cloud"),
            "403 ollama cloud is disabled: remote model details are unavailable");
  EXPECT_EQ(NameError(Asker::kChat, " x:8b:local "), "ok x:8b");
}

TEST(CheckIsLocal, RefusesStubsOfRemoteModels) {
  models::Model model = SmallModel("stub");
  const auto plain = *CheckName(Asker::kChat, "stub");
  const auto local = *CheckName(Asker::kChat, "stub:local");
  EXPECT_TRUE(CheckIsLocal(Asker::kChat, "stub", plain, model));
  model.config.remote_host = "https://ollama.com:443";
  EXPECT_EQ(CheckIsLocal(Asker::kChat, "stub", plain, model).error().status, 403);
  EXPECT_EQ(CheckIsLocal(Asker::kChat, "stub:local", local, model).error().text,
            "model 'stub:local' not found");
}

TEST(GeneratePrompt, UsesTheGgufsTemplateOnlyIfThereIsOne) {
  GenerateRequest request;
  request.prompt = "Hi";
  models::Model model = SmallModel();
  EXPECT_EQ(GeneratePrompt(request, model, {}).go_template, "{{ .Prompt }}");
  gguf::Info info = *model.info;
  info.metadata.push_back(
      {"tokenizer.chat_template", gguf::ValueType::kString, std::string("{{ messages }}")});
  model.info = std::make_shared<const gguf::Info>(std::move(info));
  EXPECT_EQ(GeneratePrompt(request, model, {}).go_template, "");
  request.template_text = "<{{ .Prompt }}>";
  EXPECT_EQ(GeneratePrompt(request, model, {}).go_template, "<{{ .Prompt }}>");
}

TEST(GeneratePrompt, FillsInTheMiddleWithTheModelsTemplate) {
  GenerateRequest request;
  request.prompt = "a";
  request.suffix = "b";
  request.system = "never used";
  models::Model model = SmallModel();
  model.template_text = "{{ .Prompt }}|{{ .Suffix }}";
  const PromptSource source = GeneratePrompt(request, model, {});
  EXPECT_EQ(source.kind, PromptSource::Kind::kInsert);
  EXPECT_EQ(source.text, "a");
  EXPECT_EQ(source.suffix, "b");
  EXPECT_EQ(source.go_template, "{{ .Prompt }}|{{ .Suffix }}");
  EXPECT_TRUE(source.messages.empty());
}

TEST(ChatPrompt, DropsOldThinkingOfTheTwoModelsThatKeepIt) {
  const auto message = [](std::string role, std::string content) {
    ChatMessage out;
    out.role = std::move(role);
    out.content = std::move(content);
    return out;
  };
  const auto contents = [&](const models::Model& model) {
    ChatRequest request;
    request.messages = {message("user", "q1"), message("assistant", "<think>x</think>\n\na1"),
                        message("user", "q2"), message("assistant", "<think>y</think>a2")};
    std::string all;
    for (const ChatMessage& m : ChatPrompt(request, model, {}).messages) all += m.content + "|";
    return all;
  };
  EXPECT_EQ(contents(SmallModel()), "q1|<think>x</think>\n\na1|q2|<think>y</think>a2|");
  EXPECT_EQ(contents(SmallModel("deepseek-r1:8b")), "q1|a1|q2|<think>y</think>a2|");
}

TEST(ChatPrompt, NamesWhatStandsInForATemplate) {
  ChatRequest request;
  models::Model model = SmallModel();
  model.config.renderer = "qwen3-coder";
  model.config.parser = "qwen3-coder";
  PromptSource source = ChatPrompt(request, model, {});
  EXPECT_EQ(source.go_template, "");
  EXPECT_EQ(source.renderer, "qwen3-coder");
  EXPECT_EQ(source.parser, "qwen3-coder");

  model.config.renderer = "";
  model.config.parser = "passthrough";
  source = ChatPrompt(request, model, {});
  EXPECT_EQ(source.go_template, "{{ .Prompt }}");

  model.config.renderer = model.config.parser = "gemma4";
  EXPECT_EQ(ChatPrompt(request, model, {}).renderer, "gemma4-small");
  model.config.model_type = "25.2B";
  EXPECT_EQ(ChatPrompt(request, model, {}).renderer, "gemma4-large");
}

TEST(ChatPrompt, ReadsHarmonyWithItsParser) {
  ChatRequest request;
  models::Model model = SmallModel();
  model.config.model_family = "gptoss";
  model.template_text = "<|start|>user<|message|>{{ .Prompt }}<|end|><|start|>assistant";
  const PromptSource source = ChatPrompt(request, model, {});
  EXPECT_EQ(source.parser, "harmony");
  EXPECT_EQ(source.go_template, *model.template_text);
}

TEST(CheckChat, RefusesAModelWhoseRendererNobodyKnows) {
  ChatRequest request;
  request.model = "small";
  models::Model model = SmallModel();
  model.config.capabilities = {"completion"};
  model.config.renderer = "no-such";
  const auto checked = CheckChat(request, model, {});
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().status, 500);
  EXPECT_EQ(checked.error().text.rfind("unknown renderer \"no-such\"", 0), 0U)
      << checked.error().text;
  model.template_text = "{{ .Prompt }}";
  EXPECT_TRUE(CheckChat(request, model, {}));
  model.template_text.reset();
  model.config.renderer = "qwen3-coder";
  EXPECT_TRUE(CheckChat(request, model, {}));
}

TEST(ToModelRequest, PassesExplicitValuesOnly) {
  const auto model = std::make_shared<const models::Model>(SmallModel());
  ResolvedOptions options;
  scheduler::ModelRequest request = ToModelRequest(model, options, std::nullopt, {});
  EXPECT_FALSE(request.num_ctx);
  EXPECT_FALSE(request.keep_alive);
  EXPECT_EQ(request.details, model);
  options.num_ctx = 1;
  options.use_mmap = false;
  options.kv_cache_type = "q8_0";
  request = ToModelRequest(model, options, std::chrono::nanoseconds(5), {});
  EXPECT_EQ(request.num_ctx, 4);
  EXPECT_EQ(request.use_mmap, false);
  EXPECT_EQ(request.kv_cache_type, "q8_0");
  EXPECT_FALSE(request.flash_attention);
  EXPECT_EQ(request.keep_alive, std::chrono::nanoseconds(5));
}

TEST(CheckContent, WantsAModelThatSeesForImages) {
  GenerationParts request;
  EXPECT_TRUE(CheckContent(request, 0, SmallModel(), {}));
  EXPECT_EQ(CheckContent(request, 1, SmallModel(), {}).error().status, 500);
}

TEST(HttpStatus, KnowsEveryCode) {
  EXPECT_EQ(HttpStatus(Code::kInvalidArgument), 400);
  EXPECT_EQ(HttpStatus(Code::kUnauthorized), 401);
  EXPECT_EQ(HttpStatus(Code::kForbidden), 403);
  EXPECT_EQ(HttpStatus(Code::kNotFound), 404);
  EXPECT_EQ(HttpStatus(Code::kAlreadyExists), 409);
  EXPECT_EQ(HttpStatus(Code::kTooLarge), 413);
  EXPECT_EQ(HttpStatus(Code::kUpstream), 502);
  EXPECT_EQ(HttpStatus(Code::kBusy), 503);
  EXPECT_EQ(HttpStatus(Code::kDeadline), 504);
  for (const Code code : {Code::kNoMemory, Code::kCorrupt, Code::kIo, Code::kInternal}) {
    EXPECT_EQ(HttpStatus(code), 500);
  }
}

TEST(Jobs, ContextSlidesUnlessTheFamilyCannotOrTheRequestSaysOtherwise) {
  models::Model model = SmallModel();
  GenerationParts request;
  const auto shifts = [&] { return MakeJob(request, model, ResolvedOptions{}, 512).shift; };
  EXPECT_TRUE(shifts());
  model.config.model_family = "deepseek2";
  EXPECT_FALSE(shifts());
  request.shift = true;
  EXPECT_TRUE(shifts());
  request.shift = false;
  model.config.model_family = "llama";
  EXPECT_FALSE(shifts());
}

}  // namespace
}  // namespace corral::api
