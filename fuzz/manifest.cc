// Any bytes as a manifest, a config, params and messages. What is read can be written, and reads
// back the same.
#include "models/manifest.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "models/internal/model_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace corral::models;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto manifest = ParseManifest(std::string(text))) {
    CORRAL_CHECK(manifest->TotalBytes() >= 0, "a negative size");
    (void)manifest->Find("model");
    if (manifest->config) {
      const auto again = ParseManifest(EncodeManifest(*manifest->config, manifest->layers));
      CORRAL_CHECK(again.has_value() || text.size() > kMaxManifestBytes / 8,
                   "a manifest does not read back");
      CORRAL_CHECK(!again || again->layers == manifest->layers, "a manifest reads back otherwise");
    }
  }
  if (const auto config = ParseConfig(text)) {
    const std::string written = EncodeConfig(*config);
    const auto again = ParseConfig(written);
    CORRAL_CHECK(again && EncodeConfig(*again) == written, "a config does not read back");
  }
  if (const auto params = internal::ParseParams(text)) {
    const std::string written = internal::EncodeParams(*params);
    const auto again = internal::ParseParams(written);
    CORRAL_CHECK(again && internal::EncodeParams(*again) == written, "params do not read back");
    (void)ShowParameters(*params);
  }
  if (const auto messages = internal::ParseMessages(text)) {
    const auto again = internal::ParseMessages(internal::EncodeMessages(*messages));
    CORRAL_CHECK(again && *again == *messages, "messages do not read back");
  }
  return 0;
}
