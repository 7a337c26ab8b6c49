#include "api/errors.h"

#include "api/json_writer.h"

namespace corral::api {

int HttpStatus(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return 400;
    case Code::kUnauthorized:
      return 401;
    case Code::kForbidden:
      return 403;
    case Code::kNotFound:
      return 404;
    case Code::kAlreadyExists:
      return 409;
    case Code::kTooLarge:
      return 413;
    case Code::kBusy:
      return 503;
    case Code::kDeadline:
      return 504;
    case Code::kUpstream:
      return 502;
    case Code::kCancelled:
      return 499;
    case Code::kNoMemory:
    case Code::kCorrupt:
    case Code::kIo:
    case Code::kInternal:
      return 500;
  }
  return 500;
}

Failure::Failure(Error error) : status(HttpStatus(error.code)), text(std::move(error.message)) {}

std::string ErrorBody(std::string_view text) {
  JsonWriter writer;
  writer.BeginObject().Field("error", text).EndObject();
  return writer.Take();
}

std::string OpenAiErrorBody(int status, std::string_view text) {
  const std::string_view type = status == 400   ? "invalid_request_error"
                                : status == 404 ? "not_found_error"
                                                : "api_error";
  if (text.empty()) text = "something went wrong, please see the ollama server logs for details";
  JsonWriter writer;
  writer.BeginObject().Key("error").BeginObject();
  writer.Field("message", text).Field("type", type);
  writer.Key("param").Null().Key("code").Null();
  writer.EndObject().EndObject();
  return writer.Take();
}

}  // namespace corral::api
