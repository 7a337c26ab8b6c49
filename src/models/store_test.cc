#include "models/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/types.h>

#include "models/test_store.h"

namespace corral::models {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

TEST_F(StoreTest, OpensAnEmptyFolder) {
  Open();
  EXPECT_THAT(Listed(), IsEmpty());
  EXPECT_EQ(store_->root(), root_);
  const auto missing = store_->Load(NameOf("m"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
}

TEST_F(StoreTest, DoesNotOpenAFile) {
  WriteAll(root_, "x");
  const auto store = Store::Open(root_, {});
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::kIo);
  EXPECT_THAT(store.error().message, HasSubstr("ensure path elements are traversable"));
}

TEST_F(StoreTest, TakesABlobByItsDigest) {
  Open();
  const Digest digest = Digest::OfBytes("hello");
  EXPECT_FALSE(store_->HasBlob(digest));
  Upload("hello");
  EXPECT_TRUE(store_->HasBlob(digest));
  EXPECT_EQ(store_->BlobPath(digest), Blob(digest));
  EXPECT_EQ(ReadAll(Blob(digest)), "hello");
  EXPECT_EQ(static_cast<int>(fs::status(Blob(digest)).permissions()), 0644);
  EXPECT_EQ(Upload("hello"), digest);
  EXPECT_THAT(Blobs(), SizeIs(1));
}

TEST_F(StoreTest, KeepsNothingOfABlobWithAnotherDigest) {
  Open();
  const Digest wanted = Digest::OfBytes("a");
  auto writer = store_->NewBlob();
  ASSERT_TRUE(writer);
  ASSERT_TRUE((*writer)->Append("b"));
  const Status status = (*writer)->Commit(wanted);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kCorrupt);
  EXPECT_EQ(status.error().message, "digest mismatch, expected \"" + wanted.ToString() +
                                        "\", got \"" + Digest::OfBytes("b").ToString() + "\"");
  writer->reset();
  EXPECT_THAT(Blobs(), IsEmpty());
}

TEST_F(StoreTest, KeepsNothingOfABlobThatIsGivenUp) {
  Open();
  auto writer = store_->NewBlob();
  ASSERT_TRUE((*writer)->Append(std::string(100'000, 'x')));
  const auto during = Blobs();
  ASSERT_THAT(during, SizeIs(1));
  EXPECT_THAT(*during.begin(), StartsWith("sha256-"));
  EXPECT_FALSE(Digest::Parse(*during.begin()));
  writer->reset();
  EXPECT_THAT(Blobs(), IsEmpty());
}

TEST_F(StoreTest, ReplacesABlobThatIsCutShort) {
  Open();
  const Digest digest = Digest::OfBytes("hello");
  WriteAll(Blob(digest), "he");
  Upload("hello");
  EXPECT_EQ(ReadAll(Blob(digest)), "hello");
}

TEST_F(StoreTest, ListsNewestFirstWithWhatTheyCanDo) {
  Open();
  gguf::Writer with_tools = TinyGguf("test", 7);
  with_tools.SetString("tokenizer.chat_template", "{{ tools }}");
  CreateFrom("old", with_tools.Bytes());
  Age(Manifest("old"), 3);
  CreateFrom("b", TinyGguf().Bytes());
  CreateFrom("a", TinyGguf().Bytes());
  Age(Manifest("a"), 1);
  Age(Manifest("b"), 1);
  const auto list = store_->List();
  ASSERT_TRUE(list);
  ASSERT_THAT(Listed(), ElementsAre("a:latest", "b:latest", "old:latest"));
  const ModelSummary& old = list->back();
  EXPECT_THAT(old.capabilities, ElementsAre(Capability::kCompletion, Capability::kTools));
  EXPECT_EQ(old.context_length, 2048);
  EXPECT_EQ(old.embedding_length, 64);
  EXPECT_EQ(old.digest, Digest::OfBytes(ReadAll(Manifest("old"))).hex());
  EXPECT_EQ(old.size_bytes, Load("old")->manifest.TotalBytes());
  EXPECT_LT(old.modified_at, std::chrono::system_clock::now() - std::chrono::hours(2));
}

TEST_F(StoreTest, ListsTheSecondTimeWithoutReadingGgufs) {
  Open();
  const Digest digest = Upload(TinyGguf().Bytes());
  CreateFrom("m", TinyGguf().Bytes());
  ASSERT_EQ(ListAll().front().context_length, 2048);
  // Other bytes in a file that looks the same from outside: a second read would notice.
  struct stat before {};
  ASSERT_EQ(::stat(Blob(digest).c_str(), &before), 0);
  const int fd = ::open(Blob(digest).c_str(), O_WRONLY);
  ASSERT_EQ(::pwrite(fd, "XXXX", 4, 0), 4);
  const timespec times[2] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(::futimens(fd, times), 0);
  ::close(fd);
  EXPECT_EQ(ListAll().front().context_length, 2048);
  // And one that does not look the same is read.
  Age(Blob(digest), 1);
  EXPECT_EQ(ListAll().front().context_length, 0);
}

TEST_F(StoreTest, LoadsAModelOnceWhileItStaysTheSame) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const auto first = Load("m");
  EXPECT_EQ(first, Load("M"));
  CreateSpec spec{NameOf("m")};
  spec.from = NameOf("m");
  spec.system = "S";
  Create(spec);
  const auto second = Load("m");
  EXPECT_NE(first, second);
  EXPECT_EQ(first->system, "");
  EXPECT_EQ(second->system, "S");
}

TEST_F(StoreTest, CachesABoundedNumberOfModels) {
  Open();
  CreateFrom("m0", TinyGguf().Bytes());
  for (int i = 1; i < 40; ++i) {
    WriteAll(Manifest("m" + std::to_string(i)), ReadAll(Manifest("m0")));
  }
  const auto first = Load("m0");
  for (int i = 1; i < 40; ++i) Load("m" + std::to_string(i));
  EXPECT_EQ(first.use_count(), 1);
}

TEST_F(StoreTest, FindsANameAsAWholeWithoutRegardToCase) {
  Open();
  CreateFrom("LLaMA3:Latest", TinyGguf().Bytes());
  CreateFrom("user/M:q4", TinyGguf().Bytes());
  EXPECT_EQ(store_->Existing(NameOf("llama3")).Short(), "LLaMA3:Latest");
  EXPECT_EQ(store_->Existing(NameOf("USER/m:Q4")).Short(), "user/M:q4");
  EXPECT_EQ(Load("llama3")->name.Short(), "LLaMA3:Latest");
  // Its parts appear in other names: that is no reason to change them.
  EXPECT_EQ(store_->Existing(NameOf("m:latest")).Short(), "m:latest");
  EXPECT_EQ(store_->Existing(NameOf("llama3:Q4")).Short(), "llama3:Q4");
}

TEST_F(StoreTest, PrefersTheExactSpelling) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  WriteAll(Manifest("M"), ReadAll(Manifest("m")));
  EXPECT_EQ(store_->Existing(NameOf("m")).Short(), "m:latest");
  EXPECT_EQ(store_->Existing(NameOf("M")).Short(), "M:latest");
  ASSERT_TRUE(store_->Delete(NameOf("M")));
  EXPECT_THAT(Listed(), ElementsAre("m:latest"));
  EXPECT_TRUE(fs::exists(Load("m")->gguf));
}

TEST_F(StoreTest, CopiesAManifestByteForByte) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const std::string pretty = " \n" + ReadAll(Manifest("m")) + "\n\n";
  WriteAll(Manifest("m"), pretty);
  ASSERT_TRUE(store_->Copy(NameOf("M"), NameOf("user/c:t")));
  EXPECT_EQ(ReadAll(Manifest("user/c:t")), pretty);
  EXPECT_TRUE(store_->Copy(NameOf("m"), NameOf("M")));
  EXPECT_THAT(Listed(), UnorderedElementsAre("m:latest", "user/c:t"));
  const Status status = store_->Copy(NameOf("nobody"), NameOf("x"));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kNotFound);
}

