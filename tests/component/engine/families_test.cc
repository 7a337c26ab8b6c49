// The families of families.h by their real templates: prompts, and answers cut at every place.
#include "families.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>

#include "bench.h"
#include "engine/llama/chat_templates.h"
#include "engine/llama/output_parser.h"
#include "engine/llama/output_syntax.h"
#include "templates/renderers.h"

namespace corral::engine {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const OutputSyntax> SyntaxOf(const Family& family, bool with_tools,
                                             bool with_thinking) {
  const auto reply =
      Formatters().Run(RequestOf(family, with_tools, with_thinking), FormatProcesses::Limits(), {});
  if (!reply) {
    ADD_FAILURE() << family.name << ": " << reply.error().message;
    return nullptr;
  }
  return MakeSyntax(*reply).value();
}

constexpr std::string_view kParis = R"(get_weather{"city":"Paris"})";
constexpr std::string_view kSum = R"(add{"a":1,"b":2})";

TEST(EngineFamilies, RenderToolsResultsAndThinking) {
  for (const Family& family : Families()) {
    for (const bool with_tools : {false, true}) {
      if (with_tools && !family.has_tools) continue;
      const auto reply = Formatters().Run(RequestOf(family, with_tools, family.has_thinking),
                                          FormatProcesses::Limits(), {});
      ASSERT_TRUE(reply) << family.name << ": " << reply.error().message;
      EXPECT_THAT(reply->prompt, HasSubstr("And in Paris?")) << family.name;
      EXPECT_EQ(reply->supports_thinking, family.has_thinking) << family.name;
      if (!with_tools) continue;
      if (family.describes_tools) {
        EXPECT_THAT(reply->prompt, HasSubstr("The weather of a city")) << family.name;
      }
      EXPECT_THAT(reply->prompt, HasSubstr("sunny")) << family.name;
    }
  }
}

TEST(EngineFamilies, CallsOfEarlierTurnsStayWhereTheTemplateWritesNone) {
  const Family& granite =
      *std::find_if(Families().begin(), Families().end(),
                    [](const Family& one) { return one.name == "Granite 3.3"; });
  const auto reply =
      Formatters().Run(RequestOf(granite, true, false), FormatProcesses::Limits(), {});
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_THAT(reply->prompt,
              HasSubstr(R"(<|tool_call|>[{"name": "get_weather", "arguments": {"city":"Rome"}}])"));
  EXPECT_THAT(reply->preserved, ::testing::Contains("<|tool_call|>"))
      << "a control token, which is not shown otherwise";
}

// A mark is looked for only where llama.cpp sees no calls in the template.
TEST(EngineFamilies, OnlyGranite3SaysInWordsHowToCall) {
  std::vector<std::string> found;
  int n_templates = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(CORRAL_LLAMA_SOURCE) / "models" / "templates")) {
    if (entry.path().extension() != ".jinja") continue;
    FormatRequest request;
    request.jinja = EmbeddedTemplate(entry.path().filename().string());
    request.tools_json = kTools;
    ChatMessage question;
    question.role = "user";
    question.content = "hello";
    request.messages = {question};
    const auto reply = Formatters().Run(request, FormatProcesses::Limits(), {});
    if (!reply) continue;  // one that wants more than a question
    ++n_templates;
    if (!reply->tool_mark.empty()) found.push_back(entry.path().filename().string());
  }
  EXPECT_GT(n_templates, 40);
  EXPECT_THAT(found, ::testing::ElementsAre("ibm-granite-granite-3.3-2B-Instruct.jinja"));
}

TEST(EngineFamilies, AFenceInAnAnswerStays) {
  for (const Family& family : Families()) {
    if (family.always_thinks) continue;
    for (const bool with_tools : {false, true}) {
      if (with_tools && !family.has_tools) continue;
      const auto syntax = SyntaxOf(family, with_tools, false);
      ASSERT_NE(syntax, nullptr);
      const std::string answer = "```json\n{\"city\": \"Paris\"}\n```";
      ExpectEverywhere(syntax, family.before_answer + answer, "", answer, {},
                       std::string(family.name) + (with_tools ? " with tools" : ""));
    }
  }
}

TEST(EngineFamilies, ThinkingThatIsNotAskedForIsOff) {
  const Family& qwen = *std::find_if(Families().begin(), Families().end(),
                                     [](const Family& one) { return one.name == "Qwen 3"; });
  FormatRequest request = RequestOf(qwen, false, false);
  const auto off = Formatters().Run(request, FormatProcesses::Limits(), {});
  request.think.reset();
  const auto absent = Formatters().Run(request, FormatProcesses::Limits(), {});
  ASSERT_TRUE(off && absent);
  EXPECT_THAT(absent->prompt, ::testing::EndsWith("<think>\n\n</think>\n\n"));
  EXPECT_EQ(absent->prompt, off->prompt);
}

