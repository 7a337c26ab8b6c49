#include "core/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace corral {
namespace {

Result<int> Half(int number) {
  if (number % 2 != 0) return Fail(Code::kInvalidArgument, "odd");
  return number / 2;
}

Result<int> Quarter(int number) {
  CORRAL_TRY(const int half, Half(number));
  CORRAL_TRY(int quarter, Half(half));
  return quarter;
}

Status CheckIsEven(int number) {
  CORRAL_TRY_STATUS(Half(number).map([](int) {}));
  return {};
}

TEST(Result, TryGivesTheValueOrReturnsTheError) {
  EXPECT_EQ(Quarter(12).value(), 3);
  ASSERT_FALSE(Quarter(6));
  EXPECT_EQ(Quarter(6).error().code, Code::kInvalidArgument);
  EXPECT_EQ(Quarter(6).error().message, "odd");
  EXPECT_TRUE(CheckIsEven(2));
  EXPECT_FALSE(CheckIsEven(3));
}

TEST(Result, TryMovesWhatCannotBeCopied) {
  const auto make = []() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(7); };
  const auto take = [&]() -> Result<int> {
    CORRAL_TRY(const std::unique_ptr<int> number, make());
    return *number;
  };
  EXPECT_EQ(take().value(), 7);
}

TEST(Error, WithinPutsWhatWasDoneInFront) {
  Error error{Code::kNotFound, "no such file"};
  error = std::move(error).Within("read manifest");
  error = std::move(error).Within("load model");
  EXPECT_EQ(error.message, "load model: read manifest: no such file");
  EXPECT_EQ(error.code, Code::kNotFound);
}

TEST(Error, ErrnoValuesBecomeCodes) {
  EXPECT_EQ(ErrnoError(ENOENT, "open").code, Code::kNotFound);
  EXPECT_EQ(ErrnoError(ENOTDIR, "open").code, Code::kNotFound);
  EXPECT_EQ(ErrnoError(EACCES, "open").code, Code::kForbidden);
  EXPECT_EQ(ErrnoError(EPERM, "open").code, Code::kForbidden);
  EXPECT_EQ(ErrnoError(EROFS, "open").code, Code::kForbidden);
  EXPECT_EQ(ErrnoError(EEXIST, "open").code, Code::kAlreadyExists);
  EXPECT_EQ(ErrnoError(ENOSPC, "open").code, Code::kIo);
  EXPECT_EQ(ErrnoError(ENOSPC, "write file").message, "write file: No space left on device");
}

TEST(Error, EveryCodeHasItsOwnName) {
  EXPECT_EQ(CodeName(Code::kNotFound), "not found");
  EXPECT_EQ(CodeName(Code::kTooLarge), "too large");
  EXPECT_EQ(CodeName(Code::kCancelled), "cancelled");
}

TEST(CheckDeathTest, AFailedCheckAbortsAndSaysWhy) {
  EXPECT_DEATH(CORRAL_CHECK(1 + 1 == 3, "arithmetic"),
               "internal error at .*arithmetic.*1 \\+ 1 == 3");
}

}  // namespace
}  // namespace corral
