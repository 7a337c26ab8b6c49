// Tool calls in the answers of models whose prompts a Go template renders.
#include "engine/llama/tool_finder.h"

#include <gmock/gmock.h>

#include <vector>

#include "families.h"

namespace corral::engine {
namespace {

struct Case {
  std::string_view what, mark, output, text;
  std::vector<std::string> calls;
};

const std::vector<Case>& Cases() {
  static const std::vector<Case> all = {
      {"a tag",
       "<tool_call>",
       "Let me see.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": "
       "\"Paris\"}}\n"
       "</tool_call>",
       "Let me see.\n",
       {R"(get_weather{"city":"Paris"})"}},
      {"two calls",
       "<tool_call>",
       "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": 2}}</tool_call>\n"
       "<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\"}}</tool_call>",
       "",
       {R"(add{"a":1,"b":2})", R"(get_weather{"city":"Rome"})"}},
      {"a list",
       "[TOOL_CALLS]",
       R"([TOOL_CALLS] [{"name": "add", "arguments": {"a": 1, "b": 2}}, {"name": "add", "arguments": {"a": 3, "b": 4}}])",
       "",
       {R"(add{"a":1,"b":2})", R"(add{"a":3,"b":4})"}},
      {"a bare object",
       "{",
       R"( {"name": "get_weather", "parameters": {"city": "Paris"}})",
       "",
       {R"(get_weather{"city":"Paris"})"}},
      {"a bare mark later",
       "{",
       R"(See {"name": "add", "parameters": {"a": 1, "b": 2}})",
       R"(See {"name": "add", "parameters": {"a": 1, "b": 2}})",
       {}},
      {"a bare object that is none", "{", R"({"x": 1})", R"({"x": 1})", {}},
      {"text behind a bare call",
       "{",
       R"({"name": "add", "parameters": {"a": 1, "b": 2}} done.)",
       "done.",
       {R"(add{"a":1,"b":2})"}},
      {"a name in front of its object",
       "<function=",
       R"(<function=get_weather>{"city": "Paris"}</function>)",
       "",
       {R"(get_weather{"city":"Paris"})"}},
      {"keyed by the name",
       "<tool_call>",
       R"(<tool_call>{"get_weather": {"city": "Paris"}})",
       "",
       {R"(get_weather{"city":"Paris"})"}},
      {"arguments as text",
       "<tool_call>",
       R"(<tool_call>{"name": "add", "arguments": "{\"a\": 1, \"b\": 2}"})",
       "",
       {R"(add{"a":1,"b":2})"}},
      {"braces in texts",
       "<tool_call>",
       R"(<tool_call>{"name": "get_weather", "arguments": {"city": "}{\"add"}})",
       "",
       {R"(get_weather{"city":"}{\"add"})"}},
      {"the longer name",
       "<tool_call>",
       R"(<tool_call>{"name": "add_all", "arguments": {}})",
       "",
       {R"(add_all{})"}},
      {"half a call",
       "<tool_call>",
       "Hm.<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Par",
       "Hm.<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Par",
       {}},
      {"half a second call",
       "<tool_call>",
       R"(<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call><tool_call>{"name": "ad)",
       R"(<tool_call>{"name": "ad)",
       {R"(add{"a":1})"}},
      {"the beginning of a tag", "<tool_call>", "a < b <tool", "a < b <tool", {}},
      {"an unknown tool",
       "<tool_call>",
       R"(<tool_call>{"name": "rm", "arguments": {}})",
       R"(<tool_call>{"name": "rm", "arguments": {}})",
       {}},
      {"no output", "<tool_call>", "", "", {}},
  };
  return all;
}

TEST(EngineToolFinder, FindsCallsHoweverTheStreamIsCut) {
  for (const Case& one : Cases()) {
    auto syntax = std::make_shared<OutputSyntax>();
    syntax->tool_mark = one.mark;
    syntax->tool_names = {"add", "get_weather", "add_all"};
    ExpectEverywhere(syntax, std::string(one.output), "", std::string(one.text), one.calls,
                     std::string(one.what));
  }
}

TEST(EngineToolFinder, ComesAfterThinking) {
  auto syntax = std::make_shared<OutputSyntax>();
  syntax->think_open = "<think>";
  syntax->think_close = "</think>";
  syntax->tool_mark = "<tool_call>";
  syntax->tool_names = {"add"};
  ExpectEverywhere(syntax,
                   "<think>I <tool_call> add</think>\n\nSo:<tool_call>"
                   R"({"name": "add", "arguments": {"a": 1}}</tool_call>)",
                   "I <tool_call> add", "So:", {R"(add{"a":1})"}, "thinking and tools");
}

TEST(EngineToolFinder, KeepsTheOrderOfArguments) {
  ToolFinder finder("{", {"f"});
  Piece piece;
  finder.Add(R"({"name":"f","arguments":{"z":1,"a":2.50,"m":[true,null]}})", &piece);
  ASSERT_EQ(piece.tool_calls.size(), 1U);
  EXPECT_EQ(piece.tool_calls[0].arguments_json, R"({"z":1,"a":2.5,"m":[true,null]})");
}

TEST(EngineToolFinder, ReadsNamesOfToolsFromAnything) {
  EXPECT_EQ(ToolNames(std::string(kTools)), (std::vector<std::string>{"get_weather", "add"}));
  EXPECT_TRUE(ToolNames("").empty());
  EXPECT_TRUE(ToolNames("[1,{},{\"function\":1},{\"function\":{\"name\":2}}]").empty());
}

}  // namespace
}  // namespace corral::engine
