// Templates and schemas that never end or explode: bounded in time and memory, and the next request
// is served.
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cctype>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "bench.h"
#include "engine/llama/chat_templates.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

using ::testing::HasSubstr;

constexpr FormatProcesses::Limits kShort{std::chrono::milliseconds(300), std::int64_t{256} << 20};

FormatRequest Chat(std::string jinja) {
  FormatRequest request;
  request.jinja = std::move(jinja);
  ChatMessage message;
  message.role = "user";
  message.content = "hello";
  request.messages = {message};
  return request;
}

constexpr std::string_view kFine =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

std::string Nested(std::string_view open, std::string_view close, int depth) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += open;
  text += "1";
  for (int i = 0; i < depth; ++i) text += close;
  return text;
}

TEST(EngineBombs, TemplatesEndWithTheirProcess) {
  FormatProcesses& processes = Formatters();
  const std::string forever =
      "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}x"
      "{% endfor %}{% endfor %}{% endfor %}";
  const std::string doubling =
      "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}"
      "{% endfor %}{{ ns.s }}";
  const std::string endless_macro = "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}";
  const std::string deep = "{{ " + Nested("(", ")", 100000) + " }}";
  const std::string long_range = "{% for a in range(2000000000) %}{% endfor %}";
  for (const std::string& bomb : {forever, doubling, endless_macro, deep, long_range}) {
    const auto reply = processes.Run(Chat(bomb), kShort, {});
    ASSERT_FALSE(reply) << bomb.substr(0, 80);
    EXPECT_THAT(reply.error().code,
                ::testing::AnyOf(Code::kTooLarge, Code::kNoMemory, Code::kInternal))
        << reply.error().message;
    const auto fine = processes.Run(Chat(std::string(kFine)), kShort, {});
    ASSERT_TRUE(fine) << fine.error().message;
    EXPECT_EQ(fine->prompt, "<user>hello<assistant>");
  }
}

// Our children and theirs of this name, by /proc.
std::vector<pid_t> Descendants(std::string_view name) {
  struct Process {
    std::string name;
    pid_t parent = 0;
  };
  std::map<pid_t, Process> all;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    if (std::isdigit(entry.path().filename().native().front()) == 0) continue;
    std::ifstream file(entry.path() / "stat");
    std::string stat;
    std::getline(file, stat);
    const std::size_t open = stat.find('('), close = stat.rfind(')');
    if (close == std::string::npos || stat.at(close + 2) == 'Z') continue;
    all[std::stoi(stat)] = {stat.substr(open + 1, close - open - 1),
                            std::stoi(stat.substr(close + 4))};
  }
  std::vector<pid_t> found;
  for (const auto& [pid, process] : all) {
    pid_t at = pid;
    while (at > 1 && at != ::getpid()) at = all.contains(at) ? all[at].parent : 0;
    if (at == ::getpid() && process.name == name) found.push_back(pid);
  }
  return found;
}

void Kill(const std::vector<pid_t>& processes) {
  for (const pid_t pid : processes) {
    const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    ASSERT_TRUE(process.is_valid());
    ::kill(pid, SIGKILL);
    pollfd ended{process.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&ended, 1, std::chrono::milliseconds(kPatience).count()), 1);
    ::waitpid(pid, nullptr, WNOHANG);  // an orphan is ours
  }
}

TEST(EngineBombs, AKilledNurseryIsReplaced) {
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  FormatProcesses& processes = Formatters();
  // Each in turn, so that the last ones are other processes than the first two.
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(processes.Run(Chat(std::string(kFine)), kShort, {})) << i;
    const std::vector<pid_t> nurseries = Descendants("corral-nursery");
    ASSERT_EQ(nurseries.size(), 2U) << i;
    Kill({i % 2 == 0 ? nurseries.front() : nurseries.back()});
    Kill(Descendants("corral-format"));
    const auto fine = processes.Run(Chat(std::string(kFine)), kShort, {});
    ASSERT_TRUE(fine) << i << ": " << fine.error().message;
    EXPECT_EQ(fine->prompt, "<user>hello<assistant>");
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST(EngineBombs, AStoppedRequestDoesNotWaitForItsTemplate) {
  FormatProcesses& processes = Formatters();
  StopSource source;
  source.RequestStop(StopReason::kClientGone);
  const FormatProcesses::Limits patient{std::chrono::minutes(1), std::int64_t{256} << 20};
  const auto reply = processes.Run(
      Chat("{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}"),
      patient, source.token());
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::kCancelled);
}

