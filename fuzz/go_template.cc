// Any bytes as a chat template: parses or fails with a text; what was parsed renders or fails, in
// every mode.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "templates/template.h"

namespace {

corral::ChatMessage Message(std::string role, std::string content) {
  corral::ChatMessage message;
  message.role = std::move(role);
  message.content = std::move(content);
  return message;
}

corral::templates::RenderInput Chat() {
  corral::templates::RenderInput input;
  input.messages = {Message("system", "S"),    Message("user", "A <b> \"q\" \xC3\xA9 \xFF"),
                    Message("assistant", "B"), Message("assistant", ""),
                    Message("tool", "21"),     Message("user", "C\n")};
  input.messages[1].images = {"image"};
  input.messages[2].thinking = "hm";
  input.messages[3].tool_calls = {{"c1", "f", R"({"a":[1,2.5e30,null,{"b":"<"}],"n":1e-9})", 0}};
  input.messages[4].tool_name = "f";
  input.tools_json =
      R"([{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","$defs":{"x":[1]},)"
      R"("required":["a"],"properties":{"a":{"type":["string","null"],"enum":["x",1]},"b":{"anyOf":[{"type":"integer"}]}}}}}])";
  input.think = corral::Think{true, "high"};
  return input;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace corral::templates;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)DetectBundled(text);
  (void)JinjaCapabilities(text);
  (void)JinjaHasToolRoundTrip(text);
  const auto parsed = Template::Parse(text);
  if (!parsed) return 0;
  (void)parsed->Capabilities();
  (void)parsed->HasToolRoundTrip();
  (void)PrefersJinja(*parsed, text, std::nullopt);
  static const RenderInput kChat = Chat();
  (void)parsed->Render(kChat);
  (void)parsed->Render({});
  RenderInput insert;
  insert.prompt = "def f(";
  insert.suffix = "return";
  (void)parsed->Render(insert);
  return 0;
}
