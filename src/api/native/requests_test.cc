#include "api/native/requests.h"

#include <gtest/gtest.h>

namespace corral::api {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

std::string GenerateError(std::string_view body) {
  const auto request = ReadGenerateRequest(body);
  return request ? "ok" : request.error().message;
}

std::string ChatError(std::string_view body) {
  const auto request = ReadChatRequest(body);
  return request ? "ok" : request.error().message;
}

std::optional<nanoseconds> KeepAlive(std::string_view value) {
  const auto request = ReadGenerateRequest("{\"keep_alive\":" + std::string(value) + "}");
  EXPECT_TRUE(request) << value;
  return request ? request->keep_alive : nanoseconds(-1);
}

TEST(GenerateRequest, ReadsAllFields) {
  const auto request = ReadGenerateRequest(
      R"({"model":"m","prompt":"p","suffix":"s","system":"y","template":"t","context":[1,2],"stream":false,"raw":true,)"
      R"("format":{"type": "object"},"keep_alive":"5m","images":["AAEC"],"options":{"top_k":1},"think":"low",)"
      R"("truncate":false,"shift":false,"logprobs":true,"top_logprobs":3,"_debug_render_only":true})");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->model, "m");
  EXPECT_EQ(request->prompt, "p");
  EXPECT_EQ(request->suffix, "s");
  EXPECT_EQ(request->system, "y");
  EXPECT_EQ(request->template_text, "t");
  EXPECT_EQ(request->context, (std::vector<Token>{1, 2}));
  EXPECT_FALSE(request->is_streamed);
  EXPECT_TRUE(request->is_raw);
  EXPECT_EQ(request->format_json, R"({"type":"object"})");
  EXPECT_EQ(request->keep_alive, seconds(300));
  EXPECT_EQ(request->images, std::vector<std::string>{std::string("\0\1\2", 3)});
  EXPECT_EQ(request->options.size(), 1U);
  ASSERT_TRUE(request->think);
  EXPECT_TRUE(request->think->is_on);
  EXPECT_EQ(request->think->level, "low");
  EXPECT_FALSE(request->truncate);
  EXPECT_EQ(request->shift, false);
  EXPECT_TRUE(request->logprobs);
  EXPECT_EQ(request->top_logprobs, 3);
  EXPECT_TRUE(request->render_only);
}

TEST(GenerateRequest, HasOllamasDefaults) {
  const auto request = ReadGenerateRequest("{}");
  ASSERT_TRUE(request);
  EXPECT_TRUE(request->is_streamed);
  EXPECT_TRUE(request->truncate);
  EXPECT_EQ(request->shift, std::nullopt);
  EXPECT_FALSE(request->think);
  EXPECT_FALSE(request->context);
  EXPECT_FALSE(request->keep_alive);
  EXPECT_EQ(request->format_json, "");
}

TEST(GenerateRequest, TakesNullAndEmptyFormatAsFreeText) {
  EXPECT_EQ(ReadGenerateRequest(R"({"format":null})")->format_json, "");
  EXPECT_EQ(ReadGenerateRequest(R"({"format":""})")->format_json, "");
  EXPECT_EQ(ReadGenerateRequest(R"({"format":"json"})")->format_json, "\"json\"");
}

TEST(KeepAlive, TakesNumbersAsSecondsAndStringsAsDurations) {
  constexpr auto kForever = nanoseconds::max();
  EXPECT_EQ(KeepAlive("null"), std::nullopt);
  EXPECT_EQ(KeepAlive("42.5"), std::chrono::milliseconds(42500));
  EXPECT_EQ(KeepAlive("0"), nanoseconds(0));
  EXPECT_EQ(KeepAlive("-1"), kForever);
  EXPECT_EQ(KeepAlive("1e30"), kForever);
  EXPECT_EQ(KeepAlive("\"1h30m\""), std::chrono::minutes(90));
  EXPECT_EQ(KeepAlive("\"-1s\""), kForever);
  EXPECT_EQ(KeepAlive("\"0\""), nanoseconds(0));
}

