#include "core/result.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace corral {

std::string_view CodeName(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return "invalid argument";
    case Code::kUnauthorized:
      return "unauthorized";
    case Code::kForbidden:
      return "forbidden";
    case Code::kNotFound:
      return "not found";
    case Code::kAlreadyExists:
      return "already exists";
    case Code::kTooLarge:
      return "too large";
    case Code::kBusy:
      return "busy";
    case Code::kDeadline:
      return "deadline";
    case Code::kUpstream:
      return "upstream";
    case Code::kNoMemory:
      return "no memory";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kIo:
      return "io";
    case Code::kInternal:
      return "internal";
    case Code::kCancelled:
      return "cancelled";
  }
  return "internal";
}

Error ErrnoError(int errno_value, std::string_view doing) {
  Code code = Code::kIo;
  if (errno_value == ENOENT || errno_value == ENOTDIR) code = Code::kNotFound;
  if (errno_value == EACCES || errno_value == EPERM || errno_value == EROFS)
    code = Code::kForbidden;
  if (errno_value == EEXIST) code = Code::kAlreadyExists;
  return Error{code, std::string(doing) + ": " + std::strerror(errno_value)};
}

namespace internal {
void CheckFailed(const char* condition, const char* why, const char* file, int line) {
  std::fprintf(stderr, "corral: internal error at %s:%d: %s (%s)\n", file, line, why, condition);
  std::abort();
}
}  // namespace internal

}  // namespace corral
