// SHA-256 (FIPS 180-4), in pieces or at once, by OpenSSL.
//
// One thread at a time per object.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;  // OpenSSL's EVP_MD_CTX

namespace corral {

class Sha256 {
 public:
  using Hash = std::array<std::uint8_t, 32>;

  Sha256();
  void Update(std::string_view bytes);
  // The hash of what was given since the start, or since the last Finish. Starts anew.
  Hash Finish();
  // Finish() as 64 lower-case hex digits.
  std::string FinishHex();

 private:
  struct FreeContext {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, FreeContext> context_;
};

// 64 lower-case hex digits.
std::string Sha256Hex(std::string_view bytes);

}  // namespace corral