TEST(KeepAlive, HasGosTexts) {
  EXPECT_EQ(GenerateError(R"({"keep_alive":"300"})"), R"(time: missing unit in duration "300")");
  EXPECT_EQ(GenerateError(R"({"keep_alive":"abc"})"), R"(time: invalid duration "abc")");
  EXPECT_EQ(GenerateError(R"({"keep_alive":"5x"})"), R"(time: unknown unit "x" in duration "5x")");
  EXPECT_EQ(GenerateError(R"({"keep_alive":true})"), "Unsupported type: 'bool'");
  EXPECT_EQ(GenerateError(R"({"keep_alive":[]})"), "Unsupported type: '[]interface {}'");
  EXPECT_EQ(GenerateError(R"({"keep_alive":{}})"), "Unsupported type: 'map[string]interface {}'");
}

TEST(Think, TakesBooleansAndLevelsOnly) {
  EXPECT_FALSE(ReadGenerateRequest(R"({"think":false})")->think->is_on);
  EXPECT_EQ(ReadGenerateRequest(R"({"think":"max"})")->think->level, "max");
  EXPECT_EQ(GenerateError(R"({"think":"x"})"),
            R"(invalid think value: "x" (must be "high", "medium", "low", "max", true, or false))");
  EXPECT_EQ(
      GenerateError(R"({"think":1})"),
      R"(think must be a boolean or string ("high", "medium", "low", "max", true, or false))");
}

TEST(GenerateRequest, NamesATokenThatIsNoneAsItWasSent) {
  EXPECT_EQ(GenerateError(R"({"context":[1,2147483648]})"),
            "json: cannot unmarshal number 2147483648 into Go struct field "
            "GenerateRequest.context of type int32");
  EXPECT_EQ(GenerateError(R"({"context":[-9223372036854775809]})"),
            "json: cannot unmarshal number -9223372036854775809 into Go struct field "
            "GenerateRequest.context of type int32");
  EXPECT_EQ(GenerateError(R"({"context":["1"]})"),
            "json: cannot unmarshal string into Go struct field GenerateRequest.context of type "
            "int32");
  EXPECT_EQ(ReadGenerateRequest(R"({"context":[2147483647,-1]})")->context,
            (std::vector<Token>{2147483647, -1}));
}

TEST(Images, AreBase64WithOrWithoutADataUri) {
  EXPECT_EQ(*DecodeMedia("data:image/png;base64,AA=="), std::string(1, '\0'));
  EXPECT_EQ(DecodeMedia("data:image/png,AA==").error().message,
            "illegal base64 data at input byte 4");
  EXPECT_EQ(GenerateError(R"({"images":["A"]})"), "illegal base64 data at input byte 0");
  EXPECT_EQ(GenerateError(R"({"images":[1]})"),
            "json: cannot unmarshal number into Go struct field GenerateRequest.images of type "
            "api.ImageData");
}

TEST(ChatRequest, ReadsMessages) {
  const auto request = ReadChatRequest(
      R"({"messages":[{"role":"USER","content":"hi","images":["AA=="]},)"
      R"({"role":"assistant","thinking":"t","tool_calls":[{"id":"1","function":{"index":2,"name":"f","arguments":{"b": 1, "a":[ ]}}}]},)"
      R"({"role":"tool","content":"r","tool_name":"f","tool_call_id":"1"}]})");
  ASSERT_TRUE(request);
  ASSERT_EQ(request->messages.size(), 3U);
  EXPECT_EQ(request->messages[0].role, "user");
  EXPECT_EQ(request->messages[0].images.size(), 1U);
  ASSERT_EQ(request->messages[1].tool_calls.size(), 1U);
  const ToolCall& call = request->messages[1].tool_calls[0];
  EXPECT_EQ(call.id, "1");
  EXPECT_EQ(call.index, 2);
  EXPECT_EQ(call.name, "f");
  EXPECT_EQ(call.arguments_json, R"({"b":1,"a":[]})");
  EXPECT_EQ(request->messages[2].tool_name, "f");
  EXPECT_EQ(request->messages[2].tool_call_id, "1");
}

