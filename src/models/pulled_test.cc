#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/test_store.h"

namespace corral::models {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class PulledTest : public StoreTest {
 protected:
  PulledTest() { Open(); }

  static Layer LayerOf(std::string_view bytes, std::string_view kind = "license") {
    return {std::string(kMediaPrefix) + std::string(kind),
            Digest::OfBytes(bytes),
            static_cast<std::int64_t>(bytes.size()),
            {},
            {}};
  }
  static models::Manifest ManifestOf(const std::vector<Layer>& layers) {
    return ParseManifest(EncodeManifest(layers.front(), layers)).value();
  }
  std::unique_ptr<PartialBlob> OpenPart(std::string_view bytes) {
    auto partial =
        store_->OpenPartial(Digest::OfBytes(bytes), static_cast<std::int64_t>(bytes.size()));
    EXPECT_TRUE(partial) << partial.error().message;
    return partial ? *std::move(partial) : nullptr;
  }
  static Sha256::Hash HashOf(std::string_view bytes) {
    Sha256 hash;
    hash.Update(bytes);
    return hash.Finish();
  }
  void Download(std::string_view bytes) {
    const auto partial = OpenPart(bytes);
    ASSERT_TRUE(partial);
    ASSERT_TRUE(partial->WriteAt(0, bytes));
    ASSERT_TRUE(partial->Commit(HashOf(bytes)));
  }
  fs::path Partial(std::string_view bytes) const {
    return root_ / "blobs" / (Digest::OfBytes(bytes).FileName() + "-partial");
  }
};

TEST_F(PulledTest, ADownloadGetsItsNameWhenItsHashIsRight) {
  Download("hello");
  EXPECT_THAT(Blobs(), ElementsAre(Digest::OfBytes("hello").FileName()));
  EXPECT_EQ(ReadAll(Blob(Digest::OfBytes("hello"))), "hello");
  EXPECT_TRUE(store_->HasLayer(LayerOf("hello")));
}

TEST_F(PulledTest, WrongBytesLeaveNothing) {
  const auto partial = OpenPart("hello");
  ASSERT_TRUE(partial->WriteAt(0, "jello"));
  const Status status = partial->Commit(HashOf("jello"));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kCorrupt);
  EXPECT_EQ(status.error().message, "digest mismatch, file must be downloaded again: want " +
                                        Digest::OfBytes("hello").ToString() + ", got " +
                                        Digest::OfBytes("jello").ToString());
}

TEST_F(PulledTest, AnUnfinishedDownloadIsGoneOnWith) {
  {
    const auto partial = OpenPart("hello world");
    EXPECT_EQ(partial->found(), ByteRanges());
    ASSERT_TRUE(partial->WriteAt(0, "hello"));
    ASSERT_TRUE(partial->WriteAt(8, "rl"));
    ByteRanges present;
    present.Add(0, 5);
    present.Add(8, 10);
    ASSERT_TRUE(partial->Save(present));
  }
  const auto partial = OpenPart("hello world");
  EXPECT_THAT(partial->found().ranges(),
              ElementsAre(ByteRanges::Range{0, 5}, ByteRanges::Range{8, 10}));
  ASSERT_TRUE(partial->WriteAt(5, " wo"));
  ASSERT_TRUE(partial->WriteAt(10, "d"));
  std::string read(11, 0);
  EXPECT_EQ(partial->ReadAt(0, read).value(), 11U);
  EXPECT_EQ(read, "hello world");
  ASSERT_TRUE(partial->Commit(HashOf("hello world")));
  EXPECT_THAT(Blobs(), ElementsAre(Digest::OfBytes("hello world").FileName()));
}

TEST_F(PulledTest, OllamasPartialFilesAreGoneOnWith) {
  const std::string text = "hello world";
  WriteAll(Partial(text), "hello" + std::string(6, 0));
  WriteAll(fs::path(Partial(text).native() + "-0"),
           R"({"N":0,"Offset":0,"Size":11,"Completed":5})");
  // What a killed server left, and a part of another plan.
  WriteAll(fs::path(Partial(text).native() + "-1"), "{\"N\":1,\"Off");
  const auto partial = OpenPart(text);
  EXPECT_THAT(partial->found().ranges(), ElementsAre(ByteRanges::Range{0, 5}));
  ASSERT_TRUE(partial->WriteAt(5, " world"));
  ASSERT_TRUE(partial->Commit(HashOf(text)));
  EXPECT_THAT(Blobs(), ElementsAre(Digest::OfBytes(text).FileName()));
}

