#include "families.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/llama/chat_templates.h"
#include "engine/llama/output_parser.h"

namespace corral::engine {
namespace {

const std::string kHermesCall =
    "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>";
const std::string kHermesCalls =
    kHermesCall +
    "\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": 2}}\n</tool_call>";
const std::string kLlamaCall = R"({"name": "get_weather", "parameters": {"city": "Paris"}})";

std::vector<Family> MakeFamilies() {
  std::vector<Family> all;
  const auto add = [&all](std::string_view name, std::string_view file) -> Family& {
    Family family;
    family.name = name;
    family.file = file;
    return all.emplace_back(std::move(family));
  };
  add("Llama 3.1", "meta-llama-Llama-3.1-8B-Instruct.jinja").call = kLlamaCall;
  add("Llama 3.2", "meta-llama-Llama-3.2-3B-Instruct.jinja").call = kLlamaCall;
  add("Llama 3.3", "meta-llama-Llama-3.3-70B-Instruct.jinja").call = kLlamaCall;
  {
    Family& qwen = add("Qwen 2.5", "Qwen-Qwen2.5-7B-Instruct.jinja");
    qwen.call = kHermesCall;
    qwen.two_calls = kHermesCalls;
  }
  {
    Family& qwen = add("Qwen 3", "Qwen-Qwen3-0.6B.jinja");
    qwen.has_thinking = true;
    qwen.thinking = "<think>\nwhy\n</think>\n\n";
    qwen.call = kHermesCall;
    qwen.two_calls = kHermesCalls;
  }
  {
    Family& qwen = add("QwQ", "Qwen-QwQ-32B.jinja");
    qwen.has_thinking = true;
    qwen.always_thinks = true;
    qwen.thinking = "why\n</think>\n\n";
    qwen.call = kHermesCall;
    qwen.two_calls = kHermesCalls;
  }
  add("Qwen 3 Coder", "Qwen3-Coder.jinja").call =
      "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n"
      "</tool_call>";
  {
    Family& nemo = add("Mistral Nemo", "mistralai-Mistral-Nemo-Instruct-2407.jinja");
    nemo.call =
        R"([TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "123456789"}])";
    nemo.call_id = "123456789";
    nemo.two_calls =
        R"([TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "123456789"}, )"
        R"({"name": "add", "arguments": {"a": 1, "b": 2}, "id": "987654321"}])";
  }
  {
    Family& small = add("Mistral Small 3.2", "Mistral-Small-3.2-24B-Instruct-2506.jinja");
    small.call = R"([TOOL_CALLS]get_weather[CALL_ID]123456789[ARGS]{"city": "Paris"})";
    small.call_id = "123456789";
  }
  {
    Family& ministral = add("Ministral 3", "mistralai-Ministral-3-14B-Reasoning-2512.jinja");
    ministral.has_thinking = true;
    ministral.thinking = "[THINK]why[/THINK]";
    ministral.call = R"([TOOL_CALLS]get_weather[ARGS]{"city": "Paris"})";
  }
  add("Gemma 2", "google-gemma-2-2b-it.jinja").has_tools = false;
  {
    Family& gemma = add("Gemma 4", "google-gemma-4-31B-it.jinja");
    gemma.has_thinking = true;
    gemma.thinking = "<|channel>thought\nwhy<channel|>";
    gemma.call = R"(<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>)";
  }
  add("Phi 3.5", "microsoft-Phi-3.5-mini-instruct.jinja").has_tools = false;
  {
    Family& deepseek =
        add("DeepSeek R1 distilled", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja");
    deepseek.describes_tools = false;
    deepseek.has_thinking = true;
    deepseek.always_thinks = true;
    deepseek.thinking = "why\n</think>\n\n";
    deepseek.call =
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
        "```json\n{\"city\": \"Paris\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
  }
  {
    Family& deepseek = add("DeepSeek V3.1", "deepseek-ai-DeepSeek-V3.1.jinja");
    deepseek.describes_tools = false;
    deepseek.has_thinking = true;
    deepseek.thinking = "why</think>";
    deepseek.call =
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": \"Paris\"}"
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
  }
  {
    Family& gpt = add("gpt-oss", "openai-gpt-oss-120b.jinja");
    gpt.has_thinking = true;
    gpt.thinking = "<|channel|>analysis<|message|>why<|end|><|start|>assistant";
    gpt.before_answer = "<|channel|>final<|message|>";
    gpt.call =
        R"(<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Paris"})";
  }
  {
    Family& granite = add("Granite 3.3", "ibm-granite-granite-3.3-2B-Instruct.jinja");
    // The template says it in words; it writes no calls itself.
    granite.call = R"(<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}])";
    granite.two_calls = R"(<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}, )"
                        R"({"name": "add", "arguments": {"a": 1, "b": 2}}])";
    granite.has_thinking = true;
    granite.thinking = "<think>why</think>";
  }
  {
    Family& granite = add("Granite 4", "ibm-granite-granite-4.0.jinja");
    granite.call = kHermesCall;
    granite.two_calls = kHermesCalls;
  }
  {
    Family& hermes = add("Hermes 2 Pro", "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja");
    hermes.call = kHermesCall;
    hermes.two_calls = kHermesCalls;
  }
  {
    Family& hermes = add("Hermes 3", "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja");
    hermes.call = kHermesCall;
    hermes.two_calls = kHermesCalls;
  }
  {
    Family& glm = add("GLM 4.7", "GLM-4.7-Flash.jinja");
    glm.has_thinking = true;
    glm.thinking = "why</think>";
    glm.call =
        "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Paris</arg_value></tool_call>";
  }
  {
    Family& glimmer = add("Muse Glimmer", "muse-glimmer.jinja");
    glimmer.has_thinking = true;
    glimmer.thinking = " to=self<|message|>why<|eom|><|start|>assistant";
    glimmer.before_answer = " to=user<|message|>";
    glimmer.call =
        " to=get_weather<|message|><atem:function_calls>\n<atem:invoke name=\"get_weather\">\n"
        "<atem:parameter name=\"city\">Paris</atem:parameter>\n</atem:invoke>\n"
        "</atem:function_calls>";
  }
  for (const auto& [name, file] : {std::pair{"Kimi K2", "Kimi-K2-Instruct.jinja"},
                                   std::pair{"Kimi K2 Thinking", "Kimi-K2-Thinking.jinja"}}) {
    Family& kimi = add(name, file);
    kimi.has_thinking = true;
    kimi.thinking = "<think>why</think>";
    kimi.call =
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
        "<|tool_call_argument_begin|>{\"city\": \"Paris\"}<|tool_call_end|>"
        "<|tool_calls_section_end|>";
    kimi.call_id = "functions.get_weather:0";
  }
  {
    Family& kimi = add("Kimi K3", "Kimi-K3.jinja");
    kimi.has_thinking = true;
    kimi.thinking = "why<|close|>think<|sep|><|open|>response<|sep|>";
    kimi.call =
        "<|close|>response<|sep|><|open|>tools<|sep|><|open|>call tool=\"get_weather\" index=\"1\""
        "<|sep|><|open|>argument key=\"city\" type=\"string\"<|sep|>Paris<|close|>argument<|sep|>"
        "<|close|>call<|sep|><|close|>tools<|sep|>";
  }
  add("GigaChat 3", "GigaChat3-10B-A1.8B.jinja").call =
      "<|message_sep|>\n\nfunction call<|role_sep|>\n"
      "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}";
  {
    Family& functionary = add("Functionary 3.2", "meetkai-functionary-medium-v3.2.jinja");
    functionary.before_answer = "all\n";
    functionary.call = "get_weather\n{\"city\": \"Paris\"}";
  }
  {
    Family& ling = add("Ling 3", "inclusionai-ling-3.0-flash.jinja");
    ling.has_thinking = true;
    ling.thinking = "why</think>";
    ling.call =
        "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Paris</arg_value></tool_call>";
  }
  return all;
}