TEST(ChatRequest, WantsContentAsTextAndArgumentsAsAnObject) {
  EXPECT_EQ(ChatError(R"({"messages":[{"content":[{"type":"text"}]}]})"),
            "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of "
            "type string");
  EXPECT_TRUE(
      ChatError(R"({"messages":[{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}]})")
          .starts_with("json: cannot unmarshal string"));
  EXPECT_TRUE(ChatError(R"({"messages":{}})").starts_with("json: cannot unmarshal object"));
}

TEST(ChatRequest, KeepsToolsAsTheyCame) {
  const auto request = ReadChatRequest(
      R"({"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"minimum": 1}}}}}]})");
  ASSERT_TRUE(request);
  EXPECT_EQ(
      request->tools_json,
      R"([{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"minimum":1}}}}}])");
  EXPECT_EQ(ReadChatRequest(R"({"tools":[]})")->tools_json, "");
  EXPECT_EQ(ReadChatRequest(R"({"tools":null})")->tools_json, "");
  EXPECT_TRUE(ChatError(R"({"tools":[{"function":{"name":1}}]})")
                  .starts_with("json: cannot unmarshal number"));
  EXPECT_TRUE(ChatError(R"({"tools":"x"})").starts_with("json: cannot unmarshal string"));
}

TEST(EmbedRequest, TakesTextOrTexts) {
  EXPECT_EQ(ReadEmbedRequest(R"({"input":"a"})")->input, std::vector<std::string>{"a"});
  EXPECT_EQ(ReadEmbedRequest(R"({"input":["a",""]})")->input, (std::vector<std::string>{"a", ""}));
  for (const std::string_view body :
       {R"({"input":""})", R"({"input":[]})", R"({"input":null})", "{}"}) {
    const auto request = ReadEmbedRequest(body);
    EXPECT_TRUE(request->input.empty()) << body;
    EXPECT_TRUE(request->is_input_valid) << body;
  }
  EXPECT_FALSE(ReadEmbedRequest(R"({"input":[1]})")->is_input_valid);
  EXPECT_FALSE(ReadEmbedRequest(R"({"input":{}})")->is_input_valid);
  EXPECT_FALSE(ReadEmbedRequest(R"({"input":true})")->is_input_valid);
}

TEST(CreateRequest, ReadsFilesAndOldNames) {
  const auto request = ReadCreateRequest(
      R"({"name":"x","files":{"b":"sha256:2","a":"sha256:1","b":"sha256:3"},"license":["L1","L2"],"quantization":"q8_0",)"
      R"("parameters":{"num_ctx":512},"messages":[{"role":"User","content":"u"}],"info":{"base_name":"n"},"stream":false})");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->model, "x");
  EXPECT_EQ(*request->files, (CreateRequest::Files{{"a", "sha256:1"}, {"b", "sha256:3"}}));
  EXPECT_EQ(request->licenses, (std::vector<std::string>{"L1", "L2"}));
  EXPECT_EQ(request->quantize, "q8_0");
  ASSERT_EQ(request->messages.size(), 1U);
  EXPECT_EQ(request->messages[0].role, "user");
  EXPECT_FALSE(request->is_streamed);
  EXPECT_FALSE(ReadCreateRequest(R"({"model":"x"})")->files.has_value());
  EXPECT_TRUE(ReadCreateRequest(R"({"model":"x","files":{}})")->files.has_value());
}

TEST(DeleteAndShowRequests, TakeTheOldName) {
  EXPECT_EQ(ReadDeleteRequest(R"({"name":"a"})")->model, "a");
  EXPECT_EQ(ReadShowRequest(R"({"name":"a","model":"b"})")->model, "b");
}

}  // namespace
}  // namespace corral::api
