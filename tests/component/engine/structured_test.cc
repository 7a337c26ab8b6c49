// Structured output in every combination: with and without thinking, with and without tools, for
// each family, read from a stream. What the grammar lets through is what the parser gives back.
#include <gmock/gmock.h>
#include <llama-grammar.h>

#include <nlohmann/json.hpp>

#include "bench.h"
#include "engine/llama/grammar.h"
#include "families.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

constexpr std::string_view kSchema =
    R"({"type":"object","properties":{"city":{"type":"string"},"n":{"type":"integer"}},)"
    R"("required":["city","n"]})";
const std::string kObject = R"({"city": "Paris", "n": 12})";

enum class Match { kNo, kBegins, kWhole };

Match MatchOf(const std::string& grammar_text, const std::string& text) {
  llama_grammar* grammar =
      llama_grammar_init_impl(nullptr, grammar_text.c_str(), "root", false, nullptr, 0, nullptr, 0);
  if (grammar == nullptr) {
    ADD_FAILURE() << "does not compile: " << grammar_text;
    return Match::kNo;
  }
  Match match = Match::kBegins;
  try {
    llama_grammar_accept_str(*grammar, text);
  } catch (const std::exception&) {
    match = Match::kNo;
  }
  if (grammar->stacks.empty()) match = Match::kNo;
  if (match == Match::kBegins) {
    for (const auto& stack : grammar->stacks) {
      if (stack.empty()) match = Match::kWhole;
    }
  }
  llama_grammar_free_impl(grammar);
  return match;
}

TEST(EngineStructured, HoldsForEachFamilyWithThinkingAndTools) {
  for (const Family& family : Families()) {
    for (const bool with_tools : {false, true}) {
      if (with_tools && !family.has_tools) continue;
      for (const bool with_thinking : {false, true}) {
        if (with_thinking && !family.has_thinking) continue;
        FormatRequest request = RequestOf(family, with_tools, with_thinking);
        request.schema = kSchema;
        const auto reply = Formatters().Run(request, FormatProcesses::Limits(), {});
        const std::string what = std::string(family.name) + (with_tools ? ", tools" : "") +
                                 (with_thinking ? ", thinking" : "");
        ASSERT_TRUE(reply) << what << ": " << reply.error().message;
        ASSERT_FALSE(reply->grammar.empty()) << what;
        ASSERT_FALSE(reply->is_grammar_lazy) << what;
        const std::string head = reply->begins_with_prompt ? reply->generation_prompt : "";
        const std::string thought = with_thinking ? family.thinking : "";
        const auto syntax = MakeSyntax(*reply).value();
        // Two parsers of llama.cpp's want a fence around what fits a schema.
        const bool is_fenced = family.name == "Ministral 3" || family.name == "Gemma 4";
        const std::string answer =
            thought + family.before_answer + (is_fenced ? "```json" + kObject + "```" : kObject);
        if (with_thinking || !family.always_thinks) {
          EXPECT_EQ(MatchOf(reply->grammar, head + answer), Match::kWhole)
              << what << "\n"
              << head << "|" << answer << "\n"
              << reply->grammar;
          ExpectEverywhere(syntax, answer, with_thinking ? "why" : "", kObject, {}, what);
        }
        EXPECT_NE(MatchOf(reply->grammar, head), Match::kWhole) << what << ": nothing at all";
        EXPECT_NE(MatchOf(reply->grammar, head + thought), Match::kWhole) << what;
        for (const std::string wrong :
             {R"({"city": "Paris"})", R"({"city": 1, "n": 12})", "It is sunny."}) {
          EXPECT_NE(MatchOf(reply->grammar, head + thought + family.before_answer + wrong),
                    Match::kWhole)
              << what << ": " << wrong;
        }
        // Not even the beginning of an answer that is free text.
        if (!family.always_thinks || with_thinking) {
          EXPECT_EQ(MatchOf(reply->grammar,
                            head + thought + family.before_answer + "It is sunny in Paris."),
                    Match::kNo)
              << what;
        }
        if (!with_tools) continue;
        EXPECT_EQ(MatchOf(reply->grammar, head + thought + family.call), Match::kWhole)
            << what << "\n"
            << head + thought + family.call << "\n"
            << reply->grammar;
        if (with_thinking || !family.always_thinks) {
          ExpectEverywhere(syntax, thought + family.call, with_thinking ? "why" : "", "",
                           {R"(get_weather{"city":"Paris"})"}, what);
        }
      }
    }
  }
}