ChatMessage Message(std::string role, std::string content) {
  ChatMessage message;
  message.role = std::move(role);
  message.content = std::move(content);
  return message;
}

void Take(const Piece& piece, Answer* answer) {
  answer->text += piece.text;
  answer->thinking += piece.thinking;
  answer->calls.insert(answer->calls.end(), piece.tool_calls.begin(), piece.tool_calls.end());
}

}  // namespace

const std::vector<Family>& Families() {
  static const std::vector<Family> all = MakeFamilies();
  return all;
}

FormatRequest RequestOf(const Family& family, bool with_tools, bool with_thinking) {
  FormatRequest request;
  request.jinja = EmbeddedTemplate(family.file);
  request.bos = "<s>";
  request.eos = "</s>";
  request.messages = {Message("user", "What is the weather in Rome?")};
  if (with_tools) {
    request.tools_json = kTools;
    ChatMessage asks = Message("assistant", "");
    ToolCall call;
    call.id = "000000001";
    call.name = "get_weather";
    call.arguments_json = R"({"city":"Rome"})";
    asks.tool_calls = {call};
    ChatMessage result = Message("tool", "sunny");
    result.tool_name = "get_weather";
    result.tool_call_id = "000000001";
    request.messages.push_back(std::move(asks));
    request.messages.push_back(std::move(result));
    request.messages.push_back(Message("assistant", "It is sunny."));
  } else {
    request.messages.push_back(Message("assistant", "I cannot know."));
  }
  request.messages.push_back(Message("user", "And in Paris?"));
  if (family.has_thinking) request.think = Think{with_thinking, ""};
  return request;
}

