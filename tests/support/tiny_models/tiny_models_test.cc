#include "support/tiny_models/tiny_models.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "gguf/reader.h"

namespace corral::testing {
namespace {

gguf::Info WrittenAndRead(const gguf::Writer& writer) {
  const auto path =
      std::filesystem::path(::testing::TempDir()) / ("tiny." + std::to_string(::getpid()));
  EXPECT_TRUE(writer.Write(path));
  Result<gguf::Info> info = gguf::Read(path);
  std::filesystem::remove(path);
  EXPECT_TRUE(info) << info.error().message;
  return info.value_or(gguf::Info());
}

// FNV-1a, 64 bits.
std::uint64_t Checksum(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3ULL;
  return hash;
}

TEST(TinyModels, AreLoadable) {
  for (const gguf::Writer& writer :
       {TinyLlama(), TinyLlama({.has_chat_template = true, .is_endless = true}), TinyBert(),
        TinyWindow(), TinyRecurrent(), TinyHybrid(), TinyTwoDimensional(), TinyLlavaProjector(),
        TinyGemmaProjector(), TinyQwenProjector(), TinySoundProjector()}) {
    const Status status = gguf::CheckLoadable(WrittenAndRead(writer));
    EXPECT_TRUE(status) << status.error().message;
  }
}

TEST(TinyModels, TellChatFromEmbedding) {
  const gguf::Info plain = WrittenAndRead(TinyLlama());
  EXPECT_EQ(plain.ChatTemplate(), "");
  EXPECT_FALSE(plain.IsEmbeddingModel());
  EXPECT_NE(
      WrittenAndRead(TinyLlama({.has_chat_template = true})).ChatTemplate().find("<|im_start|>"),
      std::string_view::npos);
  EXPECT_TRUE(WrittenAndRead(TinyBert()).IsEmbeddingModel());
}

// Other tests rely on what these models answer: a change of a byte is meant, or it is a mistake.
TEST(TinyModels, AreTheSameBytesEverywhere) {
  EXPECT_EQ(Checksum(TinyLlama().Bytes()), 15341657680386459436ULL);
  EXPECT_EQ(Checksum(TinyBert().Bytes()), 3980212803478119281ULL);
}

}  // namespace
}  // namespace corral::testing
