// Models out to a tar file and back, and what strangers put into one.
#include "models/archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/internal/tar.h"
#include "models/test_store.h"
#include "models/verify.h"

namespace corral::models {
namespace {

using internal::EncodeTarHeader;
using internal::TarHeader;
using internal::TarPadding;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string Member(const TarHeader& header, const std::string& bytes) {
  return EncodeTarHeader(header, 0) + bytes + std::string(TarPadding(bytes.size()), '\0');
}
std::string File(const std::string& path, const std::string& bytes) {
  return Member({path, bytes.size(), '0'}, bytes);
}
const std::string kEnd(1024, '\0');

class ArchiveTest : public StoreTest {
 protected:
  std::string Save(const std::vector<ModelName>& names) {
    std::string archive;
    const Status saved = SaveModels(*store_, names,
                                    [&archive](std::string_view bytes) {
                                      archive += bytes;
                                      return Status();
                                    },
                                    {});
    EXPECT_TRUE(saved) << saved.error().message;
    return archive;
  }
  // Into a store of its own, in small pieces.
  Result<LoadedModels> LoadInto(Store& store, const std::string& archive) {
    std::size_t at = 0;
    return LoadModels(
        store,
        [&](std::span<char> buffer) -> Result<std::size_t> {
          const std::size_t n = std::min({buffer.size(), archive.size() - at, std::size_t{700}});
          std::copy_n(archive.data() + at, n, buffer.data());
          at += n;
          return n;
        },
        {});
  }
  std::unique_ptr<Store> Other() {
    auto other = Store::Open(folder_.path() / "other", {});
    EXPECT_TRUE(other);
    return *std::move(other);
  }
};

TEST_F(ArchiveTest, AModelGoesOutAndBackByteForByte) {
  Open();
  const std::string gguf = TinyGguf().Bytes();
  CreateFrom("m", gguf);
  ASSERT_TRUE(store_->Copy(NameOf("m"), NameOf("host.example:5000/some/other:tag")));
  const std::string archive = Save({NameOf("m"), NameOf("host.example:5000/some/other:tag")});
  const auto other = Other();
  const auto loaded = LoadInto(*other, archive);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_THAT(loaded->names, ElementsAre(NameOf("m"), NameOf("host.example:5000/some/other:tag")));
  const auto model = other->Load(NameOf("m"));
  ASSERT_TRUE(model);
  EXPECT_EQ((*model)->manifest.raw, Load("m")->manifest.raw);
  EXPECT_EQ(ReadAll((*model)->gguf), gguf);
  const auto report = other->Verify({}, {});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->n_models, 2U);
  EXPECT_THAT(report->broken, IsEmpty());
}

TEST_F(ArchiveTest, ATarOfAWholeStoreLoadsToo) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  std::string archive =
      Member({"./", 0, '5'}, "") +
      File("./manifests/registry.ollama.ai/library/m/latest", Load("m")->manifest.raw);
  archive += File("./.corral/lock", "") + File("./blobs/sha256-0000-partial", "half");
  for (const std::string& name : Blobs())
    archive += File("./blobs/" + name, ReadAll(root_ / "blobs" / name));
  const auto other = Other();
  const auto loaded = LoadInto(*other, archive);  // without the end, as some write it
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_THAT(loaded->names, ElementsAre(NameOf("m")));
  EXPECT_TRUE(other->Load(NameOf("m")));
}

TEST_F(ArchiveTest, RefusesWhatWouldWriteElsewhere) {
  const auto other = Other();
  for (const TarHeader& header :
       {TarHeader{"../x", 0, '0'}, TarHeader{"blobs/../../x", 0, '0'}, TarHeader{"/etc/x", 0, '0'},
        TarHeader{"blobs/sha256-x", 0, '1'}, TarHeader{"blobs/sha256-x", 0, '2'},
        TarHeader{"dev", 0, '3'}, TarHeader{"dev", 0, '4'}, TarHeader{"fifo", 0, '6'},
        TarHeader{"sparse", 0, 'S'}}) {
    const auto loaded = LoadInto(*other, Member(header, "") + kEnd);
    ASSERT_FALSE(loaded) << header.path << header.type;
    EXPECT_EQ(loaded.error().code, Code::kInvalidArgument);
  }
  EXPECT_THAT(*other->List(), IsEmpty());
}

TEST_F(ArchiveTest, RefusesABlobWithOtherBytes) {
  const auto other = Other();
  const Digest digest = Digest::OfBytes("right");
  const auto loaded = LoadInto(*other, File("blobs/" + digest.FileName(), "wrong") + kEnd);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Code::kCorrupt);
  EXPECT_FALSE(other->HasBlob(digest));
}

TEST_F(ArchiveTest, RefusesAModelWithoutItsLayers) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const auto other = Other();
  const auto loaded = LoadInto(
      *other,
      File("manifests/registry.ollama.ai/library/m/latest", Load("m")->manifest.raw) + kEnd);
  ASSERT_FALSE(loaded);
  EXPECT_THAT(loaded.error().message, HasSubstr("without its layer"));
  EXPECT_FALSE(other->Load(NameOf("m")));
}

