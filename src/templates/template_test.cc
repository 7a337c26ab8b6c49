#include "templates/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

namespace corral::templates {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// --- the cases of tests/cases/templates.test
// ---------------------------------------------------------------------------

struct CaseFile {
  std::map<std::string, std::string> defined;  // TOOL, CALL: JSON text
  std::vector<Json> cases;
};

const CaseFile& Cases() {
  static const CaseFile kFile = [] {
    CaseFile file;
    std::ifstream in(CORRAL_SOURCE_DIR "/tests/cases/templates.test");
    for (std::string line; std::getline(in, line);) {
      if (line.empty() || line[0] == '#') continue;
      Json json = Json::parse(line);
      if (json.contains("define")) {
        file.defined[json["define"]] = json["value"].dump();
      } else {
        file.cases.push_back(std::move(json));
      }
    }
    return file;
  }();
  return kFile;
}

Json Expand(const Json& json) {
  if (!json.is_string()) return json;
  const std::string text = json;
  const auto& defined = Cases().defined;
  if (text == "[TOOL]") return Json::array({Json::parse(defined.at("TOOL"))});
  if (text == "[TOOL]x2")
    return Json::array({Json::parse(defined.at("TOOL")), Json::parse(defined.at("TOOL"))});
  if (text == "[CALL]") return Json::array({Json::parse(defined.at("CALL"))});
  return json;
}

ChatMessage MakeMessage(const Json& json) {
  static const std::map<std::string, std::string> kRoles = {
      {"s", "system"}, {"u", "user"}, {"a", "assistant"}, {"t", "tool"}};
  ChatMessage message;
  message.role = kRoles.at(json[0]);
  message.content = json[1];
  if (json.size() < 3) return message;
  const Json& more = json[2];
  message.thinking = more.value("thinking", "");
  message.tool_name = more.value("tool_name", "");
  message.tool_call_id = more.value("tool_call_id", "");
  for (const Json& call : Expand(more.value("tool_calls", Json::array()))) {
    const Json& function = call["function"];
    message.tool_calls.push_back(
        {call["id"], function["name"], function["arguments"].dump(), function["index"]});
  }
  return message;
}

RenderInput MakeInput(const Json& json) {
  RenderInput input;
  for (const Json& message : json.value("m", Json::array()))
    input.messages.push_back(MakeMessage(message));
  input.prompt = json.value("prompt", "");
  input.suffix = json.value("suffix", "");
  if (json.contains("tools")) input.tools_json = Expand(json["tools"]).dump();
  if (json.contains("think")) {
    const Json& think = json["think"];
    input.think =
        think.is_boolean() ? Think{think.get<bool>(), ""} : Think{true, think.get<std::string>()};
  }
  return input;
}

std::string TextOf(const Json& json) {
  if (!json.contains("bundled")) return json["t"];
  for (const Bundled& bundled : AllBundled()) {
    if (bundled.name == json["bundled"].get<std::string>()) return std::string(bundled.text);
  }
  return "{{ no such bundled template }}";
}

std::vector<std::string> Names(const std::vector<Capability>& capabilities) {
  std::vector<std::string> names;
  for (const Capability capability : capabilities) names.emplace_back(CapabilityName(capability));
  return names;
}

void CheckDerived(const Json& json, const Template& parsed) {
  if (json.contains("thinking_tags")) {
    EXPECT_EQ(parsed.thinking_tags().open, json["thinking_tags"][0]);
    EXPECT_EQ(parsed.thinking_tags().close, json["thinking_tags"][1]);
  }
  if (json.contains("tool_call_tag")) {
    EXPECT_EQ(parsed.tool_call_tag(), json["tool_call_tag"]);
  }
  if (json.contains("variables")) {
    EXPECT_EQ(parsed.Variables(), json["variables"].get<std::vector<std::string>>());
  }
  if (json.contains("capabilities")) {
    EXPECT_EQ(Names(parsed.Capabilities()), json["capabilities"].get<std::vector<std::string>>());
  }
  if (json.contains("round_trip")) {
    EXPECT_EQ(parsed.HasToolRoundTrip(), json["round_trip"]);
  }
}

void RunCase(const Json& json) {
  const auto parsed = Template::Parse(TextOf(json));
  if (json.contains("parse_error")) {
    ASSERT_FALSE(parsed) << "parsed, but should not";
    EXPECT_EQ(parsed.error().message, json["parse_error"]);
    EXPECT_EQ(parsed.error().code, Code::kInvalidArgument);
    return;
  }
  ASSERT_TRUE(parsed) << parsed.error().message;
  CheckDerived(json, *parsed);
  const bool renders =
      json.contains("out") || json.contains("exec_error") || json.contains("too_large");
  if (!renders) return;
  const auto out = parsed->Render(MakeInput(json));
  if (json.contains("out")) {
    ASSERT_TRUE(out) << out.error().message;
    EXPECT_EQ(*out, json["out"]);
    return;
  }
  ASSERT_FALSE(out) << "rendered, but should not: " << *out;
  if (json.contains("exec_error")) {
    EXPECT_EQ(out.error().message, json["exec_error"]);
    EXPECT_EQ(out.error().code, Code::kInternal);
  } else {
    EXPECT_EQ(out.error().code, Code::kTooLarge);
  }
}

TEST(TemplateCases, RenderAsWritten) {
  ASSERT_GT(Cases().cases.size(), 250U) << "the case file is missing or short";
  for (const Json& json : Cases().cases) {
    SCOPED_TRACE(json["id"].get<std::string>() + ": " + json.value("t", json.value("bundled", "")));
    RunCase(json);
  }
}

// --- what a case cannot say
// --------------------------------------------------------------------------------------------

Template Parsed(std::string_view text) {
  auto parsed = Template::Parse(text);
  EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().message);
  return *parsed;
}

