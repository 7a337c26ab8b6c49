#include "convert/safetensors.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <string>

#include "convert/tensor_data.h"
#include "core/files.h"

namespace corral::convert {
namespace {

// A file with this header and `data_bytes` of data.
Result<std::vector<SafeTensor>> Read(const std::string& header, std::size_t data_bytes,
                                     std::uint64_t said_size = 0) {
  const UniqueFd fd(::memfd_create("corral-test", MFD_CLOEXEC));
  std::uint64_t size = said_size == 0 ? header.size() : said_size;
  std::string bytes(sizeof(size), '\0');
  std::memcpy(bytes.data(), &size, sizeof(size));
  EXPECT_TRUE(WriteAll(fd.get(), bytes + header + std::string(data_bytes, '\0')));
  return ReadSafetensors(fd.get());
}

TEST(SafetensorsTest, ReadsTypesShapesAndPlaces) {
  const auto tensors = Read(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
      R"("b":{"dtype":"I64","shape":[],"data_offsets":[12,20]}})",
      20);
  ASSERT_TRUE(tensors) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 2U);
  const SafeTensor& a = (*tensors)[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.dtype, DType::kBFloat16);
  EXPECT_EQ(a.shape, (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ(a.size_bytes, 12U);
  EXPECT_EQ((*tensors)[1].dtype, DType::kOther);
  EXPECT_EQ((*tensors)[1].offset - a.offset, 12U);
}

TEST(SafetensorsTest, TrustsNoLength) {
  const auto entry = [](const std::string& rest) { return "{\"a\":{" + rest + "}}"; };
  const std::string cases[] = {
      entry(R"("dtype":"F32","shape":[4],"data_offsets":[0,12])"),
      entry(R"("dtype":"F32","shape":[4],"data_offsets":[8,24])"),
      entry(R"("dtype":"F32","shape":[4],"data_offsets":[16,0])"),
      entry(R"("dtype":"F32","shape":[4],"data_offsets":[-16,0])"),
      entry(R"("dtype":"F32","shape":[4],"data_offsets":[0])"),
      entry(R"("dtype":"F32","shape":[-4],"data_offsets":[0,16])"),
      entry(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16])"),
      entry(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,16])"),
      entry(R"("dtype":"F32","shape":[1e30],"data_offsets":[0,16])"),
      entry(R"("dtype":"F32","shape":"4","data_offsets":[0,16])"),
      entry(R"("dtype":"X9","shape":[4],"data_offsets":[0,16])"),
      entry(R"("shape":[4],"data_offsets":[0,16])"),
      R"({"a":[]})",
      R"([])",
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
      "nonsense"};
  for (const std::string& header : cases) {
    const auto tensors = Read(header, 16);
    ASSERT_FALSE(tensors) << header;
    EXPECT_EQ(tensors.error().code, Code::kInvalidArgument) << header;
  }
  EXPECT_FALSE(Read("{}", 0, 3));
  EXPECT_FALSE(Read("{}", 0, 1ULL << 63U));
  EXPECT_FALSE(Read("{}", 0, 100'000'001));
}

TEST(TensorDataTest, HalvesRoundToTheNearestAndBack) {
  const std::pair<float, std::uint16_t> cases[] = {
      {0.0F, 0x0000},          {-0.0F, 0x8000},         {1.0F, 0x3C00},
      {-2.0F, 0xC000},         {65504.0F, 0x7BFF},      {65519.0F, 0x7BFF},
      {65520.0F, 0x7C00},      {1e30F, 0x7C00},         {6.1035156e-5F, 0x0400},
      {5.9604645e-8F, 0x0001}, {2.9802322e-8F, 0x0000}, {2.9802326e-8F, 0x0001},
      {8.940697e-8F, 0x0002},  {1.0004883F, 0x3C00},    {1.0014648F, 0x3C02},
      {6.1e-5F, 0x03FF},       {INFINITY, 0x7C00},      {1e-30F, 0x0000}};
  for (const auto& [value, half] : cases) EXPECT_EQ(ToHalf(value), half) << value;
  EXPECT_TRUE(std::isnan(FromHalf(ToHalf(NAN))));
  for (std::uint32_t half = 0; half < 0x10000U; ++half) {
    const auto bits = static_cast<std::uint16_t>(half);
    const float value = FromHalf(bits);
    if (!std::isnan(value)) {
      ASSERT_EQ(ToHalf(value), bits) << half;
    }
  }
}

}  // namespace
}  // namespace corral::convert
