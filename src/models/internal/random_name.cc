#include "models/internal/random_name.h"

#include <sys/random.h>
#include <unistd.h>

#include <array>

namespace corral::models::internal {

std::string RandomName() {
  std::array<unsigned char, 8> bytes{};
  // Without entropy (never, after the boot) the process id tells names apart.
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    bytes[0] = static_cast<unsigned char>(::getpid());
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

}  // namespace corral::models::internal
