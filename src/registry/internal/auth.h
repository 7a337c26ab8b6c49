// What a registry wants before it answers, and what we have for it. Pure but for LoadCredentials.
// Thread-safe.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"
#include "registry/internal/signing_key.h"
#include "registry/internal/url.h"

namespace corral::registry::internal {

// A WWW-Authenticate header, read as Ollama reads it: each value ends at a quote that a comma or
// the end follows.
struct Challenge {
  enum class Scheme { kBearer, kBasic };
  Scheme scheme = Scheme::kBearer;
  std::string realm, service, scope;  // scopes with blanks between them
};
std::optional<Challenge> ParseChallenge(std::string_view header);

// The address of a token: <realm>?nonce=…&scope=…&service=…&ts=…, keys sorted. Errors:
// kInvalidArgument.
Result<Url> TokenUrl(const Challenge& challenge, std::string_view nonce, std::int64_t unix_seconds);

// 16 random bytes in base64url without padding.
std::string MakeNonce();

// The Authorization header of a request for a token, by which Ollama's registry knows the machine.
std::string SignedAuthorization(const SigningKey& key, const Url& url);

// The token of `{"token":"…"}` or `{"access_token":"…"}`. Errors: kUpstream.
Result<std::string> ParseToken(std::string_view json);

// Users and passwords by "host" or "host:port", as Docker's config.json has them under "auths":
// values of an Authorization header ("Basic …").
using Credentials = std::map<std::string, std::string, std::less<>>;
Credentials ParseCredentials(std::string_view json);
// Those of a file; none if it cannot be read (logged, unless it is not there). Blocking.
Credentials LoadCredentials(const std::filesystem::path& file);

}  // namespace corral::registry::internal
