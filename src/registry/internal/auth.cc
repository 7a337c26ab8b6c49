#include "registry/internal/auth.h"

#include <openssl/rand.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/files.h"
#include "core/log.h"
#include "core/sha256.h"
#include "core/text.h"

namespace corral::registry::internal {
namespace {

constexpr std::uint64_t kMaxCredentialBytes = 1U << 20;

std::string ChallengeValue(std::string_view header, std::string_view key) {
  const std::string begin = std::string(key) + "=\"";
  for (std::size_t at = header.find(begin); at != std::string_view::npos;
       at = header.find(begin, at + 1)) {
    // Not the end of a longer key.
    if (at > 0 && header[at - 1] != ' ' && header[at - 1] != ',') continue;
    const std::size_t from = at + begin.size();
    for (std::size_t end = header.find('"', from); end != std::string_view::npos;
         end = header.find('"', end + 1)) {
      if (end + 1 == header.size() || header[end + 1] == ',')
        return std::string(header.substr(from, end - from));
    }
  }
  return {};
}

std::string TextOf(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool IsHeaderSafe(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

// "https://index.docker.io/v1/" as "index.docker.io".
std::string HostOf(std::string_view key) {
  for (const std::string_view scheme : {"https://", "http://"})
    if (key.starts_with(scheme)) key.remove_prefix(scheme.size());
  return ToLowerAscii(key.substr(0, key.find('/')));
}

}  // namespace

std::optional<Challenge> ParseChallenge(std::string_view header) {
  const std::string_view text = TrimSpace(header);
  const std::size_t blank = text.find(' ');
  const std::string scheme = ToLowerAscii(text.substr(0, blank));
  Challenge challenge;
  if (scheme == "basic") {
    challenge.scheme = Challenge::Scheme::kBasic;
    return challenge;
  }
  if (scheme != "bearer" || blank == std::string_view::npos) return std::nullopt;
  const std::string_view values = text.substr(blank + 1);
  challenge.realm = ChallengeValue(values, "realm");
  challenge.service = ChallengeValue(values, "service");
  challenge.scope = ChallengeValue(values, "scope");
  if (challenge.realm.empty()) return std::nullopt;
  return challenge;
}

Result<Url> TokenUrl(const Challenge& challenge, std::string_view nonce,
                     std::int64_t unix_seconds) {
  std::string query = "nonce=" + EncodeQuery(nonce);
  for (const std::string_view scope : Split(challenge.scope, ' '))
    if (!scope.empty()) query += "&scope=" + EncodeQuery(scope);
  if (!challenge.service.empty()) query += "&service=" + EncodeQuery(challenge.service);
  query += "&ts=" + std::to_string(unix_seconds);
  const bool has_query = challenge.realm.find('?') != std::string::npos;
  return ParseUrl(challenge.realm + (has_query ? "&" : "?") + query);
}

std::string MakeNonce() {
  std::string bytes(16, '\0');
  CORRAL_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()),
                          static_cast<int>(bytes.size())) == 1,
               "OpenSSL has random numbers");
  std::string text = Base64Encode(bytes);
  while (text.ends_with('=')) text.pop_back();
  std::replace(text.begin(), text.end(), '+', '-');
  std::replace(text.begin(), text.end(), '/', '_');
  return text;
}

std::string SignedAuthorization(const SigningKey& key, const Url& url) {
  // Ollama's server/auth.go: method, address, and the base64 of the hex SHA-256 of the empty body.
  const std::string message = "GET," + url.text + "," + Base64Encode(Sha256Hex(""));
  return key.PublicKey() + ":" + key.Sign(message);
}

Result<std::string> ParseToken(std::string_view json) {
  const nlohmann::json value = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  std::string token;
  if (value.is_object()) {
    token = TextOf(value, "token");
    if (token.empty()) token = TextOf(value, "access_token");
  }
  if (token.empty() || !IsHeaderSafe(token))
    return Fail(Code::kUpstream, "the registry's token server gave no token");
  return token;
}

Credentials ParseCredentials(std::string_view json) {
  Credentials credentials;
  const nlohmann::json value = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) return credentials;
  const auto auths = value.find("auths");
  if (auths == value.end() || !auths->is_object()) return credentials;
  for (const auto& [key, entry] : auths->items()) {
    if (!entry.is_object()) continue;
    std::string basic = TextOf(entry, "auth");
    if (basic.empty() && !TextOf(entry, "username").empty())
      basic = Base64Encode(TextOf(entry, "username") + ":" + TextOf(entry, "password"));
    if (!basic.empty() && IsHeaderSafe(basic)) credentials[HostOf(key)] = "Basic " + basic;
  }
  return credentials;
}

Credentials LoadCredentials(const std::filesystem::path& file) {
  if (file.empty()) return {};
  const Result<std::string> text = RealFileSystem().Read(file, kMaxCredentialBytes);
  if (text) return ParseCredentials(*text);
  if (text.error().code != Code::kNotFound) {
    Log(LogLevel::kWarn, "cannot read the file with the registries' passwords",
        {{"file", file.native()}, {"error", text.error().message}});
  }
  return {};
}

}  // namespace corral::registry::internal
