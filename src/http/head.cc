#include "http/internal/head.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace corral::http {
namespace {

constexpr bool IsAlpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }

constexpr bool IsOneOf(char c, std::string_view set) {
  return set.find(c) != std::string_view::npos;
}

constexpr bool IsTokenChar(char c) {
  return IsAlpha(c) || IsDigit(c) || IsOneOf(c, "!#$%&'*+-.^_`|~");
}

constexpr bool IsControl(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7F;
}

constexpr int HexValue(char c) {
  if (IsDigit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

constexpr std::size_t kMaxMethodLength = 32;

HeadVerdict Refuse(int status, std::string_view reason) { return {status, reason}; }

// What the fields together say about framing.
struct Framing {
  int n_hosts = 0;
  int n_content_lengths = 0;
  int n_transfer_encodings = 0;
};

bool IsHostValue(std::string_view value) {
  for (const char c : value) {
    if (!IsAlpha(c) && !IsDigit(c) && !IsOneOf(c, "-._~!$&'()*+,;=:[]%")) return false;
  }
  return true;
}

HeadVerdict CheckRequestLine(std::string_view line, bool& is_http_11) {
  const std::size_t method_end = line.find(' ');
  if (method_end == std::string_view::npos || method_end > kMaxMethodLength ||
      !IsToken(line.substr(0, method_end))) {
    return Refuse(400, "malformed request line");
  }
  const std::size_t target_end = line.rfind(' ');
  if (target_end <= method_end + 1) return Refuse(400, "malformed request line");
  const std::string_view target = line.substr(method_end + 1, target_end - method_end - 1);
  for (const char c : target) {
    if (IsControl(c) || c == ' ') return Refuse(400, "malformed request line");
  }
  const std::string_view version = line.substr(target_end + 1);
  if (version.substr(0, 5) != "HTTP/") return Refuse(400, "malformed HTTP version");
  is_http_11 = version == "HTTP/1.1";
  if (!is_http_11 && version != "HTTP/1.0") return Refuse(505, "unsupported protocol version");
  return {};
}

HeadVerdict CheckField(std::string_view line, bool is_http_11, Framing& framing) {
  if (line.front() == ' ' || line.front() == '\t') return Refuse(400, "folded header line");
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !IsToken(line.substr(0, colon))) {
    return Refuse(400, "malformed header name");
  }
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = TrimBlanks(line.substr(colon + 1));
  if (!IsFieldValue(value)) return Refuse(400, "malformed header value");
  if (EqualsIgnoringCase(name, "host")) {
    if (++framing.n_hosts > 1) return Refuse(400, "too many Host headers");
    if (!IsHostValue(value)) return Refuse(400, "malformed Host header");
  } else if (EqualsIgnoringCase(name, "content-length")) {
    if (++framing.n_content_lengths > 1) return Refuse(400, "too many Content-Length headers");
    if (value.empty() || value.size() > 18) return Refuse(400, "bad Content-Length");
    for (const char c : value) {
      if (!IsDigit(c)) return Refuse(400, "bad Content-Length");
    }
  } else if (EqualsIgnoringCase(name, "transfer-encoding")) {
    if (!is_http_11) return Refuse(400, "Transfer-Encoding in HTTP/1.0");
    if (++framing.n_transfer_encodings > 1) return Refuse(400, "too many transfer encodings");
    if (!EqualsIgnoringCase(value, "chunked")) return Refuse(501, "Unsupported transfer encoding");
  }
  return {};
}

std::optional<std::string> DecodePath(std::string_view raw) {
  std::string path;
  path.reserve(raw.size());
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '%') {
      path.push_back(raw[i]);
      continue;
    }
    if (i + 2 >= raw.size()) return std::nullopt;
    const int high = HexValue(raw[i + 1]);
    const int low = HexValue(raw[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    path.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return path;
}

}  // namespace

HeadVerdict CheckHead(std::string_view head) {
  if (head.size() < 4 || head.substr(head.size() - 4) != "\r\n\r\n") {
    return Refuse(400, "incomplete head");
  }
  std::string_view rest = head.substr(0, head.size() - 2);  // every line with its CRLF
  bool is_http_11 = false;
  bool is_first = true;
  Framing framing;
  while (!rest.empty()) {
    const std::size_t end = rest.find("\r\n");  // found: rest ends with CRLF
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 2);
    // A CR or LF alone is a line end to some readers and text to others.
    if (line.find_first_of("\r\n") != std::string_view::npos) return Refuse(400, "bare CR or LF");
    if (line.empty()) return Refuse(400, "malformed request line");
    const HeadVerdict verdict =
        is_first ? CheckRequestLine(line, is_http_11) : CheckField(line, is_http_11, framing);
    if (verdict.IsRefused()) return verdict;
    is_first = false;
  }
  if (is_http_11 && framing.n_hosts == 0) return Refuse(400, "missing required Host header");
  if (framing.n_content_lengths > 0 && framing.n_transfer_encodings > 0) {
    return Refuse(400, "both Content-Length and Transfer-Encoding");
  }
  return {};
}