TEST(EngineBombs, AModelWithAnEndlessTemplateLoadsAndRefusesChats) {
  testing::TinyLlamaOptions options;
  options.is_endless = true;
  options.chat_template =
      "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}";
  Bench bench(testing::TinyLlama(options).Bytes());
  GenerateJob job = Greedy("", 2);
  job.prompt.kind = PromptSource::Kind::kMessages;
  ChatMessage message;
  message.role = "user";
  message.content = "hello";
  job.prompt.messages = {message};
  const Story story = bench.Run(job);
  EXPECT_EQ(story.error().code, Code::kInternal);
  EXPECT_THAT(story.error().message, HasSubstr("chat template"));
  EXPECT_TRUE(bench.Run(Greedy("hello", 2)).IsFinished()) << "raw prompts need no template";
}

TEST(EngineBombs, SchemasAreRefusedInTime) {
  Bench bench(EndlessModel());
  const std::string many_choices = [] {
    std::string text = R"({"anyOf":[)";
    for (int i = 0; i < 5000; ++i)
      text += (i > 0 ? "," : "") + std::string(R"({"const":)") + std::to_string(i) + "}";
    return text + "]}";
  }();
  std::string exploding = R"({"$defs":{"a0":{"type":"string"})";
  for (int i = 1; i < 40; ++i) {
    const std::string before = R"({"$ref":"#/$defs/a)" + std::to_string(i - 1) + "\"}";
    exploding += ",\"a" + std::to_string(i) + R"(":{"type":"object","properties":{"x":)" + before +
                 ",\"y\":" + before + "}}";
  }
  exploding += R"(},"$ref":"#/$defs/a39"})";
  for (
      const std::string& bomb :
      {Nested(R"({"items":)", "}", 10000), many_choices,
       std::string(R"({"type":"string","minLength":1000000000})"),
       std::string(
           R"({"type":"string","pattern":"^((((((a{0,100}){0,100}){0,100}){0,100}){0,100}))$"})"),
       std::string(R"({"type":"string","pattern":"^(a+)+b$")"),
       std::string(
           R"({"type":"array","items":{"type":"array","items":{"type":"array","items":{"type":"integer"},"maxItems":1300},"maxItems":1300},"maxItems":1300})"),
       std::string(R"({"$ref":"#"})"),
       std::string(
           R"({"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}})"),
       std::string(R"({"$ref":"https://127.0.0.1:1/schema.json"})"),
       std::string(R"({"anyOf":[{"$ref":"#"},{"type":"string"}]})")}) {
    GenerateJob job = Greedy("hello", 4);
    job.format_json = bomb;
    const Story story = bench.Run(job);
    if (!story.IsFinished()) {
      EXPECT_EQ(story.error().code, Code::kInvalidArgument)
          << bomb.substr(0, 80) << ": " << story.error().message;
    }
  }
  GenerateJob job = Greedy("hello", 4);
  job.format_json = exploding;  // each definition once: large, but no explosion
  const Story story = bench.Run(job);
  EXPECT_TRUE(story.IsFinished() || story.error().code == Code::kInvalidArgument)
      << story.error().message;
  EXPECT_TRUE(bench.Run(Greedy("hello", 2)).IsFinished());
}

// A model whose template, Hermes', describes tools, so that llama.cpp makes a grammar of them.
std::string ModelWithTools() {
  testing::TinyLlamaOptions options;
  options.is_endless = true;
  options.chat_template = std::string(EmbeddedTemplate("Qwen-Qwen2.5-7B-Instruct.jinja"));
  options.control_tokens = {"<|im_start|>", "<|im_end|>"};
  return testing::TinyLlama(options).Bytes();
}

GenerateJob ChatWithTool(const std::string& parameters) {
  GenerateJob job = Greedy("", 2);
  job.is_chat = true;
  job.prompt.kind = PromptSource::Kind::kMessages;
  ChatMessage message;
  message.role = "user";
  message.content = "hello";
  job.prompt.messages = {message};
  job.prompt.tools_json =
      R"([{"type":"function","function":{"name":"f","parameters":)" + parameters + "}}]";
  return job;
}

TEST(EngineBombs, SchemasOfToolsAreRefusedInTime) {
  Bench bench(ModelWithTools(), Bench::Small(1, 2048));
  std::string wide = R"({"type":"object","properties":{"x":{"type":"object","properties":{)";
  for (int i = 0; i < 2000; ++i)
    wide += (i > 0 ? "," : "") + std::string("\"p") + std::to_string(i) + R"(":{"type":"string"})";
  wide += "}}}}";
  // Every one within the limits of a schema, all together not.
  std::string many = R"({"type":"object"}}})";
  for (int i = 0; i < 150; ++i) {
    many += R"(,{"function":{"name":"f)" + std::to_string(i) +
            R"(","parameters":{"type":"object","properties":{)";
    for (int p = 0; p < 120; ++p) {
      many += (p > 0 ? "," : "") + std::string("\"p") + std::to_string(p) +
              R"(":{"type":"array","items":{"enum":["a","b"]},"maxItems":30})";
    }
    many += "}}}}";
  }
  many.resize(many.size() - 2);
  for (const std::string& bomb :
       {Nested(R"({"type":"array","items":)", "}", 20000), wide, many,
        std::string(
            R"({"type":"object","properties":{"x":{"type":"string","maxLength":1000000000}}})"),
        std::string(R"({"type":"object","properties":{"x":{"$ref":"#/properties/y"}}})")}) {
    const Story story = bench.Run(ChatWithTool(bomb));
    ASSERT_EQ(story.n_last, 1);
    EXPECT_EQ(story.error().code, Code::kInvalidArgument)
        << bomb.substr(0, 80) << ": " << story.error().message;
    EXPECT_THAT(story.error().message, HasSubstr("tool")) << bomb.substr(0, 80);
  }
  for (const std::string_view fine :
       {R"({"type":"object","properties":{"x":{"type":"string"}}})", R"({"type":"object"})", "{}",
        R"({"type":"object","properties":{"x":{"type":"string","pattern":"^(?=a)b$"}}})"}) {
    const Story story = bench.Run(ChatWithTool(std::string(fine)));
    EXPECT_TRUE(story.IsFinished()) << fine << ": " << story.error().message;
  }
}

// Alternatives that begin alike and hold each other again: twice or 63 times as many ways with each
// bracket. Behind a key that is longer than any look ahead.
std::vector<std::string> Multiplying() {
  const std::string key(120, 'k');
  const auto behind_a_key = [&key](const std::string& alternatives) {
    return R"({"type":"object","required":[")" + key + R"("],"properties":{")" + key +
           R"(":{"$ref":"#/$defs/n"}},"$defs":{"n":{"anyOf":[)" + alternatives + "]}}}";
  };
  const std::string list = R"({"type":"array","minItems":1,"items":{"$ref":"#/$defs/n"}})";
  const std::string object =
      R"({"type":"object","properties":{"next":{"$ref":"#/$defs/n"}},"required":["next"]})";
  std::string many = list;
  for (int i = 1; i < 60; ++i) many += "," + list;
  std::string hidden = list + "," + list;
  for (int i = 0; i < 40; ++i) hidden += R"(,{"const":"word)" + std::to_string(i) + "\"}";
  // Behind what has thousands of rules itself.
  const std::string behind_a_string =
      R"({"type":"object","properties":{"a":{"type":"string","maxLength":2000},"z":{"$ref":"#/$defs/n"}},)"
      R"("$defs":{"n":{"anyOf":[)" +
      list + "," + list + "]}}}";
  return {behind_a_key(many), behind_a_key(hidden), behind_a_key(object + "," + object),
          behind_a_string};
}

