// Names that no other process makes.
#pragma once

#include <string>

namespace corral::models::internal {

// 16 hex digits, from the kernel. Thread-safe.
std::string RandomName();

}  // namespace corral::models::internal
