#include "core/sha256.h"

#include <gtest/gtest.h>

namespace corral {
namespace {

// FIPS 180-4 and NIST's example vectors.
constexpr const char* kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kMillionA =
    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Sha256, HasTheStandardsVectors) {
  EXPECT_EQ(Sha256Hex(""), kEmpty);
  EXPECT_EQ(Sha256Hex("abc"), kAbc);
}

TEST(Sha256, IsTheSameInPieces) {
  Sha256 sha;
  const std::string piece(999, 'a');
  for (int i = 0; i < 1'001; ++i) sha.Update(piece);
  sha.Update("a");
  EXPECT_EQ(sha.FinishHex(), kMillionA);
}

TEST(Sha256, StartsAnewAfterFinish) {
  Sha256 sha;
  sha.Update("something else");
  (void)sha.Finish();
  sha.Update("abc");
  EXPECT_EQ(sha.FinishHex(), kAbc);
  EXPECT_EQ(sha.FinishHex(), kEmpty);
}

}  // namespace
}  // namespace corral