bool MayStartRequest(char first_byte) { return IsTokenChar(first_byte) || first_byte == '\r'; }

Result<Target> ParseTarget(std::string_view method, std::string_view target) {
  Target result;
  if (target == "*") {
    if (method != "OPTIONS") return Fail(Code::kInvalidArgument, "invalid request target");
    result.path = "*";
    return result;
  }
  std::string_view rest = target.substr(0, target.find('#'));
  if (rest.empty() || rest.front() != '/') {
    const std::size_t scheme_end = rest.find("://");
    if (scheme_end == std::string_view::npos) {
      return Fail(Code::kInvalidArgument, "invalid request target");
    }
    const std::string_view scheme = rest.substr(0, scheme_end);
    if (!EqualsIgnoringCase(scheme, "http") && !EqualsIgnoringCase(scheme, "https")) {
      return Fail(Code::kInvalidArgument, "invalid request target");
    }
    rest.remove_prefix(scheme_end + 3);
    const std::size_t authority_end = rest.find_first_of("/?");
    result.authority = rest.substr(0, authority_end);
    if (result.authority.empty() || !IsHostValue(result.authority)) {
      return Fail(Code::kInvalidArgument, "invalid request target");
    }
    rest =
        authority_end == std::string_view::npos ? std::string_view() : rest.substr(authority_end);
  }
  const std::size_t question = rest.find('?');
  if (question != std::string_view::npos) result.query = rest.substr(question + 1);
  std::optional<std::string> path = DecodePath(rest.substr(0, question));
  if (!path) return Fail(Code::kInvalidArgument, "invalid URL escape");
  result.path = path->empty() ? "/" : std::move(*path);
  return result;
}

std::string EncodePath(std::string_view path) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(path.size());
  for (const char c : path) {
    if (IsAlpha(c) || IsDigit(c) || IsOneOf(c, "-_.~$&+,/:;=@!'()*")) {
      encoded.push_back(c);
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded.push_back('%');
    encoded.push_back(kHex[byte >> 4U]);
    encoded.push_back(kHex[byte & 15U]);
  }
  return encoded;
}

bool IsToken(std::string_view text) {
  if (text.empty()) return false;
  for (const char c : text) {
    if (!IsTokenChar(c)) return false;
  }
  return true;
}

bool IsFieldValue(std::string_view text) {
  for (const char c : text) {
    if (IsControl(c) && c != '\t') return false;
  }
  return true;
}

bool IsRequestId(std::string_view text) {
  if (text.empty() || text.size() > 128) return false;
  for (const char c : text) {
    if (!IsAlpha(c) && !IsDigit(c) && !IsOneOf(c, "._~:/+=@-")) return false;
  }
  return true;
}

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const char x = a[i] >= 'A' && a[i] <= 'Z' ? static_cast<char>(a[i] + 32) : a[i];
    const char y = b[i] >= 'A' && b[i] <= 'Z' ? static_cast<char>(b[i] + 32) : b[i];
    if (x != y) return false;
  }
  return true;
}

std::string ToLower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return lower;
}

std::string_view TrimBlanks(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

}  // namespace corral::http
