#include "gguf/reader.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "gguf/test_file.h"
#include "gguf/types.h"
#include "gguf/writer.h"

namespace corral::gguf {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::filesystem::path TemporaryPath(std::string_view name) {
  return std::filesystem::path(::testing::TempDir()) /
         (std::string(name) + "." + std::to_string(::getpid()));
}

TEST(Reader, ReadsWhatTheWriterWrote) {
  Writer writer;
  writer.SetString("general.architecture", "llama");
  writer.SetUint32("llama.block_count", 2);
  writer.SetFloat32("llama.rope.freq_base", 10000.5F);
  writer.SetBool("tokenizer.ggml.add_bos_token", true);
  writer.SetStrings("tokenizer.ggml.tokens", std::vector<std::string>{"<s>", "a", ""});
  writer.SetInt32s("tokenizer.ggml.token_type", std::vector<std::int32_t>{3, -1, 2'000'000'000});
  writer.SetFloat32s("tokenizer.ggml.scores", std::vector<float>{0.5F, -1.0F});
  writer.AddTensor("token_embd.weight", {3, 5}, std::vector<float>(15, 1.0F));
  writer.AddTensor("output_norm.weight", {7}, std::vector<float>(7, 1.0F));
  const auto path = TemporaryPath("written.gguf");
  ASSERT_TRUE(writer.Write(path));

  const Result<Info> info = Read(path);
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->version, 3U);
  EXPECT_EQ(info->alignment, 32U);
  EXPECT_EQ(info->file_bytes, std::filesystem::file_size(path));
  EXPECT_EQ(info->data_offset % 32, 0U);
  EXPECT_EQ(info->Architecture(), "llama");
  EXPECT_EQ(info->ArchUint("block_count"), 2U);
  EXPECT_EQ(std::get<double>(info->Find("llama.rope.freq_base")->value), 10000.5);
  EXPECT_TRUE(std::get<bool>(info->Find("tokenizer.ggml.add_bos_token")->value));
  const auto& tokens = std::get<Array>(info->Find("tokenizer.ggml.tokens")->value);
  EXPECT_EQ(tokens.type, ValueType::kString);
  EXPECT_THAT(tokens.elements, ElementsAre(Value("<s>"), Value("a"), Value("")));
  const auto& types = std::get<Array>(info->Find("tokenizer.ggml.token_type")->value);
  EXPECT_THAT(types.elements, ElementsAre(Value(std::int64_t{3}), Value(std::int64_t{-1}),
                                          Value(std::int64_t{2'000'000'000})));
  const auto& scores = std::get<Array>(info->Find("tokenizer.ggml.scores")->value);
  EXPECT_THAT(scores.elements, ElementsAre(Value(0.5), Value(-1.0)));
  ASSERT_EQ(info->tensors.size(), 2U);
  EXPECT_THAT(info->tensors[0].dims, ElementsAre(3U, 5U));
  EXPECT_EQ(info->tensors[0].size_bytes, 60U);
  EXPECT_EQ(info->tensors[1].offset, 64U);
  EXPECT_EQ(info->ParameterCount(), 22U);
  std::filesystem::remove(path);
}

TEST(Reader, WidensEveryTypeOfNumber) {
  RawFile file;
  file.Key("u8", ValueType::kUint8, Encoded<std::uint8_t>(0xff));
  file.Key("i8", ValueType::kInt8, Encoded<std::int8_t>(-1));
  file.Key("u16", ValueType::kUint16, Encoded<std::uint16_t>(0xffff));
  file.Key("i16", ValueType::kInt16, Encoded<std::int16_t>(-2));
  file.Key("u32", ValueType::kUint32, Encoded<std::uint32_t>(0xffff'ffff));
  file.Key("i32", ValueType::kInt32, Encoded<std::int32_t>(-3));
  file.Key("u64", ValueType::kUint64, Encoded<std::uint64_t>(~0ULL));
  file.Key("i64", ValueType::kInt64, Encoded<std::int64_t>(-4));
  file.Key("f32", ValueType::kFloat32, Encoded(0.25F));
  file.Key("f64", ValueType::kFloat64, Encoded(0.125));
  file.Key("bool", ValueType::kBool, Encoded<std::uint8_t>(0));
  file.Key("text", ValueType::kString, EncodedString("a"));
  const Result<Info> info = ReadBytes(file.Bytes());
  ASSERT_TRUE(info) << info.error().message;
  const auto value = [&](std::string_view key) { return info->Find(key)->value; };
  EXPECT_EQ(value("u8"), Value(std::uint64_t{0xff}));
  EXPECT_EQ(value("i8"), Value(std::int64_t{-1}));
  EXPECT_EQ(value("u16"), Value(std::uint64_t{0xffff}));
  EXPECT_EQ(value("i16"), Value(std::int64_t{-2}));
  EXPECT_EQ(value("u32"), Value(std::uint64_t{0xffff'ffff}));
  EXPECT_EQ(value("i32"), Value(std::int64_t{-3}));
  EXPECT_EQ(value("u64"), Value(~std::uint64_t{0}));
  EXPECT_EQ(value("i64"), Value(std::int64_t{-4}));
  EXPECT_EQ(value("f32"), Value(0.25));
  EXPECT_EQ(value("f64"), Value(0.125));
  EXPECT_EQ(value("bool"), Value(false));
  EXPECT_EQ(value("text"), Value("a"));
  EXPECT_EQ(info->Uint("u64"), ~std::uint64_t{0});
  EXPECT_EQ(info->Uint("i8"), std::nullopt);   // negative
  EXPECT_EQ(info->Uint("f32"), std::nullopt);  // no integer
  EXPECT_EQ(info->Uint("none"), std::nullopt);
  EXPECT_EQ(info->String("text"), "a");
  EXPECT_EQ(info->String("u8"), std::nullopt);
}

TEST(Reader, ReadsVersion2) {
  RawFile file;
  file.version = 2;
  const Result<Info> info = ReadBytes(file.String("general.architecture", "llama").Bytes());
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->version, 2U);
}

TEST(Reader, SkipsLongArraysUnlessAskedToKeepThem) {
  std::string texts;
  for (int i = 0; i < 1000; ++i) texts += EncodedString("token" + std::to_string(i));
  RawFile file;
  file.ArrayKey("strings", ValueType::kString, 1000, texts);
  file.ArrayKey("numbers", ValueType::kUint16, 1000, std::string(2000, '\x07'));
  file.ArrayKey("layers", ValueType::kInt32, 512, std::string(2048, '\0'));
  file.ArrayKey("none", ValueType::kUint8, 0, "");
  file.Uint32("after", 5);

  const Result<Info> skipped = ReadBytes(file.Bytes());
  ASSERT_TRUE(skipped) << skipped.error().message;
  for (const std::string_view key : {"strings", "numbers"}) {
    const auto& array = std::get<Array>(skipped->Find(key)->value);
    EXPECT_EQ(array.size, 1000U);
    EXPECT_THAT(array.elements, IsEmpty());
  }
  EXPECT_EQ(std::get<Array>(skipped->Find("layers")->value).elements.size(), 512U);
  EXPECT_EQ(std::get<Array>(skipped->Find("none")->value).size, 0U);
  EXPECT_EQ(skipped->Uint("after"), 5U);

  ReadOptions options;
  options.keep_arrays = true;
  const Result<Info> kept = ReadBytes(file.Bytes(), options);
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(std::get<Array>(kept->Find("strings")->value).elements.at(999), Value("token999"));
  EXPECT_EQ(std::get<Array>(kept->Find("numbers")->value).elements.at(999),
            Value(std::uint64_t{0x0707}));
}

TEST(Reader, KeepsNoMoreElementsThanTheBudget) {
  RawFile file;
  for (int i = 0; i < 4; ++i) {
    file.ArrayKey("array" + std::to_string(i), ValueType::kUint8, 40, std::string(40, '\x01'));
  }
  ReadOptions options;
  options.keep_arrays = true;
  options.limits.max_kept_elements = 100;
  const Result<Info> info = ReadBytes(file.Bytes(), options);
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(std::get<Array>(info->metadata[1].value).elements.size(), 40U);
  EXPECT_THAT(std::get<Array>(info->metadata[2].value).elements, IsEmpty());
  EXPECT_EQ(std::get<Array>(info->metadata[2].value).size, 40U);
}

TEST(Reader, PlacesTensorsByTheAlignmentOfTheFile) {
  RawFile file;
  file.Uint32("general.alignment", 128).Tensor("a", {4}, 0, 0).Tensor("b", {4}, 0, 128).Data(144);
  const Result<Info> info = ReadBytes(file.Bytes(128));
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->alignment, 128U);
  EXPECT_EQ(info->data_offset, 128U);
}

TEST(Reader, ComputesTheBytesOfEveryTensorType) {
  struct Case {
    std::uint32_t type;
    std::string_view name;
    std::uint64_t bytes;  // of 512 elements
  };
  constexpr Case kCases[] = {
      {0, "F32", 2048},    {1, "F16", 1024},     {2, "Q4_0", 288},    {3, "Q4_1", 320},
      {4, "MXFP4", 272},   {6, "Q5_0", 352},     {7, "Q5_1", 384},    {8, "Q8_0", 544},
      {9, "Q8_1", 576},    {10, "Q2_K", 168},    {11, "Q3_K", 220},   {12, "Q4_K", 288},
      {13, "Q5_K", 352},   {14, "Q6_K", 420},    {15, "Q8_K", 584},   {16, "IQ2_XXS", 132},
      {17, "IQ2_XS", 148}, {18, "IQ3_XXS", 196}, {19, "IQ1_S", 100},  {20, "IQ4_NL", 288},
      {21, "IQ3_S", 220},  {22, "IQ2_S", 164},   {23, "IQ4_XS", 272}, {24, "I8", 512},
      {25, "I16", 1024},   {26, "I32", 2048},    {27, "I64", 4096},   {28, "F64", 4096},
      {29, "IQ1_M", 112},  {30, "BF16", 1024},   {34, "TQ1_0", 108},  {35, "TQ2_0", 132},
      {39, "MXFP4", 272},  {40, "NVFP4", 288},   {41, "Q1_0", 72},    {42, "Q2_0", 144},
  };
  for (const Case& c : kCases) {
    const Result<Info> info =
        ReadBytes(RawFile().Tensor("t", {256, 2}, c.type, 0).Data(c.bytes).Bytes());
    ASSERT_TRUE(info) << c.name << ": " << info.error().message;
    EXPECT_EQ(info->tensors[0].size_bytes, c.bytes) << c.name;
    EXPECT_EQ(TensorTypeName(c.type), c.name);
    EXPECT_FALSE(ReadBytes(RawFile().Tensor("t", {256, 2}, c.type, 0).Data(c.bytes - 1).Bytes()))
        << c.name;
  }
  for (const std::uint32_t type : {5U, 31U, 32U, 33U, 36U, 37U, 38U, 43U, 1000U, 0xffff'ffffU}) {
    EXPECT_FALSE(ReadBytes(RawFile().Tensor("t", {256, 2}, type, 0).Data(4096).Bytes())) << type;
    EXPECT_EQ(TensorTypeName(type), "unknown");
  }
}

TEST(Reader, NamesTheFileType) {
  struct Case {
    std::uint32_t number;
    std::string_view name;
  };
  constexpr Case kCases[] = {{0, "unknown"},    {1, "F16"},
                             {2, "Q4_0"},       {3, "Q4_1"},
                             {4, "MXFP4"},      {5, "unknown"},
                             {7, "Q8_0"},       {10, "Q2_K"},
                             {14, "Q4_K_S"},    {15, "Q4_K_M"},
                             {17, "Q5_K_M"},    {18, "Q6_K"},
                             {19, "IQ2_XXS"},   {21, "Q2_K_S"},
                             {25, "IQ4_NL"},    {30, "IQ4_XS"},
                             {32, "BF16"},      {38, "MXFP4"},
                             {41, "Q2_0"},      {42, "unknown"},
                             {1024, "unknown"}, {0xffff'ffff, "unknown"}};
  for (const Case& c : kCases) {
    const Result<Info> info = ReadBytes(RawFile().Uint32("general.file_type", c.number).Bytes());
    ASSERT_TRUE(info);
    EXPECT_EQ(info->FileType(), c.name) << c.number;
  }
  EXPECT_EQ(ReadBytes(RawFile().Bytes())->FileType(), "unknown");
}

TEST(Reader, AnswersWhatOthersAskOfAModel) {
  const Result<Info> chat = ReadBytes(RawFile()
                                          .String("general.architecture", "qwen2")
                                          .Uint32("qwen2.context_length", 32768)
                                          .Uint32("general.parameter_count", 7)
                                          .String("tokenizer.chat_template", "{{ messages }}")
                                          .Bytes());
  ASSERT_TRUE(chat);
  EXPECT_EQ(chat->ArchUint("context_length"), 32768U);
  EXPECT_EQ(chat->ArchUint("general.parameter_count"), 7U);
  EXPECT_EQ(chat->ArchUint("embedding_length"), std::nullopt);
  EXPECT_EQ(chat->ChatTemplate(), "{{ messages }}");
  EXPECT_FALSE(chat->IsEmbeddingModel());

  const Result<Info> bert = ReadBytes(
      RawFile().String("general.architecture", "bert").Uint32("bert.pooling_type", 0).Bytes());
  ASSERT_TRUE(bert);
  EXPECT_TRUE(bert->IsEmbeddingModel());

  const Result<Info> bare = ReadBytes(RawFile().Bytes());
  ASSERT_TRUE(bare);
  EXPECT_EQ(bare->Architecture(), "unknown");
  EXPECT_EQ(bare->ChatTemplate(), "");
}

TEST(Reader, NoticesATokenThatIsThereTwice) {
  const auto read = [](const std::vector<std::string>& tokens) {
    Writer writer;
    writer.SetStrings("tokenizer.ggml.tokens", tokens);
    return ReadBytes(writer.Bytes());
  };
  EXPECT_FALSE(read({"a", "b", ""})->has_duplicate_tokens);
  EXPECT_TRUE(read({"a", "b", "a"})->has_duplicate_tokens);
  // libllama ends a token at its first NUL, and calls an empty one [EMPTY_<index>].
  EXPECT_TRUE(read({"a", std::string("a\0b", 3)})->has_duplicate_tokens);
  EXPECT_FALSE(read({"", ""})->has_duplicate_tokens);
  EXPECT_TRUE(read({"[EMPTY_1]", ""})->has_duplicate_tokens);
}

TEST(Reader, LeavesThePositionOfTheDescriptorAlone) {
  const MemoryFile file;
  const std::string bytes = RawFile().String("general.architecture", "llama").Bytes();
  ASSERT_TRUE(file.Read(bytes));
  ASSERT_EQ(::lseek(file.fd(), 10, SEEK_SET), 10);
  ASSERT_TRUE(ReadFd(file.fd()));
  EXPECT_EQ(::lseek(file.fd(), 0, SEEK_CUR), 10);
}

TEST(Reader, SaysWhyAFileCannotBeOpened) {
  const Result<Info> info = Read(TemporaryPath("no-such-file"));
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().code, Code::kNotFound);
}

TEST(Reader, RefusesWhatIsNoRegularFile) {
  const auto fifo = TemporaryPath("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const std::filesystem::path& path :
       {std::filesystem::path("/dev/zero"), fifo, std::filesystem::path(::testing::TempDir())}) {
    const Result<Info> info = Read(path);
    ASSERT_FALSE(info) << path;
    EXPECT_EQ(info.error().code, Code::kCorrupt);
    EXPECT_THAT(info.error().message, HasSubstr("regular file"));
  }
  std::filesystem::remove(fifo);
}

TEST(Reader, SaysSoWhenTheDescriptorCannotBeRead) {
  const auto path = TemporaryPath("write-only");
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::ftruncate(fd, 100), 0);
  const Result<Info> info = ReadFd(fd);
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().code, Code::kIo);
  ::close(fd);
  std::filesystem::remove(path);
}

TEST(Writer, SaysWhyAFileCannotBeWritten) {
  const Status missing = Writer().Write(TemporaryPath("no-such-folder") / "x.gguf");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  Writer big;
  big.AddTensor("t", {1024}, std::vector<float>(1024, 0.0F));
  const Status full = big.Write("/dev/full");
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Code::kIo);
}

}  // namespace
}  // namespace corral::gguf