TEST(EngineBombs, SchemasWhoseWaysMultiplyAreRefused) {
  Bench bench(ModelWithTools(), Bench::Small(1, 2048));
  for (const std::string& bomb : Multiplying()) {
    GenerateJob job = Greedy("hello", 200);
    job.format_json = bomb;
    const Story of_format = bench.Run(job);
    EXPECT_EQ(of_format.error().code, Code::kInvalidArgument) << bomb;
    EXPECT_THAT(of_format.error().message, HasSubstr("too ambiguous")) << bomb;
    const Story of_tool = bench.Run(ChatWithTool(bomb));
    EXPECT_EQ(of_tool.error().code, Code::kInvalidArgument) << bomb;
    EXPECT_THAT(of_tool.error().message, HasSubstr("too ambiguous")) << bomb;
  }
}

TEST(EngineBombs, SchemasThatAreLargeOrRecursiveButClearAreNot) {
  Bench bench(ModelWithTools(), Bench::Small(1, 2048));
  std::string words = R"({"enum":["w0")";
  for (int i = 1; i < 200; ++i) words += ",\"w" + std::to_string(i) + "\"";
  words += "]}";
  std::string optional = R"({"type":"object","properties":{"p0":{"type":"string"})";
  for (int i = 1; i < 60; ++i)
    optional += ",\"p" + std::to_string(i) + R"(":{"type":["string","null"]})";
  optional += "}}";
  const std::string tree =
      R"({"$ref":"#/$defs/n","$defs":{"n":{"anyOf":[{"type":"object","properties":{"op":{"const":"+"},)"
      R"("left":{"$ref":"#/$defs/n"},"right":{"$ref":"#/$defs/n"}},"required":["op","left","right"]},)"
      R"({"type":"object","properties":{"op":{"const":"-"},"of":{"$ref":"#/$defs/n"}},)"
      R"("required":["op","of"]},{"type":"number"}]}}})";
  std::string variants = R"({"anyOf":[)";
  for (int variant = 0; variant < 9; ++variant) {
    variants += std::string(variant > 0 ? "," : "") + R"({"type":"object","properties":{)";
    for (int i = 0; i < 30; ++i) {
      variants += std::string(i > 0 ? "," : "") + "\"v" + std::to_string(variant) + "p" +
                  std::to_string(i) + R"(":{"type":"integer"})";
    }
    variants += "}}";
  }
  variants += "]}";
  for (const std::string& fine : {words, optional, tree, variants}) {
    GenerateJob job = Greedy("hello", 60);
    job.format_json = fine;
    const Story story = bench.Run(job);
    EXPECT_TRUE(story.IsFinished()) << fine.substr(0, 80) << ": " << story.error().message;
  }
}

// Many ways that go on with the same letters, and a vocabulary of words: as many paths through a
// word as the ways to the power of its length, if each is gone.
TEST(EngineBombs, PatternsOfManyEqualWaysAreFollowed) {
  Bench bench(EndlessModel());
  std::string pattern = "^(";
  for (char last = 'z'; last > 'j'; --last)
    pattern += std::string(last < 'z' ? "|" : "") + "[ a-" + last + "]";
  pattern += ")*$";
  GenerateJob job = Greedy("hello", 40);
  job.format_json = R"({"type":"string","pattern":")" + pattern + "\"}";
  const Story story = bench.Run(job);
  ASSERT_TRUE(story.IsFinished()) << story.error().message;
  EXPECT_EQ(story.finish().eval_tokens, 40) << story.text;
  job.sampling.temperature = 1;
  EXPECT_TRUE(bench.Run(job).IsFinished());
}

}  // namespace
}  // namespace corral::engine