TEST_F(StoreTest, RemovesWhatACopyReplaced) {
  Open();
  CreateFrom("a", TinyGguf("test", 1).Bytes());
  CreateFrom("b", TinyGguf("test", 2).Bytes());
  ASSERT_TRUE(store_->Copy(NameOf("a"), NameOf("b")));
  EXPECT_FALSE(fs::exists(Blob(Digest::OfBytes(TinyGguf("test", 2).Bytes()))));
  EXPECT_EQ(Load("a")->manifest.digest, Load("b")->manifest.digest);
}

TEST_F(StoreTest, DeletesABlobWithItsLastModel) {
  Open();
  const std::string gguf = TinyGguf().Bytes();
  CreateSpec spec{NameOf("a")};
  spec.system = "only a";
  CreateFrom("a", gguf, spec);
  CreateFrom("b", gguf);
  ASSERT_TRUE(store_->Delete(NameOf("A")));
  EXPECT_FALSE(fs::exists(Manifest("a")));
  EXPECT_FALSE(fs::exists(Blob(Digest::OfBytes("only a"))));
  EXPECT_TRUE(fs::exists(Blob(Digest::OfBytes(gguf))));
  ASSERT_TRUE(store_->Delete(NameOf("b")));
  EXPECT_FALSE(fs::exists(root_ / "manifests"));
  EXPECT_THAT(Blobs(), IsEmpty());
  const Status again = store_->Delete(NameOf("b"));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kNotFound);
  CreateFrom("c", gguf);
  EXPECT_THAT(Listed(), ElementsAre("c:latest"));
}

