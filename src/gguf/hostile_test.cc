// Files made to break a reader: each group names the public advisory it comes from.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "gguf/reader.h"
#include "gguf/test_file.h"
#include "gguf/writer.h"

namespace corral::gguf {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::uint64_t kHuge[] = {1ULL << 31, (1ULL << 31) - 1, (1ULL << 32) - 1, 1ULL << 32,
                                   1ULL << 61, (1ULL << 63) - 1, 1ULL << 63,       ~0ULL,
                                   ~0ULL - 7};

// Expects that `bytes` are refused as corrupt, with a message that holds `part`.
void ExpectRefused(const std::string& bytes, std::string_view part,
                   const ReadOptions& options = {}) {
  const Result<Info> info = ReadBytes(bytes, options);
  ASSERT_FALSE(info) << "a file was read that must be refused for: " << part;
  EXPECT_EQ(info.error().code, Code::kCorrupt);
  EXPECT_THAT(info.error().message,
              AllOf(HasSubstr("invalid GGUF file: "), HasSubstr(std::string(part))));
}

// A file with every kind of field in it.
std::string ValidFile(int n_tokens, int n_tensors) {
  std::vector<std::string> tokens;
  for (int i = 0; i < n_tokens; ++i) tokens.push_back("token" + std::to_string(i));
  Writer writer;
  writer.SetString("general.architecture", "llama");
  writer.SetUint32("general.alignment", 32);
  writer.SetFloat32("llama.rope.freq_base", 1.0F);
  writer.SetBool("tokenizer.ggml.add_bos_token", true);
  writer.SetStrings("tokenizer.ggml.tokens", tokens);
  writer.SetStrings("tokenizer.ggml.merges", tokens);
  writer.SetInt32s("tokenizer.ggml.token_type", std::vector<std::int32_t>(tokens.size(), 1));
  for (int i = 0; i < n_tensors; ++i) {
    writer.AddTensor("blk." + std::to_string(i) + ".attn_norm.weight", {4, 2},
                     std::vector<float>(8, 1.0F));
  }
  return writer.Bytes();
}

// CVE-2024-39720; CVE-2024-32878 and CVE-2024-41130 (an error at every field).
TEST(HostileGguf, RefusesEveryPrefixOfAValidFile) {
  const std::string bytes = ValidFile(100, 10);
  ASSERT_GT(bytes.size(), 4096U);
  const MemoryFile file;
  ASSERT_TRUE(file.Read(bytes));
  ReadOptions keep;
  keep.keep_arrays = true;
  for (std::size_t length = 0; length <= 4096; ++length) {
    for (const ReadOptions& options : {ReadOptions(), keep}) {
      const Result<Info> info = file.Read(std::string_view(bytes).substr(0, length), options);
      ASSERT_FALSE(info) << "prefix of " << length;
      ASSERT_EQ(info.error().code, Code::kCorrupt) << "prefix of " << length;
    }
  }
}

// CVE-2024-12055: whatever a byte says, nothing is read or written out of bounds (the sanitizers
// look).
TEST(HostileGguf, SurvivesEveryByteSetToItsExtremes) {
  const std::string bytes = ValidFile(2, 2);
  const MemoryFile file;
  std::size_t n_read = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const char extreme : {'\x00', '\x7f', '\xff'}) {
      std::string changed = bytes;
      changed[i] = extreme;
      const Result<Info> info = file.Read(changed);
      if (!info) {
        ASSERT_EQ(info.error().code, Code::kCorrupt);
        continue;
      }
      ++n_read;
      static_cast<void>(CheckLoadable(*info));
    }
  }
  EXPECT_GT(n_read, 0U);
}