TEST(EngineFamilies, HarmonyTakesALevel) {
  const Family& gpt = *std::find_if(Families().begin(), Families().end(),
                                    [](const Family& one) { return one.name == "gpt-oss"; });
  FormatRequest request = RequestOf(gpt, false, true);
  request.think = Think{true, "high"};
  const auto reply = Formatters().Run(request, FormatProcesses::Limits(), {});
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_THAT(reply->prompt, HasSubstr("Reasoning: high"));
}

TEST(EngineFamilies, ReadPlainAnswers) {
  for (const Family& family : Families()) {
    for (const bool with_tools : {false, true}) {
      if (with_tools && !family.has_tools) continue;
      const auto syntax = SyntaxOf(family, with_tools, false);
      ASSERT_NE(syntax, nullptr);
      if (family.always_thinks) continue;
      ExpectEverywhere(syntax, family.before_answer + "It is sunny. {1 < 2}", "",
                       "It is sunny. {1 < 2}", {},
                       std::string(family.name) + (with_tools ? " with tools" : ""));
    }
  }
}

TEST(EngineFamilies, ReadThinking) {
  for (const Family& family : Families()) {
    if (!family.has_thinking) continue;
    for (const bool with_tools : {false, true}) {
      if (with_tools && !family.has_tools) continue;
      const auto syntax = SyntaxOf(family, with_tools, true);
      ASSERT_NE(syntax, nullptr);
      ExpectEverywhere(syntax, family.thinking + family.before_answer + "It is sunny.", "why",
                       "It is sunny.", {}, std::string(family.name));
    }
  }
}

TEST(EngineFamilies, ReadCalls) {
  for (const Family& family : Families()) {
    if (!family.has_tools) continue;
    const auto syntax = SyntaxOf(family, true, family.has_thinking);
    ASSERT_NE(syntax, nullptr);
    const std::string thinking = family.has_thinking ? "why" : "";
    ExpectEverywhere(syntax, family.thinking + family.call, thinking, "", {std::string(kParis)},
                     std::string(family.name));
    if (!family.call_id.empty()) {
      EXPECT_EQ(ReadIn(syntax, {family.call}).calls.at(0).id, family.call_id) << family.name;
    }
    if (family.two_calls.empty()) continue;
    ExpectEverywhere(syntax, family.thinking + family.two_calls, thinking, "",
                     {std::string(kParis), std::string(kSum)}, std::string(family.name));
  }
}

TEST(EngineFamilies, HalfACallIsText) {
  for (const Family& family : Families()) {
    if (!family.has_tools) continue;
    const auto syntax = SyntaxOf(family, true, family.has_thinking);
    ASSERT_NE(syntax, nullptr);
    const std::string output = family.thinking + family.call;
    const std::size_t half = output.find("Par") + 3;
    for (const bool in_characters : {false, true}) {
      std::vector<std::string_view> pieces = {std::string_view(output).substr(0, half)};
      if (in_characters) pieces = Characters(pieces[0]);
      const Answer answer = ReadIn(syntax, pieces);
      EXPECT_TRUE(answer.calls.empty()) << family.name;
      EXPECT_THAT(answer.text, HasSubstr("get_weather")) << family.name;
      EXPECT_THAT(answer.text, ::testing::EndsWith("Par")) << family.name;
    }
  }
}

TEST(EngineFamilies, AnAnswerThatHasBegunGoesOn) {
  for (const Family& family : Families()) {
    FormatRequest request = RequestOf(family, false, false);
    ChatMessage begun;
    begun.role = "assistant";
    begun.content = "It is ";
    request.messages.push_back(begun);
    const auto reply = Formatters().Run(request, FormatProcesses::Limits(), {});
    ASSERT_TRUE(reply) << family.name << ": " << reply.error().message;
    EXPECT_THAT(std::string(Trimmed(reply->prompt)), ::testing::EndsWith("It is")) << family.name;
    EXPECT_TRUE(reply->is_continuation);
    const Answer answer = ReadIn(MakeSyntax(*reply).value(), {"sun", "ny."});
    EXPECT_EQ(answer.text, "sunny.") << family.name;
    EXPECT_EQ(answer.thinking, "") << family.name;
  }
}