TEST(EngineStructured, HoldsBehindGoTemplates) {
  struct Case {
    std::string_view what;
    bool has_marks, is_inside;
    std::string_view tool_mark;
    std::vector<std::string> fits, does_not;
  };
  const std::string call = R"({"name": "get_weather", "arguments": {"city": "Paris"}})";
  const std::vector<Case> cases = {
      {"plain", false, false, "", {kObject}, {"x" + kObject, "<think>why</think>" + kObject}},
      {"thinking",
       true,
       false,
       "",
       {kObject, "<think>why</think>\n" + kObject},
       {"<think>why" + kObject, "why</think>" + kObject}},
      {"inside", true, true, "", {"why < </thin </think>" + kObject}, {kObject}},
      {"tools",
       false,
       false,
       "<tool_call>",
       {kObject, "<tool_call>\n" + call + "\n</tool_call>"},
       {"Let me see." + kObject}},
      {"bare tools", false, false, "{", {kObject, call}, {"Let me see."}},
      {"thinking and tools",
       true,
       false,
       "[TOOL_CALLS]",
       {kObject, "<think>why</think>" + kObject, "<think>why</think>[TOOL_CALLS] [" + call + "]"},
       {"<think>why</think>Let me see."}}};
  for (const Case& one : cases) {
    FormatRequest request;
    request.kind = FormatRequest::Kind::kSchema;
    request.schema = kSchema;
    if (one.has_marks) {
      request.think_open = "<think>";
      request.think_close = "</think>";
    }
    request.is_thinking = one.is_inside;
    request.tool_mark = one.tool_mark;
    request.tools_json = kTools;
    const auto reply = Formatters().Run(request, FormatProcesses::Limits(), {});
    ASSERT_TRUE(reply) << one.what << ": " << reply.error().message;
    for (const std::string& text : one.fits)
      EXPECT_EQ(MatchOf(reply->grammar, text), Match::kWhole) << one.what << ": " << text << "\n"
                                                              << reply->grammar;
    for (const std::string& text : one.does_not)
      EXPECT_NE(MatchOf(reply->grammar, text), Match::kWhole) << one.what << ": " << text;
  }
}

TEST(EngineStructured, UntilGrammarEndsWithItsMark) {
  for (const std::string end : {"</think>", "aab", "◁/think▷", "\n\n", "]"}) {
    const std::string grammar = UntilGrammar("root", end);
    EXPECT_EQ(MatchOf(grammar, end), Match::kWhole) << end;
    EXPECT_EQ(MatchOf(grammar, "some text a aa < </ " + end), Match::kWhole) << end;
    EXPECT_EQ(MatchOf(grammar, "text"), Match::kBegins) << end;
    EXPECT_EQ(MatchOf(grammar, end + "x"), Match::kNo) << end;
  }
  EXPECT_EQ(MatchOf(UntilGrammar("root", "aab"), "aaab"), Match::kWhole);
  EXPECT_EQ(MatchOf(UntilGrammar("root", "</think>"), "<</</think</think>"), Match::kWhole);
}

TEST(EngineStructured, RenamesRulesAndNothingElse) {
  EXPECT_EQ(WithPrefix("root ::= \"a b\\\"c\" item{2,3} [a-z\\]] # root\nitem ::= root?", "x-"),
            "x-root ::= \"a b\\\"c\" x-item{2,3} [a-z\\]] # root\nx-item ::= x-root?");
}

// A model of noise that cannot but follow the grammar.
TEST(EngineStructured, HoldsInTheEngine) {
  testing::TinyLlamaOptions options;
  options.is_endless = true;
  options.chat_template = std::string(
      "{%- for message in messages %}<|im_start|>{{ message.role }}\n"
      "{% if message.reasoning_content %}<think>\n{{ message.reasoning_content }}\n</think>\n\n{% "
      "endif %}"
      "{{ message.content }}<|im_end|>\n{% endfor %}"
      "{%- if add_generation_prompt %}<|im_start|>assistant\n"
      "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif "
      "%}{% endif %}");
  options.control_tokens = {"<|im_start|>", "<|im_end|>", "<think>", "</think>"};
  Bench bench(testing::TinyLlama(options).Bytes());
  for (const bool with_thinking : {false, true}) {
    for (const bool with_tools : {false, true}) {
      GenerateJob job = Greedy("", 120);
      job.is_chat = true;
      job.prompt.kind = PromptSource::Kind::kMessages;
      ChatMessage message;
      message.role = "user";
      message.content = "hello world";
      job.prompt.messages = {message};
      job.prompt.think = Think{with_thinking, ""};
      if (with_tools) job.prompt.tools_json = kTools;
      job.format_json =
          R"({"type":"object","properties":{"yes":{"type":"boolean"}},"required":["yes"]})";
      const Story story = bench.Run(job);
      ASSERT_TRUE(story.IsFinished()) << story.error().message;
      if (story.finish().reason == DoneReason::kLength) {
        EXPECT_TRUE(with_thinking) << story.text;  // noise may think for ever
        continue;
      }
      const auto value = nlohmann::json::parse(story.text, nullptr, false);
      EXPECT_TRUE(value.is_object() && value["yes"].is_boolean()) << story.text;
    }
  }
}

}  // namespace
}  // namespace corral::engine
