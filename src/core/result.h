// Errors are values. Every room's public function returns Result<T> or Status; exceptions stay
// inside a file.
//
// Thread-safe in the way of any value type. A message is written for people and is safe to show to
// an API client: it never holds a secret, a prompt or a path that the client did not name.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace corral {

// What a caller can act on differently. The HTTP status of each lives in api/errors.h.
enum class Code {
  kInvalidArgument,  // the request is wrong and stays wrong
  kUnauthorized,
  kForbidden,
  kNotFound,
  kAlreadyExists,
  kTooLarge,
  kBusy,       // queue full or shutting down: try again
  kDeadline,   // took longer than the caller allowed
  kUpstream,   // another server (registry) failed
  kNoMemory,   // does not fit into RAM or VRAM
  kCorrupt,    // data on disk or on the wire is not what it must be
  kIo,         // the operating system refused
  kInternal,   // our own mistake, or a worker that died
  kCancelled,  // the client left or the server stops; nothing is sent
};

// "kNotFound" as "not found": for logs.
std::string_view CodeName(Code code);

struct Error {
  Code code = Code::kInternal;
  std::string message;

  // Puts what was being done in front: Error{"no such file"}.Within("read manifest") is "read
  // manifest: no such file".
  Error Within(std::string_view doing) && {
    message.insert(0, ": ");
    message.insert(0, doing);
    return std::move(*this);
  }
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

// return Fail(Code::kNotFound, "model 'x' not found");
inline tl::unexpected<Error> Fail(Code code, std::string message) {
  return tl::unexpected<Error>(Error{code, std::move(message)});
}
inline tl::unexpected<Error> Fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

// An Error with the text of an errno value: Code::kNotFound for ENOENT, kForbidden for
// EACCES/EPERM/EROFS, else kIo.
Error ErrnoError(int errno_value, std::string_view doing);

namespace internal {
[[noreturn]] void CheckFailed(const char* condition, const char* why, const char* file, int line);
}

}  // namespace corral

// CORRAL_TRY(const Manifest manifest, store.Load(name));   declares or assigns, or returns the
// error CORRAL_TRY_STATUS(store.Delete(name));
#define CORRAL_CONCAT_(a, b) a##b
#define CORRAL_CONCAT(a, b) CORRAL_CONCAT_(a, b)
#define CORRAL_TRY_(temporary, target, expression)                                        \
  auto temporary = (expression);                                                          \
  if (!temporary) return ::tl::unexpected<::corral::Error>(std::move(temporary).error()); \
  target = std::move(*temporary)
#define CORRAL_TRY(target, ...) \
  CORRAL_TRY_(CORRAL_CONCAT(corral_try_, __LINE__), target, (__VA_ARGS__))
#define CORRAL_TRY_STATUS(...)                                                    \
  do {                                                                            \
    if (auto corral_status = (__VA_ARGS__); !corral_status)                       \
      return ::tl::unexpected<::corral::Error>(std::move(corral_status).error()); \
  } while (false)

// For our own mistakes only; stays on in release and aborts. Input from outside never reaches one.
#define CORRAL_CHECK(condition, why)                                                        \
  do {                                                                                      \
    if (!(condition)) ::corral::internal::CheckFailed(#condition, why, __FILE__, __LINE__); \
  } while (false)