// In pieces of a few bytes. What it cost: bytes that were parsed.
std::size_t CostOf(const std::shared_ptr<const OutputSyntax>& syntax, const std::string& output,
                   Answer* answer) {
  constexpr std::size_t kPiece = 8;
  OutputParser parser(syntax);
  const auto take = [answer](const Piece& piece) {
    answer->text += piece.text;
    answer->thinking += piece.thinking;
    answer->calls.insert(answer->calls.end(), piece.tool_calls.begin(), piece.tool_calls.end());
  };
  for (std::size_t at = 0; at < output.size(); at += kPiece) {
    const std::size_t n_before = answer->text.size() + answer->thinking.size();
    Piece piece;
    parser.Add(std::string_view(output).substr(at, kPiece), &piece);
    take(piece);
    // It streams: what is held back may become a mark, or is one.
    if (answer->calls.empty() && at > 200 && at + 200 < output.size() && n_before > 100) {
      EXPECT_LT(at, answer->text.size() + answer->thinking.size() + 200) << output.substr(at, 20);
    }
  }
  Piece last;
  parser.Finish(&last);
  take(last);
  return parser.n_parsed_bytes();
}

TEST(EngineFamilies, LongAnswersCostAsMuchAsTheyAreLong) {
  std::string words;
  while (words.size() < 24'000) words += "a < b, [c] and {d: \"e\"} are ☃; `x` <y> </z>.\n";
  words += "End.";
  for (const Family& family : Families()) {
    if (family.always_thinks) continue;
    const auto syntax = SyntaxOf(family, family.has_tools, family.has_thinking);
    ASSERT_NE(syntax, nullptr);
    std::string thinking = family.thinking;
    if (const std::size_t why = thinking.find("why"); why != std::string::npos)
      thinking.replace(why, 3, words);
    const std::string output = thinking + family.before_answer + words;
    Answer answer;
    const std::size_t n_parsed = CostOf(syntax, output, &answer);
    EXPECT_EQ(Trimmed(answer.thinking), family.has_thinking ? words : "") << family.name;
    EXPECT_EQ(answer.text, words) << family.name;
    EXPECT_LT(n_parsed, output.size() / 8 * 8000) << family.name;
  }
}

TEST(EngineFamilies, LongCallsAndLongJsonCostAsMuchAsTheyAreLong) {
  const Family& qwen = *std::find_if(Families().begin(), Families().end(),
                                     [](const Family& one) { return one.name == "Qwen 3"; });
  const std::string city(60'000, 'x');
  {
    Answer answer;
    const std::string call =
        "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"" + city +
        "\"}}\n</tool_call>";
    const std::size_t n_parsed = CostOf(SyntaxOf(qwen, true, true), call, &answer);
    ASSERT_EQ(answer.calls.size(), 1U);
    EXPECT_EQ(answer.calls[0].arguments_json, "{\"city\": \"" + city + "\"}");
    EXPECT_LT(n_parsed, 50 * call.size());
  }
  for (const bool with_tools : {false, true}) {
    FormatRequest request = RequestOf(qwen, with_tools, true);
    request.schema = R"({"type":"array","items":{"type":"string"}})";
    const auto reply = Formatters().Run(request, FormatProcesses::Limits(), {});
    ASSERT_TRUE(reply) << reply.error().message;
    std::string list = "[\"first\"";
    while (list.size() < 60'000) list += R"(, "an \"item\" with ] and }")";
    list += "]";
    Answer answer;
    const std::size_t n_parsed =
        CostOf(MakeSyntax(*reply).value(), qwen.thinking + list + "\n", &answer);
    EXPECT_EQ(answer.text, list);
    EXPECT_EQ(Trimmed(answer.thinking), "why");
    EXPECT_LT(n_parsed, 50 * list.size());
  }
}

TEST(EngineFamilies, EveryNamedTemplateIsInTheProgram) {
  for (const std::string_view file : templates::NamedTemplates()) {
    ASSERT_FALSE(EmbeddedTemplate(file).empty()) << file;
    FormatRequest request;
    request.kind = FormatRequest::Kind::kTemplate;
    request.jinja = EmbeddedTemplate(file);
    EXPECT_TRUE(Formatters().Run(request, FormatProcesses::Limits(), {})) << file;
  }
  EXPECT_FALSE(JinjaOfRenderer("qwen3-coder").empty());
  EXPECT_FALSE(JinjaOfParser("harmony").empty());
  EXPECT_TRUE(JinjaOfRenderer("no such renderer").empty());
}

}  // namespace
}  // namespace corral::engine