std::string Rendered(std::string_view text, const RenderInput& input = {}) {
  auto out = Parsed(text).Render(input);
  EXPECT_TRUE(out) << (out ? "" : out.error().message);
  return out.value_or("");
}

Code RenderCode(std::string_view text, const RenderInput& input = {}) {
  const auto out = Parsed(text).Render(input);
  EXPECT_FALSE(out);
  return out ? Code::kInternal : out.error().code;
}

std::string Repeat(std::string_view text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

RenderInput Chat(std::vector<std::pair<std::string, std::string>> messages) {
  RenderInput input;
  for (auto& [role, content] : messages) {
    ChatMessage message;
    message.role = role;
    message.content = content;
    input.messages.push_back(std::move(message));
  }
  return input;
}

TEST(Template, GivesTheDateOfTodayAndYesterday) {
  const std::string out = Rendered("{{ currentDate }}|{{ yesterdayDate \"x\" }}{{ .Response }}");
  EXPECT_THAT(out,
              ::testing::MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}\\|[0-9]{4}-[0-9]{2}-[0-9]{2}"));
  EXPECT_LE(out.substr(11), out.substr(0, 10));
}

TEST(Template, ShowsThatAMessageHasImagesButNotTheirBytes) {
  RenderInput input = Chat({{"user", "[img-0]what?"}});
  input.messages[0].images = {"\xFF\xD8 bytes"};
  EXPECT_EQ(Rendered("{{ range .Messages }}{{ len .Images }}{{ if .Images }}!{{ end }}{{ .Content "
                     "}}{{ json .Images }}{{ end }}",
                     input),
            "1![img-0]what?[{}]");
}

TEST(Template, KeepsThinkingOfMergedMessages) {
  RenderInput input = Chat({{"assistant", "A"}, {"assistant", "B"}});
  input.messages[1].thinking = "hmm";
  EXPECT_EQ(Rendered("{{ range .Messages }}{{ .Thinking }}:{{ .Content }}{{ end }}", input),
            "hmm:A\n\nB");
}

TEST(Template, RefusesToolsThatAreNoJson) {
  RenderInput input = Chat({{"user", "A"}});
  input.tools_json = "{not json";
  EXPECT_EQ(RenderCode("{{ range .Messages }}{{ end }}", input), Code::kInvalidArgument);
  input.tools_json = "{}";
  EXPECT_EQ(RenderCode("{{ range .Messages }}{{ end }}", input), Code::kInvalidArgument);
  input.tools_json = Repeat("[", 100000) + Repeat("]", 100000);
  EXPECT_EQ(RenderCode("{{ range .Messages }}{{ end }}", input), Code::kInvalidArgument);
  input.tools_json.clear();
  input.messages[0].tool_calls.push_back({"", "f", "[1]", 0});
  EXPECT_EQ(RenderCode("{{ range .Messages }}{{ end }}", input), Code::kInvalidArgument);
}

TEST(Template, ReadsToolsWithMissingAndWrongMembersAsEmpty) {
  RenderInput input = Chat({{"user", "A"}});
  input.tools_json =
      R"([7, {}, {"function": {"name": 3, "parameters": {"properties": {"x": 1}}}}])";
  EXPECT_EQ(
      Rendered("{{ range .Messages }}{{ end }}{{ range .Tools }}{{ json .Function.Name }};{{ end "
               "}}{{ json .Tools }}",
               input),
      R"("";"";"";[{"type":"","function":{"name":"","description":"","parameters":{"type":"","properties":{}}}},)"
      R"({"type":"","function":{"name":"","description":"","parameters":{"type":"","properties":{}}}},)"
      R"({"type":"","function":{"name":"","description":"","parameters":{"type":"","properties":{"x":{}}}}}])");
}

TEST(Template, EndsAnEndlessRecursion) {
  EXPECT_EQ(RenderCode("{{ define \"x\" }}{{ template \"x\" . }}{{ end }}{{ template \"x\" . }}"),
            Code::kTooLarge);
  EXPECT_EQ(RenderCode("{{ define \"x\" }}" + Repeat("{{ if 1 }}", 190) + "{{ template \"x\" . }}" +
                       Repeat("{{ end }}", 190) + "{{ end }}{{ template \"x\" . }}"),
            Code::kTooLarge);
}

TEST(Template, EndsWhenItsTextGrowsTooLarge) {
  const std::string doubling = "{{ $x := \"0123456789\" }}" + Repeat("{{ $x = print $x $x }}", 40);
  EXPECT_EQ(RenderCode(doubling), Code::kTooLarge);
  const std::string big = "{{ $x := printf \"%1000000d\" 1 }}{{ range 1000 }}{{ $x }}{{ end }}";
  EXPECT_EQ(RenderCode(big), Code::kTooLarge);
  EXPECT_EQ(
      RenderCode("{{ printf \"" + Repeat("%1000000d", 1000) + "\"" + Repeat(" 1", 1000) + " }}"),
      Code::kTooLarge);
}

TEST(Template, RefusesDeepNestingWhileParsing) {
  for (const auto& [open, middle, close] :
       std::vector<std::array<std::string, 3>>{{"{{ if 1 }}", "", "{{ end }}"},
                                               {"{{ if 1 }}{{ else ", "{{ end }}", ""},
                                               {"{{ define \"x\" }}", "", "{{ end }}"}}) {
    EXPECT_FALSE(Template::Parse(Repeat(open, 100000) + middle + Repeat(close, 100000)));
  }
  const auto chained =
      Template::Parse("{{ if 1 }}" + Repeat("{{ else if 1 }}", 50000) + "{{ end }}");
  ASSERT_FALSE(chained);
  EXPECT_THAT(chained.error().message, HasSubstr("max nesting depth exceeded"));
  const auto parens =
      Template::Parse("{{ " + Repeat("(", 100000) + "1" + Repeat(")", 100000) + " }}");
  ASSERT_FALSE(parens);
  EXPECT_EQ(parens.error().message, "template: :1: max expression depth exceeded");
}

TEST(Template, AcceptsNestingBelowTheLimits) {
  EXPECT_EQ(Rendered(Repeat("{{ if 1 }}", 199) + "x" + Repeat("{{ end }}", 199)), "x");
  EXPECT_EQ(Rendered("{{ " + Repeat("(", 200) + "1" + Repeat(")", 200) + " }}"), "1");
}

TEST(Template, RefusesATemplateOfMoreThanOneMegabyte) {
  EXPECT_TRUE(Template::Parse(std::string(std::size_t{1} << 20U, 'x')));
  EXPECT_FALSE(Template::Parse(std::string((std::size_t{1} << 20U) + 1, 'x')));
}

TEST(Template, IsSharedBetweenThreads) {
  const Template shared = Parsed("{{ range .Messages }}{{ .Role }}:{{ .Content }};{{ end }}");
  std::vector<std::thread> threads;
  std::vector<std::string> outs(4);
  for (std::size_t i = 0; i < outs.size(); ++i) {
    threads.emplace_back([&outs, i, copy = shared] {
      for (int n = 0; n < 100; ++n)
        outs[i] = copy.Render(Chat({{"user", std::to_string(i)}})).value_or("");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(outs, ElementsAre("user:0;", "user:1;", "user:2;", "user:3;"));
}

// --- Jinja
// -------------------------------------------------------------------------------------------------------------

TEST(Jinja, IsJudgedByItsWords) {
  EXPECT_THAT(JinjaCapabilities("{% if tools %}"), ElementsAre(Capability::kTools));
  EXPECT_THAT(JinjaCapabilities("{{ message.tool_call }}"), ElementsAre(Capability::kTools));
  EXPECT_THAT(JinjaCapabilities("<think></think>"), ElementsAre(Capability::kThinking));
  EXPECT_THAT(JinjaCapabilities("<think>"), IsEmpty());
  EXPECT_THAT(JinjaCapabilities("content.split('</think>')[-1]"),
              ElementsAre(Capability::kThinking));
  EXPECT_THAT(JinjaCapabilities("content.split(\"</think>\")[-1]"),
              ElementsAre(Capability::kThinking));
  EXPECT_THAT(JinjaCapabilities("content.split('</think>') reasoning_content"), IsEmpty());
  EXPECT_THAT(JinjaCapabilities("content.split('</think>') <SPECIAL_12>"), IsEmpty());
  EXPECT_THAT(JinjaCapabilities("plain"), IsEmpty());
}

TEST(Jinja, HasAToolRoundTripIfItRendersCallsAndResults) {
  EXPECT_TRUE(JinjaHasToolRoundTrip("tools tool_calls tool_response"));
  EXPECT_TRUE(JinjaHasToolRoundTrip("tool_calls message['role'] == \"tool\""));
  EXPECT_TRUE(JinjaHasToolRoundTrip("assistant_tool_call ipython"));
  EXPECT_FALSE(JinjaHasToolRoundTrip("tools tool_response"));
  EXPECT_FALSE(JinjaHasToolRoundTrip("tools tool_calls"));
}

TEST(Jinja, WinsOverAGoTemplateThatOffersLess) {
  const Template plain = Parsed("CUSTOM {{ .Prompt }}");
  EXPECT_TRUE(PrefersJinja(plain, "{% if tools %}", std::nullopt));
  EXPECT_FALSE(PrefersJinja(plain, "{% if tools %}", true));
  EXPECT_FALSE(PrefersJinja(plain, "plain", std::nullopt));
  EXPECT_TRUE(PrefersJinja(plain, "plain", false));
  EXPECT_FALSE(PrefersJinja(plain, "", false));
}

TEST(Jinja, LosesToAGoTemplateWithAToolRoundTrip) {
  const Template round_trip = Parsed(
      "{{ .Tools }}{{ range .Messages }}{{ .ToolCalls }}{{ if eq .Role \"tool\" }}{{ end }}{{ end "
      "}}");
  EXPECT_FALSE(PrefersJinja(round_trip, "tools tool_response", std::nullopt));
  EXPECT_FALSE(PrefersJinja(round_trip, "tools <think></think>", std::nullopt));
  EXPECT_TRUE(PrefersJinja(round_trip, "tool_calls ipython <think></think>", std::nullopt));
  const Template tools_only = Parsed("{{ .Tools }}{{ range .Messages }}{{ end }}");
  EXPECT_TRUE(PrefersJinja(tools_only, "tool_calls tool_response", std::nullopt));
  EXPECT_FALSE(PrefersJinja(tools_only, "tools", std::nullopt));
}

}  // namespace
}  // namespace corral::templates
