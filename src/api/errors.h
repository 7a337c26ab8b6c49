// Errors on their way to a client: the one table from Code to HTTP status, and the native error
// body.
//
// Pure values. Thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "core/result.h"

namespace corral::api {

// The status of an Error where the route says nothing else. kCancelled has none: nothing is sent
// (499 for logs).
int HttpStatus(Code code);

// An answer that is an error, with its status decided.
struct Failure {
  int status = 500;
  std::string text;
  bool is_silent = false;  // the client is gone: send nothing

  Failure() = default;
  Failure(int http_status, std::string message) : status(http_status), text(std::move(message)) {}
  // By the table.
  Failure(
      Error error);  // NOLINT(google-explicit-constructor): CORRAL_TRY's error becomes a Failure
};

template <class T>
using Answer = tl::expected<T, Failure>;

inline tl::unexpected<Failure> Refuse(int status, std::string text) {
  return tl::unexpected<Failure>(Failure(status, std::move(text)));
}
inline tl::unexpected<Failure> Refuse(Failure failure) {
  return tl::unexpected<Failure>(std::move(failure));
}

// {"error":"<text>"}
std::string ErrorBody(std::string_view text);
// {"error":{"message","type","param","code"}}, as OpenAI's clients read it (http-api.md
// section 1.7).
std::string OpenAiErrorBody(int status, std::string_view text);

}  // namespace corral::api
