// Several folders of models: the first is written to, the others are read; and one that is not
// written to at all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/blob_file.h"
#include "models/test_store.h"

namespace corral::models {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class FoldersTest : public StoreTest {
 protected:
  FoldersTest() : shared_root_(folder_.path() / "shared") {
    auto shared = Store::Open(shared_root_, {});
    EXPECT_TRUE(shared);
    shared_ = *std::move(shared);
    Open(WithShared());
  }
  StoreOptions WithShared() const {
    StoreOptions options;
    options.more_folders = {shared_root_};
    return options;
  }
  // Into the shared folder, by its own store.
  void CreateShared(const char* name, const std::string& gguf) {
    std::swap(store_, shared_);
    CreateFrom(name, gguf);
    std::swap(store_, shared_);
  }
  std::vector<std::string> SharedFiles() const {
    std::vector<std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(shared_root_)) {
      const fs::path relative = entry.path().lexically_relative(shared_root_);
      if (entry.is_regular_file() && *relative.begin() != ".corral")
        files.push_back(relative.native());
    }
    std::sort(files.begin(), files.end());
    return files;
  }

  fs::path shared_root_;
  std::unique_ptr<Store> shared_;
};

TEST_F(FoldersTest, ListsAndLoadsTheModelsOfAllFolders) {
  const std::string gguf = TinyGguf("test", 1).Bytes();
  CreateShared("theirs", gguf);
  CreateFrom("ours", TinyGguf("test", 2).Bytes());
  EXPECT_THAT(Listed(), UnorderedElementsAre("ours:latest", "theirs:latest"));
  EXPECT_EQ(ReadAll(Load("THEIRS")->gguf), gguf);
  EXPECT_EQ(store_->Existing(NameOf("Theirs")), NameOf("theirs"));
}

TEST_F(FoldersTest, AModelOfTheFirstFolderHidesOneOfTheSameName) {
  CreateShared("m", TinyGguf("test", 1).Bytes());
  const std::string gguf = TinyGguf("test", 2).Bytes();
  CreateFrom("m", gguf);
  EXPECT_THAT(Listed(), ElementsAre("m:latest"));
  EXPECT_EQ(ReadAll(Load("m")->gguf), gguf);
  ASSERT_TRUE(store_->Delete(NameOf("m")));
  EXPECT_THAT(Listed(), ElementsAre("m:latest"));
  EXPECT_NE(ReadAll(Load("m")->gguf), gguf);
}

TEST_F(FoldersTest, DeletesNothingThatIsOnlyRead) {
  CreateShared("m", TinyGguf().Bytes());
  const auto before = SharedFiles();
  const Status deleted = store_->Delete(NameOf("m"));
  ASSERT_FALSE(deleted);
  EXPECT_EQ(deleted.error().code, Code::kForbidden);
  EXPECT_THAT(deleted.error().message, HasSubstr("only read"));
  EXPECT_EQ(SharedFiles(), before);
}

TEST_F(FoldersTest, ModelsMadeOfSharedOnesLinkToTheirBlobs) {
  const std::string gguf = TinyGguf().Bytes();
  CreateShared("base", gguf);
  const auto before = SharedFiles();
  CreateSpec spec{NameOf("made")};
  spec.from = NameOf("base");
  spec.system = "S";
  const Status made = store_->Create(
      spec, [](const std::string&) {}, StopToken());
  ASSERT_TRUE(made) << made.error().message;
  ASSERT_TRUE(store_->Copy(NameOf("base"), NameOf("copied")));
  const Digest digest = Digest::OfBytes(gguf);
  EXPECT_TRUE(fs::is_symlink(Blob(digest)));
  EXPECT_EQ(ReadAll(Load("made")->gguf), gguf);
  EXPECT_EQ(ReadAll(Load("copied")->gguf), gguf);
  // A store that knows one folder only has the models, too.
  Open();
  EXPECT_EQ(ReadAll(Load("made")->gguf), gguf);
  ASSERT_TRUE(store_->Delete(NameOf("made")));
  ASSERT_TRUE(store_->Delete(NameOf("copied")));
  EXPECT_FALSE(fs::exists(fs::symlink_status(Blob(digest))));
  EXPECT_EQ(SharedFiles(), before);
}

TEST_F(FoldersTest, ABlobOfASharedFolderNeedNotBeUploaded) {
  const std::string gguf = TinyGguf().Bytes();
  CreateShared("base", gguf);
  const Digest digest = Digest::OfBytes(gguf);
  EXPECT_TRUE(store_->HasBlob(digest));
  EXPECT_EQ(ReadAll(store_->BlobPath(digest)), gguf);
  CreateSpec spec{NameOf("new")};
  spec.files = {{"model.gguf", digest}};
  const Status made = store_->Create(
      spec, [](const std::string&) {}, StopToken());
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(ReadAll(Load("new")->gguf), gguf);
}

TEST_F(FoldersTest, AFolderThatIsNotThereIsNoReasonToStop) {
  fs::remove_all(shared_root_);
  Open(WithShared());
  EXPECT_THAT(Listed(), IsEmpty());
}

TEST_F(FoldersTest, AReadOnlyStoreServesAndRefusesEveryWriter) {
  const std::string gguf = TinyGguf().Bytes();
  CreateShared("m", gguf);
  const auto before = SharedFiles();
  StoreOptions options;
  options.is_read_only = true;
  auto store = Store::Open(shared_root_, options);
  ASSERT_TRUE(store);
  EXPECT_EQ((*store)->List()->size(), 1U);
  EXPECT_EQ(ReadAll((*(*store)->Load(NameOf("m")))->gguf), gguf);
  CreateSpec spec{NameOf("new")};
  spec.from = NameOf("m");
  const Status results[] = {(*store)->Delete(NameOf("m")), (*store)->Copy(NameOf("m"), NameOf("n")),
                            (*store)->Create(
                                spec, [](const std::string&) {}, StopToken()),
                            (*store)->NewBlob().map([](const auto&) {}),
                            (*store)->NewBlobFile().map([](const auto&) {})};
  for (const Status& status : results) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Code::kForbidden);
    EXPECT_THAT(status.error().message, HasSubstr("read-only"));
  }
  EXPECT_EQ(SharedFiles(), before);
}

}  // namespace
}  // namespace corral::models