Answer ReadIn(const std::shared_ptr<const OutputSyntax>& syntax,
              const std::vector<std::string_view>& pieces) {
  OutputParser parser(syntax);
  Answer answer;
  for (const std::string_view text : pieces) {
    Piece piece;
    parser.Add(text, &piece);
    Take(piece, &answer);
  }
  Piece last;
  parser.Finish(&last);
  Take(last, &answer);
  return answer;
}

std::vector<std::size_t> Cuts(std::string_view text) {
  std::vector<std::size_t> cuts;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || (static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U)
      cuts.push_back(i);
  }
  return cuts;
}

std::vector<std::string_view> Characters(std::string_view text) {
  std::vector<std::string_view> characters;
  const std::vector<std::size_t> cuts = Cuts(text);
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i)
    characters.push_back(text.substr(cuts[i], cuts[i + 1] - cuts[i]));
  return characters;
}

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  return text;
}

void ExpectEverywhere(const std::shared_ptr<const OutputSyntax>& syntax, const std::string& output,
                      const std::string& thinking, const std::string& text,
                      const std::vector<std::string>& calls, const std::string& what) {
  std::vector<std::vector<std::string_view>> ways = {Characters(output)};
  const std::string_view view = output;
  for (const std::size_t cut : Cuts(output))
    ways.push_back({view.substr(0, cut), view.substr(cut)});
  for (const auto& way : ways) {
    const Answer answer = ReadIn(syntax, way);
    const std::string where =
        what + ", cut behind: " + std::string(way.size() == 2 ? way[0] : "each character");
    ASSERT_EQ(Trimmed(answer.thinking), thinking) << where;
    ASSERT_EQ(answer.text, text) << where;
    ASSERT_EQ(answer.calls.size(), calls.size()) << where;
    for (std::size_t i = 0; i < calls.size(); ++i) {
      const ToolCall& call = answer.calls[i];
      const auto arguments = nlohmann::json::parse(call.arguments_json, nullptr, false);
      ASSERT_EQ(call.name + arguments.dump(), calls[i]) << where;
      ASSERT_EQ(call.index, static_cast<int>(i)) << where;
      ASSERT_FALSE(call.id.empty()) << where;
    }
  }
}

}  // namespace corral::engine
