// What a registry, a partial download or a user's home may hold: challenges, tokens, addresses,
// passwords, keys, states of parts. Any bytes are read or refused.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "models/internal/partial_files.h"
#include "registry/internal/auth.h"
#include "registry/internal/signing_key.h"
#include "registry/internal/url.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace corral;
  using namespace corral::registry::internal;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto challenge = ParseChallenge(text)) (void)TokenUrl(*challenge, "n", 1);
  (void)ParseToken(text);
  for (const auto& [host, value] : ParseCredentials(text))
    if (value.find('\n') != std::string::npos) std::abort();
  const auto base = ParseUrl("https://registry.example/v2/a/b/");
  if (const auto url = ResolveUrl(*base, text)) {
    if (url->host.empty() || url->text.find('\n') != std::string::npos) std::abort();
  }
  if (const auto key = SigningKey::Parse(text)) {
    if (SigningKey::Parse(key->Encode())->PublicKey() != key->PublicKey()) std::abort();
  }
  models::ByteRanges present;
  constexpr std::int64_t kSize = 1000;
  models::internal::AddPart(text, kSize, &present);
  for (const auto& range : present.ranges())
    if (range.begin < 0 || range.end > kSize) std::abort();
  (void)models::internal::PartialGroup(text);
  return 0;
}
