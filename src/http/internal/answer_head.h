// The status line and fields of an answer, from checked values only: a CR or LF in a value would
// let a caller write a second answer (response splitting). Pure functions, any thread.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "core/result.h"

namespace corral::http {

// "Not Found" for 404; empty for a code without a name.
std::string_view ReasonPhrase(int status);

// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 section 5.6.7).
std::string FormatHttpDate(std::chrono::system_clock::time_point time);

class AnswerHead {
 public:
  AnswerHead(bool is_http_11, int status);

  // Errors: kInternal (a name that is no token, a value with a control byte). Nothing is added
  // then.
  Status Add(std::string_view name, std::string_view value);
  // The bytes, ended by the empty line.
  std::string Finish() &&;

 private:
  std::string bytes_;
};

// Names that only the server writes; a handler's own are left out.
bool IsFramingField(std::string_view name);

}  // namespace corral::http
