// Any text as a model's name, a path below manifests/, a reference and a digest. What is accepted
// stays inside the store and reads back as itself.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/result.h"
#include "models/name.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace corral::models;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto& name :
       {ModelName::Parse(text), ModelName::FromPath(std::filesystem::path(text))}) {
    if (!name) continue;
    const std::filesystem::path path = name->Path();
    CORRAL_CHECK(path.is_relative() && path.lexically_normal() == path, "a name leads outside");
    const auto from_path = ModelName::FromPath(path);
    CORRAL_CHECK(from_path && from_path->Full() == name->Full(), "a path does not read back");
    const auto from_text = ModelName::Parse(name->Full());
    CORRAL_CHECK(from_text && from_text->Full() == name->Full(), "a name does not read back");
    const auto from_short = ModelName::Parse(name->Short());
    CORRAL_CHECK(from_short && from_short->EqualsIgnoringCase(*name),
                 "a short name does not read back");
  }
  if (const auto reference = ParseReference(text)) (void)reference->PullName();
  if (const auto digest = Digest::Parse(text)) {
    CORRAL_CHECK(digest->FileName().find('/') == std::string::npos, "a digest leads outside");
    CORRAL_CHECK(Digest::Parse(digest->ToString()) == digest, "a digest does not read back");
  }
  return 0;
}
