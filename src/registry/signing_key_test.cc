#include "registry/internal/signing_key.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace corral::registry::internal {
namespace {

namespace fs = std::filesystem;

// Made by OpenSSH's ssh-keygen -t ed25519 -N "" -C "".
constexpr std::string_view kText = R"(-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACCfKUu+gRiMucYTes0Wjh5VKSptGPcC8eeWTbxlSydiogAAAIjS7sft0u7H
7QAAAAtzc2gtZWQyNTUxOQAAACCfKUu+gRiMucYTes0Wjh5VKSptGPcC8eeWTbxlSydiog
AAAEArH4nXrCjqPXh6ig+P83SOEqNAqmjPxpEWLFZ3sWDZ858pS76BGIy5xhN6zRaOHlUp
Km0Y9wLx55ZNvGVLJ2KiAAAAAAECAwQF
-----END OPENSSH PRIVATE KEY-----
)";
constexpr std::string_view kPublic =
    "AAAAC3NzaC1lZDI1NTE5AAAAIJ8pS76BGIy5xhN6zRaOHlUpKm0Y9wLx55ZNvGVLJ2Ki";

std::string ReadAll(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(SigningKey, ReadsWhatOpenSshWrites) {
  const auto key = SigningKey::Parse(kText);
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_EQ(key->PublicKey(), kPublic);
}

// Ed25519 signatures are the same each time (RFC 8032); this one is by `openssl pkeyutl -rawin`.
TEST(SigningKey, SignsAsOpenSslDoes) {
  EXPECT_EQ(
      SigningKey::Parse(kText)->Sign("GET,https://r/token,x"),
      "PsZdGsz9NIosedvOOkCBJ+UUr1g1+6lpqMKY+9uxJ+p1R6gQEaHHassYNvjLqF3GGnMQunuI87BOpUOVymNaBQ==");
}

TEST(SigningKey, WritesWhatItReads) {
  const auto key = SigningKey::Parse(kText);
  const auto again = SigningKey::Parse(key->Encode());
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->PublicKey(), kPublic);
}

TEST(SigningKey, AnyCutOrChangedKeyIsAnErrorAndNoCrash) {
  for (std::size_t size = 0; size < kText.size() - 2; ++size)
    EXPECT_FALSE(SigningKey::Parse(kText.substr(0, size))) << size;
  for (std::size_t i = 0; i < kText.size(); ++i) {
    std::string text(kText);
    text[i] = text[i] == 'A' ? 'B' : 'A';
    (void)SigningKey::Parse(text);  // some bytes do not matter
  }
}

TEST(SigningKey, IsMadeOnceForItsOwnerAlone) {
  std::string folder = ::testing::TempDir() + "corral-key-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const fs::path file = fs::path(folder) / ".ollama" / "id_ed25519";
  const auto made = SigningKey::LoadOrCreate(file);
  ASSERT_TRUE(made) << made.error().message;
  struct stat facts {};
  ASSERT_EQ(::stat(file.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0600U);
  EXPECT_EQ(ReadAll(file.native() + ".pub"), "ssh-ed25519 " + made->PublicKey() + "\n");
  EXPECT_EQ(SigningKey::LoadOrCreate(file)->PublicKey(), made->PublicKey());
  int n_files = 0;
  for (const auto& entry : fs::directory_iterator(file.parent_path()))
    n_files += entry.exists() ? 1 : 0;
  EXPECT_EQ(n_files, 2);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace corral::registry::internal