TEST_F(ArchiveTest, EveryCutOfAnArchiveEndsWithAnErrorAndNoHalfModel) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const std::string archive = Save({NameOf("m")});
  for (std::size_t length = 0; length < archive.size() - 1024; length += 97) {
    const auto other = Other();
    const auto loaded = LoadInto(*other, archive.substr(0, length));
    if (loaded) {
      EXPECT_THAT(loaded->names, IsEmpty()) << length;  // cut between two members
    }
    EXPECT_FALSE(other->Load(NameOf("m"))) << length;
  }
}

// As in a tar of a store that was written to meanwhile.
TEST_F(ArchiveTest, AModelWithoutItsLayersDoesNotKeepTheOthersOut) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const std::string raw = Load("m")->manifest.raw;
  std::string lacking = raw;
  const std::string hex = Load("m")->manifest.layers[0].digest.hex();
  lacking.replace(lacking.find(hex), hex.size(), std::string(64, 'a'));
  const auto other = Other();
  const std::string folder = "manifests/registry.ollama.ai/library/";
  const auto loaded =
      LoadInto(*other, File(folder + "lacking/latest", lacking) + Save({NameOf("m")}));
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_THAT(loaded->names, ElementsAre(NameOf("m")));
  ASSERT_TRUE(loaded->problem);
  EXPECT_THAT(loaded->problem->message, HasSubstr("model 'lacking:latest' without its layer"));
  EXPECT_TRUE(other->Load(NameOf("m")));
  EXPECT_FALSE(other->Load(NameOf("lacking")));
}

TEST_F(ArchiveTest, AHalfManifestDoesNotKeepTheOthersOut) {
  Open();
  CreateFrom("m", TinyGguf().Bytes());
  const auto other = Other();
  const auto loaded = LoadInto(
      *other, File("manifests/registry.ollama.ai/library/a/latest", "") + Save({NameOf("m")}));
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_THAT(loaded->names, ElementsAre(NameOf("m")));
  ASSERT_TRUE(loaded->problem);
  EXPECT_THAT(loaded->problem->message, HasSubstr("manifest of a:latest"));
}

TEST_F(ArchiveTest, RefusesSizesThatNoFileHas) {
  const auto other = Other();
  for (const std::uint64_t size :
       {std::uint64_t{1} << 45U, ~std::uint64_t{0}, ~std::uint64_t{0} - 511}) {
    const auto loaded = LoadInto(*other, EncodeTarHeader({"x", size, '0'}, 0) + kEnd);
    ASSERT_FALSE(loaded);
    EXPECT_THAT(loaded.error().message, HasSubstr("too large"));
  }
}

TEST_F(ArchiveTest, LongPathsAndLargeSizesGoThroughHeaders) {
  const std::string host = std::string(60, 'h') + "." + std::string(200, 'h');
  for (const TarHeader& header : {TarHeader{"manifests/" + host + "/n/m/t", 5, '0'},
                                  TarHeader{"manifests/" + std::string(90, 'h') + "/n/m/t", 5, '0'},
                                  TarHeader{"blobs/x", 1ULL << 40U, '0'}}) {
    std::string bytes = EncodeTarHeader(header, 1);
    internal::PaxRecords records;
    std::array<char, internal::kTarBlock> block{};
    std::copy_n(bytes.data(), block.size(), block.data());
    auto read = internal::DecodeTarHeader(block);
    ASSERT_TRUE(read && *read);
    if ((*read)->type == 'x') {
      records = *internal::DecodePax(std::string_view(bytes).substr(512, (*read)->size));
      std::copy_n(bytes.data() + bytes.size() - 512, block.size(), block.data());
      read = internal::DecodeTarHeader(block);
    }
    EXPECT_EQ(records.path.value_or((*read)->path), header.path);
    EXPECT_EQ(records.size.value_or((*read)->size), header.size);
  }
}

TEST_F(ArchiveTest, VerifyNamesWhatIsBrokenAndWhoNeedsIt) {
  Open();
  const std::string gguf = TinyGguf().Bytes();
  CreateFrom("a", gguf);
  ASSERT_TRUE(store_->Copy(NameOf("a"), NameOf("b")));
  const Digest digest = Digest::OfBytes(gguf);
  std::string bytes = gguf;
  bytes.back() = static_cast<char>(bytes.back() + 1);
  ASSERT_TRUE(RealFileSystem().WriteAtomically(Blob(digest), bytes));
  auto report = store_->Verify({}, {});
  ASSERT_TRUE(report);
  ASSERT_EQ(report->broken.size(), 1U);
  EXPECT_EQ(report->broken[0].digest, digest);
  EXPECT_EQ(report->broken[0].what, "has other bytes");
  EXPECT_THAT(report->broken[0].models, ElementsAre(NameOf("a"), NameOf("b")));
  ASSERT_TRUE(store_->RemoveBroken(digest));
  report = store_->Verify({}, {});
  ASSERT_EQ(report->broken.size(), 1U);
  EXPECT_EQ(report->broken[0].what, "is missing");
  ASSERT_TRUE(RealFileSystem().WriteAtomically(Blob(digest), gguf));
  ASSERT_TRUE(store_->RemoveBroken(digest));  // whole again: it stays
  EXPECT_THAT(store_->Verify({}, {})->broken, IsEmpty());
}

}  // namespace
}  // namespace corral::models