TEST_F(StoreTest, DeletesAModelWhoseConfigIsAlsoALayer) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  Layer config = *Load("m")->manifest.config;
  Layer twice = config;
  twice.media_type = std::string(kMediaPrefix) + "system";
  WriteAll(Manifest("m"), EncodeManifest(config, {Load("m")->manifest.layers.front(), twice}));
  ASSERT_TRUE(store_->Delete(NameOf("m")));
  EXPECT_THAT(Blobs(), IsEmpty());
}

TEST_F(StoreTest, DeletesACorruptManifestAlone) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const std::size_t n_blobs = Blobs().size();
  WriteAll(Manifest("bad"), "{");
  ASSERT_TRUE(store_->Delete(NameOf("bad")));
  EXPECT_FALSE(fs::exists(Manifest("bad")));
  EXPECT_EQ(Blobs().size(), n_blobs);
  EXPECT_THAT(Listed(), ElementsAre("m:latest"));
}

TEST_F(StoreTest, ABlobThatAClientWasToldOfOutlivesADelete) {
  Open();
  const std::string gguf = TinyGguf().Bytes();
  CreateFrom("m", gguf);
  // HEAD: it is there, so the client does not upload it; before its create comes, another client
  // deletes the model.
  ASSERT_TRUE(store_->HasBlob(Digest::OfBytes(gguf)));
  ASSERT_TRUE(store_->Delete(NameOf("m")));
  ASSERT_TRUE(fs::exists(Blob(Digest::OfBytes(gguf))));
  CreateSpec spec{NameOf("n")};
  spec.files = {{"model.gguf", Digest::OfBytes(gguf)}};
  ASSERT_EQ(Create(spec).back(), "writing manifest");
  // Now it has its model, and goes with it.
  ASSERT_TRUE(store_->Delete(NameOf("n")));
  EXPECT_FALSE(fs::exists(Blob(Digest::OfBytes(gguf))));
}

TEST_F(StoreTest, ListsAModelWhoseLayersAreMissingAndDoesNotLoadIt) {
  Open();
  CreateSpec spec{NameOf("m")};
  spec.system = "S";
  CreateFrom("m", TinyGguf().Bytes(), spec);
  fs::remove(Blob(Digest::OfBytes("S")));
  EXPECT_THAT(Listed(), ElementsAre("m:latest"));
  const auto model = store_->Load(NameOf("m"));
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, Code::kCorrupt);
  EXPECT_EQ(model.error().message,
            "model m:latest: layer " + Digest::OfBytes("S").ToString() + " is missing");
}

