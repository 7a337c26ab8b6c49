// Any bytes as a Modelfile: parses or fails with a text; what was parsed prints, and the print
// parses or fails.
#include "modelfile/modelfile.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace corral::modelfile;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto parsed = Parse(text)) {
    (void)Parse(parsed->ToString());
    for (const Command& command : parsed->commands) {
      (void)FormatParameters({{command.name, {command.args}}, {"temperature", {command.args}}},
                             nullptr);
      (void)FormatParameters({{"num_ctx", {command.args}}}, nullptr);
      (void)ParseRequires(command.args);
    }
  }
  return 0;
}
