#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include "models/internal/lock.h"
#include "models/test_store.h"

namespace corral::models {
namespace {

using ::testing::ElementsAre;

const std::string kPartial = "sha256-" + std::string(64, 'a') + "-partial";

TEST_F(StoreTest, PrunesAnOrphanOfTwoHoursAndKeepsANewOne) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const std::size_t n_used = Blobs().size();
  const Digest young = Digest::OfBytes("young");
  const Digest old = Digest::OfBytes("old");
  WriteAll(Blob(young), "young");
  WriteAll(Blob(old), "old");
  Age(Blob(old), 2);
  Age(Load("m")->gguf, 2);
  Open();
  EXPECT_TRUE(fs::exists(Blob(young)));
  EXPECT_FALSE(fs::exists(Blob(old)));
  EXPECT_EQ(Blobs().size(), n_used + 1);
}

TEST_F(StoreTest, PrunesOldPartialsUnlessToldNotTo) {
  Open();
  for (const std::string& name :
       {kPartial, kPartial + "-0", std::string("sha256-123456789"), std::string("COPY42")}) {
    WriteAll(root_ / "blobs" / name, "x");
    Age(root_ / "blobs" / name, 2);
  }
  WriteAll(root_ / "blobs" / "sha256-fresh", "x");
  Open({.is_prune_enabled = false});
  EXPECT_EQ(Blobs().size(), 5U);
  Open();
  EXPECT_THAT(Blobs(), ElementsAre("sha256-fresh"));
}

TEST_F(StoreTest, DoesNotPruneWhileAManifestIsCorrupt) {
  Open();
  const Digest orphan = Digest::OfBytes("orphan");
  WriteAll(Blob(orphan), "orphan");
  Age(Blob(orphan), 2);
  WriteAll(Manifest("bad"), "");
  Open();
  EXPECT_TRUE(fs::exists(Blob(orphan)));
  ASSERT_TRUE(store_->Delete(NameOf("bad")));
  Open();
  EXPECT_FALSE(fs::exists(Blob(orphan)));
}

TEST_F(StoreTest, RemovesItsOwnOldTemporariesEvenWithoutPrune) {
  Open();
  const fs::path blob = root_ / "blobs" / "sha256-corral-0123456789abcdef";
  const fs::path manifest = root_ / "manifests" / ".corral-0123456789abcdef";
  for (const fs::path& file : {blob, manifest}) {
    WriteAll(file, "x");
    Open({.is_prune_enabled = false});
    EXPECT_TRUE(fs::exists(file));
    Age(file, 2);
    Open({.is_prune_enabled = false});
    EXPECT_FALSE(fs::exists(file));
  }
}

TEST_F(StoreTest, LeavesAnUploadThatIsStillRunning) {
  Open();
  auto writer = store_->NewBlob();
  ASSERT_TRUE(writer);
  ASSERT_TRUE((*writer)->Append("slow"));
  const fs::path file = root_ / "blobs" / *Blobs().begin();
  Age(file, 5);
  const auto other = Store::Open(root_, {});
  ASSERT_TRUE(other);
  EXPECT_TRUE(fs::exists(file));
  EXPECT_TRUE((*writer)->Commit(Digest::OfBytes("slow")));
}

TEST_F(StoreTest, DoesNotPruneWhileAnotherServerWrites) {
  Open();
  const Digest orphan = Digest::OfBytes("orphan");
  WriteAll(Blob(orphan), "orphan");
  Age(Blob(orphan), 2);
  internal::StoreLock lock(root_ / ".corral", RealFileSystem());
  {
    const auto shared = lock.Share();
    ASSERT_TRUE(shared);
    ASSERT_TRUE(Store::Open(root_, {}));
    EXPECT_TRUE(fs::exists(Blob(orphan)));
  }
  ASSERT_TRUE(Store::Open(root_, {}));
  EXPECT_FALSE(fs::exists(Blob(orphan)));
}

TEST_F(StoreTest, RenamesBlobsOfTheOldForm) {
  WriteAll(root_ / "blobs" / "sha256:1234", "a");
  WriteAll(root_ / "blobs" / "sha259:5678", "b");
  WriteAll(root_ / "blobs" / "deeper" / "sha256:9abc", "c");
  Open({.is_prune_enabled = false});
  EXPECT_EQ(ReadAll(root_ / "blobs" / "sha256-1234"), "a");
  EXPECT_EQ(ReadAll(root_ / "blobs" / "sha259:5678"), "b");
  EXPECT_EQ(ReadAll(root_ / "blobs" / "deeper" / "sha256-9abc"), "c");
}

TEST_F(StoreTest, RemovesEmptyManifestFoldersAtStart) {
  fs::create_directories(root_ / "manifests" / "h" / "n" / "m");
  Open();
  EXPECT_FALSE(fs::exists(root_ / "manifests"));
  CreateFrom("m", TinyGguf().Bytes());
  EXPECT_THAT(Listed(), ElementsAre("m:latest"));
}

TEST_F(StoreTest, ForgetsPromisesOfAnHourAgo) {
  Open();
  const Digest digest = Upload("promised");
  Age(Blob(digest), 2);
  Open();
  EXPECT_TRUE(fs::exists(Blob(digest)));
  Age(root_ / ".corral" / "accepted" / digest.FileName(), 2);
  Open();
  EXPECT_FALSE(fs::exists(Blob(digest)));
  EXPECT_FALSE(fs::exists(root_ / ".corral" / "accepted" / digest.FileName()));
}

// Links and odd names below manifests/ never lead outside of the store (CVE-2025-44779).

TEST_F(StoreTest, DoesNotFollowLinksBelowManifests) {
  const fs::path outside = folder_.path() / "outside";
  Open();
  CreateFrom("real", TinyGguf().Bytes());
  const std::string raw = ReadAll(Manifest("real"));
  WriteAll(outside / "library" / "m" / "latest", raw);
  WriteAll(outside / "file", raw);
  fs::create_directories(root_ / "manifests" / "h" / "n" / "m");
  fs::create_directory_symlink(outside, root_ / "manifests" / "evil.host");
  fs::create_directory_symlink(outside / "library" / "m",
                               root_ / "manifests" / "h" / "n" / "linked");
  fs::create_symlink(outside / "file", root_ / "manifests" / "h" / "n" / "m" / "t");
  EXPECT_THAT(Listed(), ElementsAre("real:latest"));
  for (const char* name : {"evil.host/library/m", "h/n/linked", "h/n/m:t"}) {
    EXPECT_EQ(store_->Load(NameOf(name)).error().code, Code::kNotFound) << name;
    EXPECT_EQ(store_->Delete(NameOf(name)).error().code, Code::kNotFound) << name;
    const Status status = store_->Copy(NameOf("real"), NameOf(name));
    ASSERT_FALSE(status) << name;
    EXPECT_THAT(status.error().message, ::testing::HasSubstr("cannot be stored")) << name;
  }
  EXPECT_EQ(ReadAll(outside / "file"), raw);
  // What they name is still kept: the model is theirs too, as Ollama sees it.
  ASSERT_TRUE(store_->Delete(NameOf("real")));
  EXPECT_FALSE(Blobs().empty());
  Open();
  EXPECT_EQ(ReadAll(outside / "library" / "m" / "latest"), raw);
  EXPECT_TRUE(fs::exists(root_ / "manifests" / "evil.host"));
}

TEST_F(StoreTest, RemovesALinkAmongTheBlobsAndNotWhatItLeadsTo) {
  Open();
  const fs::path outside = folder_.path() / "outside.gguf";
  const std::string gguf = TinyGguf().Bytes();
  WriteAll(outside, gguf);
  const Digest digest = Digest::OfBytes(gguf);
  fs::create_symlink(outside, Blob(digest));
  CreateSpec spec{NameOf("m")};
  spec.files = {{"model.gguf", digest}};
  ASSERT_EQ(Create(spec).back(), "writing manifest");
  EXPECT_EQ(Load("m")->info->Architecture(), "test");
  ASSERT_TRUE(store_->Delete(NameOf("m")));
  EXPECT_FALSE(fs::exists(fs::symlink_status(Blob(digest))));
  EXPECT_EQ(ReadAll(outside), gguf);
}

TEST_F(StoreTest, SkipsOddThingsBelowManifests) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const fs::path folder = Manifest("m").parent_path();
  WriteAll(folder / ".DS_Store", "x");
  WriteAll(folder / "-dash", "x");
  WriteAll(folder / "folder" / "file", "x");
  WriteAll(root_ / "manifests" / "stray", "x");
  WriteAll(root_ / "manifests" / "h" / "n.dot" / "m" / "t", ReadAll(Manifest("m")));
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0644), 0);
  EXPECT_THAT(Listed(), ElementsAre("m:latest"));
  EXPECT_EQ(store_->Load(NameOf("m:pipe")).error().code, Code::kNotFound);
  EXPECT_EQ(store_->Load(NameOf("m:folder")).error().code, Code::kNotFound);
  // Odd names do not keep the prune from its work, and what an odd one names is kept.
  const Digest orphan = Digest::OfBytes("orphan");
  WriteAll(Blob(orphan), "orphan");
  for (const auto& entry : fs::directory_iterator(root_ / "blobs")) Age(entry.path(), 2);
  ASSERT_TRUE(store_->Delete(NameOf("m")));
  Open();
  EXPECT_FALSE(fs::exists(Blob(orphan)));
  EXPECT_TRUE(fs::exists(Blob(Digest::OfBytes(TinyGguf().Bytes()))));
  EXPECT_TRUE(fs::exists(folder / ".DS_Store"));
}

}  // namespace
}  // namespace corral::models
