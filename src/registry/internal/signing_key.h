// The machine's key for registries that know machines by keys: ed25519 in OpenSSH's format, where
// Ollama has it (~/.ollama/id_ed25519), so that a registered key stays registered.
//
// Format: openssh-portable's PROTOCOL.key, without a passphrase. A value; thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "core/result.h"

namespace corral::registry::internal {

class SigningKey {
 public:
  // Reads the key; makes one (mode 0600, and `.pub` beside it) if there is none. Blocking. Errors:
  // kIo, kForbidden, kCorrupt (another kind of key, a passphrase, no key).
  static Result<SigningKey> LoadOrCreate(const std::filesystem::path& file);
  // Of the text of a key file. Errors: kCorrupt.
  static Result<SigningKey> Parse(std::string_view text);

  // The middle field of the public key's line "ssh-ed25519 <this>".
  std::string PublicKey() const;
  // Standard base64 of the 64 bytes.
  std::string Sign(std::string_view message) const;
  // The key file's text.
  std::string Encode() const;

 private:
  using Bytes = std::array<std::uint8_t, 32>;
  static Result<SigningKey> FromSeed(const Bytes& seed);

  Bytes seed_{}, public_key_{};
};

}  // namespace corral::registry::internal