TEST_F(PulledTest, StatesThatAKillLeftBehindABlobGoWithTheNextPull) {
  Download("one");
  WriteAll(fs::path(Partial("one").native() + "-0"), "{}");
  WriteAll(fs::path(Partial("other").native() + "-0"), "{}");  // not ours to judge
  ASSERT_TRUE(store_->CommitPull(NameOf("m"), ManifestOf({LayerOf("one")}), {}));
  EXPECT_EQ(Blobs(), (std::set<std::string>{Digest::OfBytes("one").FileName(),
                                            Digest::OfBytes("other").FileName() + "-partial-0"}));
}

TEST_F(PulledTest, AStateThatIsLongerThanItsFileIsNotBelieved) {
  WriteAll(Partial("hello world"), "hel");
  WriteAll(fs::path(Partial("hello world").native() + "-0"),
           R"({"N":0,"Offset":0,"Size":11,"Completed":11})");
  EXPECT_THAT(OpenPart("hello world")->found().ranges(), ElementsAre(ByteRanges::Range{0, 3}));
}

TEST_F(PulledTest, ADownloadHasOneOwner) {
  auto partial = OpenPart("hello");
  auto other = Store::Open(root_, {});  // as another process would
  ASSERT_TRUE(other);
  auto second = (*other)->OpenPartial(Digest::OfBytes("hello"), 5);
  ASSERT_TRUE(second);
  EXPECT_EQ(*second, nullptr);
  ASSERT_TRUE(partial->WriteAt(0, "hello"));
  ASSERT_TRUE(partial->Commit(HashOf("hello")));
  EXPECT_TRUE((*other)->HasLayer(LayerOf("hello")));
  partial.reset();
  second = (*other)->OpenPartial(Digest::OfBytes("hello"), 5);
  ASSERT_TRUE(second);
  EXPECT_NE(*second, nullptr);
}

TEST_F(PulledTest, ADownloadOfNothingLeavesNoFile) {
  OpenPart("hello").reset();
  EXPECT_THAT(Blobs(), IsEmpty());
}

TEST_F(PulledTest, ASizeThatNoDiskHoldsIsRefused) {
  auto partial = store_->OpenPartial(Digest::OfBytes("x"), std::int64_t{1} << 61);
  ASSERT_FALSE(partial);
  EXPECT_EQ(partial.error().code, Code::kTooLarge);
  partial = store_->OpenPartial(Digest::OfBytes("x"), std::int64_t{1} << 44);
  ASSERT_FALSE(partial);
  EXPECT_EQ(partial.error().code, Code::kIo);
  EXPECT_EQ(partial.error().message.find("no space left on device"), 0U) << partial.error().message;
  EXPECT_THAT(Blobs(), IsEmpty());
}

TEST_F(PulledTest, AManifestIsStoredAsItWasSentWhenItsBlobsAreThere) {
  Download("one");
  models::Manifest manifest = ManifestOf({LayerOf("one"), LayerOf("two")});
  const auto missing = store_->CommitPull(NameOf("m"), manifest, {});
  ASSERT_TRUE(missing) << missing.error().message;
  EXPECT_THAT(*missing, ElementsAre(LayerOf("two")));
  EXPECT_FALSE(fs::exists(Manifest("m")));
  Download("two");
  manifest.raw += "  \n";
  const auto none = store_->CommitPull(NameOf("m"), manifest, {});
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_THAT(*none, IsEmpty());
  EXPECT_EQ(ReadAll(Manifest("m")), manifest.raw);
}