TEST_F(StoreTest, LoadsAModelWhoseGgufDoesNotRead) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  fs::remove(Load("m")->gguf);
  const auto model = Load("m");
  ASSERT_TRUE(model);
  EXPECT_FALSE(model->gguf.empty());
  EXPECT_FALSE(model->info);
  EXPECT_THAT(model->Capabilities(std::nullopt), IsEmpty());
}

// Runs `body` as a user who may not write to the store: root may write anywhere. In a child, as the
// change has no way back.
template <class Body>
void AsStranger(const Body& body) {
  const auto run = [&] {
    constexpr uid_t kNobody = 65534;
    if (::geteuid() == 0 && (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)) std::_Exit(2);
    body();
    std::_Exit(::testing::Test::HasFailure() ? 1 : 0);
  };
  EXPECT_EXIT(run(), ::testing::ExitedWithCode(0), "");
}

TEST_F(StoreTest, RemovesNothingWhileAPartOfItCannotBeRead) {
  ::testing::FLAGS_gtest_death_test_style = "fast";
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const fs::path weights = Load("m")->gguf;
  const fs::path orphan = Blob(Digest::OfBytes("orphan"));
  WriteAll(orphan, "orphan");
  Age(weights, 2);
  Age(orphan, 2);
  store_.reset();
  fs::remove_all(root_ / ".corral");
  const fs::path model = Manifest("m").parent_path();
  for (fs::path folder = model; folder != root_.parent_path(); folder = folder.parent_path())
    fs::permissions(folder, fs::perms(0777));
  fs::permissions(root_ / "blobs", fs::perms(0777));

  fs::permissions(model, fs::perms::none);
  AsStranger([&] {
    Open();
    EXPECT_TRUE(fs::exists(weights));
    EXPECT_TRUE(fs::exists(orphan));
  });
  fs::permissions(model, fs::perms(0777));
  fs::remove_all(root_ / ".corral");
  AsStranger([&] {
    Open();
    EXPECT_TRUE(fs::exists(weights));
    EXPECT_FALSE(fs::exists(orphan));
  });
}

TEST_F(StoreTest, OpensAFolderThatCannotBeWritten) {
  ::testing::FLAGS_gtest_death_test_style = "fast";
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const Digest digest = Load("m")->manifest.layers.front().digest;
  store_.reset();
  fs::remove_all(root_ / ".corral");
  const fs::perms read_only = fs::perms(0555);
  fs::permissions(root_, read_only);
  fs::permissions(root_ / "blobs", read_only);
  fs::permissions(root_ / "manifests", read_only);
  AsStranger([&] {
    Open();
    EXPECT_THAT(Listed(), ElementsAre("m:latest"));
    EXPECT_EQ(Load("m")->info->Architecture(), "test");
    EXPECT_TRUE(store_->HasBlob(digest));
    CreateSpec spec{NameOf("n")};
    spec.from = NameOf("m");
    const auto blob = store_->NewBlob();
    for (const Status& status :
         {store_->Create(
              spec, [](const std::string&) {}, StopToken()),
          store_->Copy(NameOf("m"), NameOf("n")), store_->Delete(NameOf("m")),
          blob ? Status() : Status(Fail(blob.error()))}) {
      ASSERT_FALSE(status);
      EXPECT_EQ(status.error().code, Code::kForbidden);
      EXPECT_EQ(status.error().message,
                "the model store cannot be written: permission denied or read-only");
    }
    EXPECT_EQ(store_->Delete(NameOf("nobody")).error().code, Code::kNotFound);
    EXPECT_FALSE(fs::exists(root_ / ".corral"));
  });
  for (const char* folder : {"blobs", "manifests", ""})
    fs::permissions(root_ / folder, fs::perms(0755));
}

TEST_F(StoreTest, DoesNotOpenAFolderThatCannotBeRead) {
  ::testing::FLAGS_gtest_death_test_style = "fast";
  fs::create_directories(root_);
  fs::permissions(root_, fs::perms::none);
  AsStranger([&] {
    const auto store = Store::Open(root_, {});
    ASSERT_FALSE(store);
    EXPECT_EQ(store.error().code, Code::kIo);
  });
  fs::permissions(root_, fs::perms(0755));
}

}  // namespace
}  // namespace corral::models
