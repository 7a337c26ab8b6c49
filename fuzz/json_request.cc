// Any bytes as the body of each native request: it is read or refused with a text. What is taken
// over as JSON text must be valid JSON again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "api/native/create_spec.h"
#include "api/native/options.h"
#include "api/native/requests.h"

namespace {

void MustBeJson(std::string_view text) {
  if (text.empty()) return;
  const auto again = corral::api::FirstValue(text);
  if (!again || again->size() != text.size()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace corral::api;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  if (const auto value = FirstValue(body)) MustBeJson(CompactJson(*value));
  if (const auto generate = ReadGenerateRequest(body)) {
    MustBeJson(generate->format_json);
    (void)ResolveOptions({}, generate->options);
    (void)ToParams(generate->options);
  }
  if (const auto chat = ReadChatRequest(body)) {
    MustBeJson(chat->tools_json);
    for (const auto& message : chat->messages) {
      for (const auto& call : message.tool_calls) MustBeJson(call.arguments_json);
    }
  }
  if (const auto create = ReadCreateRequest(body)) (void)ToCreatePlan(*create);
  (void)ReadEmbedRequest(body);
  (void)ReadEmbeddingsRequest(body);
  (void)ReadRerankRequest(body);
  (void)ReadTokenizeRequest(body);
  (void)ReadDetokenizeRequest(body);
  (void)ReadShowRequest(body);
  (void)ReadCopyRequest(body);
  (void)ReadDeleteRequest(body);
  return 0;
}
