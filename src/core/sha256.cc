#include "core/sha256.h"

#include <openssl/evp.h>

#include "core/result.h"
#include "core/text.h"

namespace corral {

void Sha256::FreeContext::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

// OpenSSL fails here only without memory or without its default provider: nothing that a caller
// could handle.
Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  CORRAL_CHECK(context_ != nullptr, "out of memory");
  CORRAL_CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1, "no SHA-256");
}

void Sha256::Update(std::string_view bytes) {
  CORRAL_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1, "SHA-256");
}

Sha256::Hash Sha256::Finish() {
  Hash hash{};
  CORRAL_CHECK(EVP_DigestFinal_ex(context_.get(), hash.data(), nullptr) == 1, "SHA-256");
  CORRAL_CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1, "no SHA-256");
  return hash;
}

std::string Sha256::FinishHex() {
  const Hash hash = Finish();
  return HexEncode({reinterpret_cast<const char*>(hash.data()), hash.size()});
}

std::string Sha256Hex(std::string_view bytes) {
  Sha256 sha;
  sha.Update(bytes);
  return sha.FinishHex();
}

}  // namespace corral
