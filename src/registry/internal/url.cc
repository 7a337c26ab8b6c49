#include "registry/internal/url.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>

#include "core/text.h"

namespace corral::registry::internal {
namespace {

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using UrlHandle = std::unique_ptr<CURLU, FreeUrl>;

std::string Part(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return {};
  std::string value = text;
  curl_free(text);
  return value;
}

Result<Url> FromHandle(CURLU* handle, std::string_view text) {
  Url url;
  url.text = Part(handle, CURLUPART_URL);
  url.scheme = Part(handle, CURLUPART_SCHEME);
  url.host = ToLowerAscii(Part(handle, CURLUPART_HOST));
  url.authority = url.host;
  if (const std::string port = Part(handle, CURLUPART_PORT); !port.empty())
    url.authority += ":" + port;
  if (url.host.size() > 2 && url.host.front() == '[')
    url.host = url.host.substr(1, url.host.size() - 2);
  const auto port = ParseUint(Part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT));
  const bool is_web = url.scheme == "http" || url.scheme == "https";
  if (!is_web || url.host.empty() || !port || *port == 0 || *port > 65535 ||
      !Part(handle, CURLUPART_USER).empty()) {
    return Fail(Code::kInvalidArgument, "unsupported address " + GoQuote(text));
  }
  url.port = static_cast<std::uint16_t>(*port);
  return url;
}

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) == 0x7F;
  });
}

}  // namespace

Result<Url> ParseUrl(std::string_view text) {
  const UrlHandle handle(curl_url());
  if (!handle || HasControl(text) ||
      curl_url_set(handle.get(), CURLUPART_URL, std::string(text).c_str(), 0) != CURLUE_OK) {
    return Fail(Code::kInvalidArgument, "unsupported address " + GoQuote(text));
  }
  return FromHandle(handle.get(), text);
}

Result<Url> ResolveUrl(const Url& base, std::string_view reference) {
  const UrlHandle handle(curl_url());
  if (!handle || HasControl(reference) ||
      curl_url_set(handle.get(), CURLUPART_URL, base.text.c_str(), 0) != CURLUE_OK ||
      curl_url_set(handle.get(), CURLUPART_URL, std::string(reference).c_str(), CURLU_URLENCODE) !=
          CURLUE_OK) {
    return Fail(Code::kInvalidArgument, "unsupported address " + GoQuote(reference));
  }
  return FromHandle(handle.get(), reference);
}

std::string EncodeQuery(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  constexpr std::string_view kPlain = "-_.~";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (is_word || kPlain.find(c) != std::string_view::npos) {
      encoded.push_back(c);
    } else {
      encoded.push_back('%');
      encoded.push_back(kHex[byte >> 4U]);
      encoded.push_back(kHex[byte & 15U]);
    }
  }
  return encoded;
}

}  // namespace corral::registry::internal
