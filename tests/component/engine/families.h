// Model families by their real chat templates (llama.cpp's models/templates): what their models
// write, and what is in it. For the tests of rendering, parsing and grammars.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/job.h"
#include "engine/llama/chat_format.h"
#include "engine/llama/output_syntax.h"

namespace corral::engine {

// A city's weather and a sum: names where one begins like the other, and two types of arguments.
inline constexpr std::string_view kTools =
    R"([{"type":"function","function":{"name":"get_weather","description":"The weather of a city",)"
    R"("parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}},)"
    R"({"type":"function","function":{"name":"add","description":"A sum",)"
    R"("parameters":{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},)"
    R"("required":["a","b"]}}}])";

struct Family {
  std::string_view name;
  std::string_view file;
  bool has_tools = true;
  bool describes_tools = true;  // the template says what the tools are, not only what was called
  bool has_thinking = false;
  bool always_thinks = false;  // whatever is asked for
  // How its models write: thinking "why", then what follows; and an answer without any.
  std::string thinking;
  // What a plain answer begins with, after thinking if there is any.
  std::string before_answer;
  std::string call;            // get_weather(city: "Paris")
  std::string call_id = "";    // as the model gives it; empty: it gives none
  std::string two_calls = "";  // and add(a: 1, b: 2); empty: one at a time
};

const std::vector<Family>& Families();

// A conversation with a call and its result, if the family has tools.
FormatRequest RequestOf(const Family& family, bool with_tools, bool with_thinking);

// An answer that was read, in the end.
struct Answer {
  std::string text, thinking;
  std::vector<ToolCall> calls;
};
Answer ReadIn(const std::shared_ptr<const OutputSyntax>& syntax,
              const std::vector<std::string_view>& pieces);

// Places between the characters of a text, its ends included.
std::vector<std::size_t> Cuts(std::string_view text);
std::vector<std::string_view> Characters(std::string_view text);
std::string_view Trimmed(std::string_view text);  // at its end

// What must be in `output`, however its stream is cut: in two at every place, and in single
// characters. A call is its name and its arguments as compact JSON.
void ExpectEverywhere(const std::shared_ptr<const OutputSyntax>& syntax, const std::string& output,
                      const std::string& thinking, const std::string& text,
                      const std::vector<std::string>& calls, const std::string& what);

}  // namespace corral::engine
