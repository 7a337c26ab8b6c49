// The gate before the parser: looks at the raw bytes of a request's head and refuses what two
// readers could read differently.
//
// Source: RFC 9112 sections 2.2, 3, 5 and 6 (message parsing, framing), RFC 9110 section 5.5 (field
// values). Stricter than they ask where a client has no reason: bare LF, folded lines, two
// Content-Length lines, any coding but `chunked`. Pure functions, any thread. No byte of the input
// is trusted.
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"

namespace corral::http {

struct HeadVerdict {
  int status = 0;           // 0: pass it on; else the HTTP status of the refusal
  std::string_view reason;  // static text, for the answer

  bool IsRefused() const { return status != 0; }
};

// `head`: from the first byte of the request line to the empty line, both CRLFs included.
// 400: grammar, framing or Host; 501: an unknown transfer coding; 505: not HTTP/1.0 or HTTP/1.1.
HeadVerdict CheckHead(std::string_view head);

// False for a first byte that no request line has (TLS, other protocols): refuse without waiting
// for a head's end.
bool MayStartRequest(char first_byte);

struct Target {
  std::string path;       // decoded, "*" for the asterisk form
  std::string query;      // as sent, without '?'
  std::string authority;  // of the absolute form; replaces the Host field
};

// Origin form, absolute form (http, https), and "*" with OPTIONS. Errors: kInvalidArgument.
Result<Target> ParseTarget(std::string_view method, std::string_view target);

// A path as it may stand in a Location field: Go's url.EscapedPath set stays, all else becomes %XX.
std::string EncodePath(std::string_view path);

// Token characters as in RFC 9110 section 5.6.2.
bool IsToken(std::string_view text);
// Visible text, blanks and tabs; no CR, LF or other control byte.
bool IsFieldValue(std::string_view text);
// A client's X-Request-Id that is safe to echo and to log: 1 to 128 of letters, digits and
// ._~:/+=@-
bool IsRequestId(std::string_view text);

bool EqualsIgnoringCase(std::string_view a, std::string_view b);
std::string ToLower(std::string_view text);  // ASCII
std::string_view TrimBlanks(std::string_view text);

}  // namespace corral::http