TEST_F(PulledTest, ABlobOfAnotherSizeCountsAsMissing) {
  Download("one");
  Layer layer = LayerOf("one");
  layer.size = 4;
  EXPECT_FALSE(store_->HasLayer(layer));
  const auto missing = store_->CommitPull(NameOf("m"), ManifestOf({layer}), {});
  ASSERT_TRUE(missing);
  EXPECT_THAT(*missing, Contains(layer));
}

TEST_F(PulledTest, WeightsWhoseHeaderIsWrongGetNoModel) {
  std::string gguf = TinyGguf().Bytes();
  Download(gguf);
  EXPECT_TRUE(store_->CommitPull(NameOf("good"), ManifestOf({LayerOf(gguf, "model")}), {}));
  gguf.resize(gguf.size() / 2);
  Download(gguf);
  const auto refused = store_->CommitPull(NameOf("m"), ManifestOf({LayerOf(gguf, "model")}), {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kCorrupt);
  EXPECT_FALSE(fs::exists(Manifest("m")));
}

TEST_F(PulledTest, WhatOnlyTheOldManifestUsedGoesAndThatIsSaid) {
  int n_said = 0;
  const auto commit = [&](const std::vector<Layer>& layers) {
    const auto missing = store_->CommitPull(NameOf("m"), ManifestOf(layers), [&] { ++n_said; });
    ASSERT_TRUE(missing) << missing.error().message;
    ASSERT_THAT(*missing, IsEmpty());
  };
  Download("one");
  Download("two");
  commit({LayerOf("one"), LayerOf("two")});
  commit({LayerOf("one"), LayerOf("two")});
  EXPECT_EQ(n_said, 0);
  commit({LayerOf("two")});
  EXPECT_EQ(n_said, 1);
  EXPECT_THAT(Blobs(), ElementsAre(Digest::OfBytes("two").FileName()));
}

TEST_F(PulledTest, ADeleteDoesNotTakeABlobThatAPullHasFound) {
  Download("one");
  ASSERT_TRUE(store_->CommitPull(NameOf("a"), ManifestOf({LayerOf("one")}), {}));
  ASSERT_TRUE(store_->HasLayer(LayerOf("one")));  // a pull of another model begins
  ASSERT_TRUE(store_->Delete(NameOf("a")));
  const auto missing = store_->CommitPull(NameOf("b"), ManifestOf({LayerOf("one")}), {});
  ASSERT_TRUE(missing);
  EXPECT_THAT(*missing, IsEmpty());
}

TEST_F(PulledTest, PruneKeepsAPartialWithItsStatesAsLongAsOneIsYoungOrItRuns) {
  const auto make = [&](std::string_view bytes) {
    WriteAll(Partial(bytes), bytes);
    for (const char* n : {"-0", "-1"}) WriteAll(fs::path(Partial(bytes).native() + n), "{}");
  };
  const auto age = [&](std::string_view bytes) {
    Age(Partial(bytes), 2);
    for (const char* n : {"-0", "-1"}) Age(fs::path(Partial(bytes).native() + n), 2);
  };
  make("old");
  make("young");
  make("running");
  age("old");
  age("young");
  WriteAll(fs::path(Partial("young").native() + "-1"), "{}");
  auto other = Store::Open(root_, {.is_prune_enabled = false});
  ASSERT_TRUE(other);
  WriteAll(fs::path(Partial("running").native() + "-0"),
           R"({"N":0,"Offset":0,"Size":7,"Completed":7})");
  auto running = (*other)->OpenPartial(Digest::OfBytes("running"), 7);
  ASSERT_TRUE(running);
  ASSERT_TRUE(*running);
  for (const auto& entry : fs::directory_iterator(root_ / "blobs"))
    if (entry.path().native().find(Digest::OfBytes("running").hex()) != std::string::npos)
      Age(entry.path(), 2);
  Open();
  std::set<std::string> left;
  for (const std::string& name : Blobs()) left.insert(name.substr(7, 64));
  EXPECT_THAT(
      left, UnorderedElementsAre(Digest::OfBytes("young").hex(), Digest::OfBytes("running").hex()));
  EXPECT_TRUE(fs::exists(Partial("young")));
  EXPECT_TRUE(fs::exists(Partial("running")));
}

}  // namespace
}  // namespace corral::models
