// What a list keeps for the next start.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>

#include "models/test_store.h"

namespace corral::models {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ListTest : public StoreTest {
 protected:
  fs::path Kept() const { return root_ / ".corral" / "list"; }
  void Replace(const std::string& from, const std::string& to) {
    std::string text = ReadAll(Kept());
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << text;
    text.replace(at, from.size(), to);
    ASSERT_TRUE(RealFileSystem().WriteAtomically(Kept(), text));
  }
  void ListUntilSettled() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    do {
      ListAll();
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    } while (ReadAll(Kept()).find("\"weights\"") == std::string::npos);
  }
};

TEST_F(ListTest, AStartTakesOverWhatWasFoundOutBefore) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const auto before = ListAll();
  Replace(R"("embedding_length":)", R"("embedding_length":9)");
  Open();
  const auto after = ListAll();
  ASSERT_EQ(after.size(), 1U);
  EXPECT_NE(after[0].embedding_length, before[0].embedding_length);  // so it was not read again
  EXPECT_EQ(after[0].config.model_family, before[0].config.model_family);
  EXPECT_EQ(after[0].capabilities, before[0].capabilities);
  EXPECT_EQ(after[0].digest, before[0].digest);
  EXPECT_EQ(after[0].size_bytes, before[0].size_bytes);
}

// A manifest's file is trusted once its last change is older than a tick of the file system's
// clock.
TEST_F(ListTest, AManifestThatHasNotChangedIsNotReadAgain) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const std::string digest = Load("m")->manifest.digest;
  ListUntilSettled();
  const std::string other(64, 'a');
  for (std::string text = ReadAll(Kept()); text.find(digest) != std::string::npos;
       text = ReadAll(Kept()))
    Replace(digest, other);
  Open();
  EXPECT_EQ(ListAll()[0].digest, other);
  EXPECT_EQ(ListAll()[0].config.model_family, "test");
}

TEST_F(ListTest, AManifestThatChangedInItsPlaceIsReadAgain) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const fs::path manifest = root_ / "manifests/registry.ollama.ai/library/m/latest";
  std::string text = ReadAll(manifest);
  const fs::file_time_type time = fs::last_write_time(manifest);
  ListUntilSettled();
  text.back() = ' ';  // of the same size, and as JSON the same
  std::ofstream(manifest) << text;
  fs::last_write_time(manifest, time);  // a name for the times that can be set
  EXPECT_EQ(ListAll()[0].digest, Digest::OfBytes(text).hex());
  Open();
  EXPECT_EQ(ListAll()[0].digest, Digest::OfBytes(text).hex());
}

TEST_F(ListTest, AFileThatWasReplacedIsReadAgain) {
  Open();
  const std::string gguf = TinyGguf().Bytes();
  CreateFrom("m", gguf);
  const auto before = ListAll();
  Replace(R"("embedding_length":)", R"("embedding_length":9)");
  ASSERT_TRUE(RealFileSystem().WriteAtomically(Blob(Digest::OfBytes(gguf)), gguf));
  Open();
  EXPECT_EQ(ListAll()[0].embedding_length, before[0].embedding_length);
}

TEST_F(ListTest, AnotherTemplateSettingIsAnotherList) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const auto before = ListAll();
  Replace(R"("embedding_length":)", R"("embedding_length":9)");
  StoreOptions options;
  options.go_template = true;
  Open(options);
  EXPECT_EQ(ListAll()[0].embedding_length, before[0].embedding_length);
}

TEST_F(ListTest, NonsenseIsAsNone) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  ASSERT_EQ(ListAll().size(), 1U);
  for (const std::string text :
       {"", "nonsense", "[]", "{}", R"({"version":2,"go_template":"unset","models":[]})",
        R"({"version":2,"go_template":"unset","models":{}})",
        R"({"version":2,"go_template":"unset","manifests":{"x":{"file":[1,2]},"y":7},)"
        R"("models":{"x":{"config":"{}","capabilities":[99]}}})",
        R"({"version":3,"go_template":"unset","models":{},"manifests":{}})"}) {
    ASSERT_TRUE(RealFileSystem().WriteAtomically(Kept(), text));
    Open();
    EXPECT_EQ(ListAll().size(), 1U) << text;
    EXPECT_THAT(ReadAll(Kept()), HasSubstr("capabilities")) << "it is written anew";
  }
}

TEST_F(ListTest, ModelsThatAreGoneLeaveTheList) {
  Open();
  CreateFrom("a", TinyGguf("test", 1).Bytes());
  CreateFrom("b", TinyGguf("test", 2).Bytes());
  ASSERT_EQ(ListAll().size(), 2U);
  const std::string digest = Load("a")->manifest.digest;
  ASSERT_TRUE(store_->Delete(NameOf("a")));
  CreateFrom("c", TinyGguf("test", 3).Bytes());
  ASSERT_EQ(ListAll().size(), 2U);
  EXPECT_THAT(ReadAll(Kept()), Not(HasSubstr(digest)));
}

}  // namespace
}  // namespace corral::models
