// How the parser and the evaluator leave a deep recursion: one exception type, thrown and caught
// inside this room only.
#pragma once

#include <string>
#include <utility>

#include "core/result.h"

namespace corral::templates::internal {

struct Failure {
  Error error;
};

[[noreturn]] inline void Throw(Code code, std::string message) {
  throw Failure{Error{code, std::move(message)}};
}

// What a function of the template language refuses, without the place; the evaluator adds that.
struct CallError {
  std::string message;
};

}  // namespace corral::templates::internal