TEST(HostileGguf, RefusesAnotherMagicOrVersion) {
  RawFile file;
  file.magic = "GGML";
  ExpectRefused(file.Bytes(), "does not begin");
  file.magic = "GGUF";
  for (const std::uint32_t version : {0U, 1U, 4U, 0xffff'ffffU}) {
    file.version = version;
    ExpectRefused(file.Bytes(), "version " + std::to_string(version));
  }
  file.version = 0x0300'0000;
  ExpectRefused(file.Bytes(), "big endian");
}

// CVE-2025-0315, CVE-2024-23496: lengths and counts are compared with the file before they are
// used.
TEST(HostileGguf, RefusesHugeCountsOfKeysAndTensors) {
  for (const std::uint64_t count : kHuge) {
    RawFile keys;
    keys.n_keys = count;
    ExpectRefused(keys.Bytes(), "keys, over the limit");
    RawFile tensors;
    tensors.n_tensors = count;
    ExpectRefused(tensors.Bytes(), "tensors, over the limit");
  }
  RawFile few;
  few.n_keys = 10'000;
  few.n_tensors = 10'000;
  ExpectRefused(few.Bytes(), "too short");
}

TEST(HostileGguf, RefusesHugeStrings) {
  for (const std::uint64_t length : kHuge) {
    RawFile value;
    value.Key("k", ValueType::kString, Encoded(length) + "abc");
    ExpectRefused(value.Bytes(), "over the limit");
    RawFile key;
    key.n_keys = 1;
    key.keys = Encoded(length) + std::string(64, 'k');
    ExpectRefused(key.Bytes(), "the name of key 0");
    RawFile tensor;
    tensor.n_tensors = 1;
    tensor.tensors = Encoded(length) + std::string(64, 't');
    ExpectRefused(tensor.Bytes(), "the name of tensor 0");
    RawFile element;
    element.ArrayKey("k", ValueType::kString, 2, EncodedString("a") + Encoded(length) + "abc");
    ExpectRefused(element.Bytes(), "over the limit");
  }
  // Within the limits, but longer than the file.
  ExpectRefused(RawFile().Key("k", ValueType::kString, Encoded<std::uint64_t>(4) + "abc").Bytes(),
                "ends in key 'k'");
}

TEST(HostileGguf, RefusesHugeArrays) {
  ReadOptions keep;
  keep.keep_arrays = true;
  for (std::uint32_t type = 0; type <= 12; ++type) {
    if (type == static_cast<std::uint32_t>(ValueType::kArray)) continue;
    for (const std::uint64_t size : kHuge) {
      const std::string bytes =
          RawFile()
              .ArrayKey("k", static_cast<ValueType>(type), size, std::string(64, '\0'))
              .Bytes();
      ExpectRefused(bytes, "over the limit");
      ExpectRefused(bytes, "over the limit", keep);
    }
    // Within the limit, but longer than the file.
    const std::string bytes =
        RawFile()
            .ArrayKey("k", static_cast<ValueType>(type), 1 << 20, std::string(64, '\0'))
            .Bytes();
    ExpectRefused(bytes, "ends in key 'k'");
    ExpectRefused(bytes, "ends in key 'k'", keep);
  }
}

TEST(HostileGguf, ChecksTheElementsOfArraysThatItSkips) {
  ReadOptions options;
  options.limits.keep_array_elements = 0;
  ExpectRefused(
      RawFile().ArrayKey("k", ValueType::kString, 2, EncodedString("a") + Encoded(~0ULL)).Bytes(),
      "over the limit", options);
  ExpectRefused(
      RawFile()
          .ArrayKey("k", ValueType::kString, 2, EncodedString("a") + Encoded<std::uint64_t>(1))
          .Bytes(),
      "ends in", options);
}

TEST(HostileGguf, RefusesAHeaderOverTheLimit) {
  ReadOptions options;
  options.limits.max_header_bytes = 1000;
  ExpectRefused(RawFile().ArrayKey("k", ValueType::kUint8, 2000, std::string(2000, 'x')).Bytes(),
                "goes on past 1000", options);
}

// CVE-2025-49847.
TEST(HostileGguf, RefusesLongTokens) {
  const auto with_token = [](std::size_t length) {
    Writer writer;
    writer.SetStrings("tokenizer.ggml.tokens",
                      std::vector<std::string>{"a", std::string(length, 'x')});
    return writer.Bytes();
  };
  EXPECT_TRUE(ReadBytes(with_token(16 << 10)));
  ExpectRefused(with_token((16 << 10) + 1), "over the limit");
  ExpectRefused(with_token(64 << 10), "over the limit");
  ExpectRefused(RawFile()
                    .ArrayKey("tokenizer.ggml.tokens", ValueType::kString, 1, Encoded(2ULL << 30))
                    .Bytes(),
                "over the limit");
}

// CVE-2025-0312.
TEST(HostileGguf, RefusesUnknownTypes) {
  for (const std::uint32_t type : {13U, 255U, 0x7fff'ffffU, 0xffff'ffffU}) {
    ExpectRefused(RawFile().Key("k", static_cast<ValueType>(type), std::string(16, '\0')).Bytes(),
                  "unknown type");
    ExpectRefused(
        RawFile().ArrayKey("k", static_cast<ValueType>(type), 1, std::string(16, '\0')).Bytes(),
        "unknown type");
  }
  ExpectRefused(RawFile().ArrayKey("k", ValueType::kArray, 1, std::string(64, '\0')).Bytes(),
                "arrays in an array");
}

TEST(HostileGguf, RefusesKeysWithoutAProperName) {
  ExpectRefused(RawFile().Uint32("", 1).Bytes(), "no name");
  ExpectRefused(RawFile().Uint32(std::string_view("a\0b", 3), 1).Bytes(), "not ASCII");
  ExpectRefused(RawFile().Uint32("caf\xc3\xa9", 1).Bytes(), "not ASCII");
  ExpectRefused(RawFile().Uint32("a\n", 1).Bytes(), "not ASCII");
  ExpectRefused(RawFile().Uint32("a", 1).Uint32("b", 1).Uint32("a", 1).Bytes(),
                "'a' is there twice");
  ExpectRefused(RawFile().Uint32(std::string(65'536, 'k'), 1).Bytes(), "over the limit");
  EXPECT_TRUE(ReadBytes(RawFile().Uint32(std::string(65'535, 'k'), 1).Bytes()));
}

// CVE-2025-0317 (zero alignment divides), and 2^31 (wraps the padding).
TEST(HostileGguf, RefusesAlignmentsThatDoNotAlign) {
  const auto with = [](std::uint32_t alignment) {
    return RawFile().Uint32("general.alignment", alignment).Tensor("t", {4}, 0, 0).Data(16);
  };
  for (const std::uint32_t alignment :
       {0U, 1U, 4U, 12U, 33U, 65'537U, 131'072U, 1U << 31, 0xffff'ffffU}) {
    ExpectRefused(with(alignment).Bytes(), "general.alignment is " + std::to_string(alignment));
  }
  for (const std::uint32_t alignment : {8U, 32U, 65'536U}) {
    EXPECT_TRUE(ReadBytes(with(alignment).Bytes(alignment))) << alignment;
  }
  for (const ValueType type : {ValueType::kUint64, ValueType::kInt32, ValueType::kFloat32}) {
    ExpectRefused(RawFile().Key("general.alignment", type, Encoded<std::uint64_t>(32)).Bytes(), "");
  }
  ExpectRefused(
      RawFile().Key("general.alignment", ValueType::kInt32, Encoded<std::int32_t>(32)).Bytes(),
      "must be uint32");
  ExpectRefused(RawFile().String("general.alignment", "32").Bytes(), "must be uint32");
}

// CVE-2026-7482.
TEST(HostileGguf, RefusesTensorsOutsideTheFile) {
  const auto with = [](std::vector<std::uint64_t> dims, std::uint64_t offset) {
    return RawFile().Tensor("t", dims, 0, offset).Data(64).Bytes();
  };
  EXPECT_TRUE(ReadBytes(with({16}, 0)));
  EXPECT_TRUE(ReadBytes(with({8}, 32)));
  ExpectRefused(with({17}, 0), "past the end");
  ExpectRefused(with({9}, 32), "past the end");
  ExpectRefused(with({1}, 64), "past the end");
  ExpectRefused(with({1}, 1ULL << 32), "past the end");
  ExpectRefused(with({1}, 1ULL << 63), "past the end");
  // offset + size, and data_offset + offset, wrap round to within the file
  ExpectRefused(with({8}, ~0ULL - 31), "past the end");
  ExpectRefused(with({16}, ~0ULL - 63), "past the end");
  ExpectRefused(with({4}, 16), "not aligned");
  ExpectRefused(RawFile().Tensor("t", {1}, 0, 0).Bytes(), "ends before the tensor data");
}

TEST(HostileGguf, RefusesTensorsThatOverlap) {
  const auto with = [](std::uint64_t first, std::uint64_t second) {
    return RawFile().Tensor("a", {16}, 0, first).Tensor("b", {16}, 0, second).Data(128).Bytes();
  };
  EXPECT_TRUE(ReadBytes(with(0, 64)));
  EXPECT_TRUE(ReadBytes(with(64, 0)));
  ExpectRefused(with(0, 0), "overlap");
  ExpectRefused(with(0, 32), "overlap");
  ExpectRefused(with(32, 0), "overlap");
}

// CVE-2025-53630, CVE-2026-27940, CVE-2026-33298: counts and sizes that wrap.
TEST(HostileGguf, RefusesDimensionsWhoseProductWraps) {
  const auto with = [](std::vector<std::uint64_t> dims, std::uint32_t type) {
    return RawFile().Tensor("t", dims, type, 0).Data(4096).Bytes();
  };
  for (const std::uint32_t type : {0U, 1U, 2U, 12U, 24U, 28U}) {
    for (const std::uint64_t dim : kHuge) {
      for (const std::vector<std::uint64_t>& dims : std::vector<std::vector<std::uint64_t>>{
               {dim}, {256, dim}, {dim, dim}, {256, 1, dim}, {dim, dim, dim, dim}}) {
        EXPECT_FALSE(ReadBytes(with(dims, type))) << type << " " << dim;
      }
    }
    EXPECT_FALSE(ReadBytes(with({1ULL << 32, 1ULL << 32}, type)));  // 2^64: 0
    EXPECT_FALSE(
        ReadBytes(with({1ULL << 16, 1ULL << 16, 1ULL << 16, 1ULL << 16}, type)));  // 2^64: 0
    EXPECT_FALSE(ReadBytes(with({256, (1ULL << 56) + 1}, type)));                  // 2^64 + 256
    EXPECT_FALSE(ReadBytes(with({1ULL << 31, 1ULL << 31}, type)));  // x 4 bytes: 2^64
  }
  ExpectRefused(with({1ULL << 32, 1ULL << 32}, 0), "too many elements");
  ExpectRefused(with({1ULL << 61}, 28), "too many elements");
  ExpectRefused(with({(1ULL << 61) - 1}, 28), "past the end");
  ExpectRefused(with({1ULL << 62, 1}, 0), "too many elements");
}

TEST(HostileGguf, RefusesDimensionsThatMakeNoTensor) {
  const auto with = [](std::vector<std::uint64_t> dims, std::uint32_t type) {
    return RawFile().Tensor("t", dims, type, 0).Data(4096).Bytes();
  };
  ExpectRefused(with({0}, 0), "dimension of 0");
  ExpectRefused(with({4, 0}, 0), "dimension of 0");
  ExpectRefused(with({4, 1, 1, 0}, 0), "dimension of 0");
  ExpectRefused(with({1, 1, 1, 1, 1}, 0), "5 dimensions");
  EXPECT_TRUE(ReadBytes(with({}, 0)));  // a scalar
  EXPECT_TRUE(ReadBytes(with({1, 1, 1, 1}, 0)));
  ExpectRefused(with({16}, 2), "multiple of 32");
  ExpectRefused(with({128, 2}, 12), "multiple of 256");
  ExpectRefused(with({}, 2), "multiple of 32");
  RawFile many;
  many.n_tensors = 1;
  many.tensors = EncodedString("t") + Encoded(0xffff'ffffU) + std::string(64, '\x01');
  ExpectRefused(many.Bytes(), "4294967295 dimensions");
}

TEST(HostileGguf, RefusesTensorsWithoutAProperName) {
  const auto with = [](std::string_view name) {
    return RawFile().Tensor(name, {1}, 0, 0).Data(32).Bytes();
  };
  ExpectRefused(with(""), "no name");
  ExpectRefused(with(std::string_view("a\0b", 3)), "not ASCII");
  ExpectRefused(with("\xff"), "not ASCII");
  ExpectRefused(with(std::string(64, 't')), "over the limit of 63");
  EXPECT_TRUE(ReadBytes(with(std::string(63, 't'))));
  ExpectRefused(RawFile().Tensor("t", {1}, 0, 0).Tensor("t", {1}, 0, 32).Data(64).Bytes(),
                "'t' is there twice");
  // A key and a tensor may have the same name.
  EXPECT_TRUE(ReadBytes(RawFile().Uint32("t", 1).Tensor("t", {1}, 0, 0).Data(32).Bytes()));
}

}  // namespace
}  // namespace corral::gguf
