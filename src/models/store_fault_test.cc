// The disk fails, fills up or loses power at any step of a create, a copy or a delete: afterwards
// every model that is listed is whole, and what was there before still is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/faulty_files.h"
#include "models/test_store.h"

namespace corral::models {
namespace {

using ::testing::Contains;
using ::testing::Not;

class FaultTest : public StoreTest {
 protected:
  FaultTest() { Open({.files = &files_}); }

  // A base to work on; nothing fails meanwhile.
  void Prepare() {
    CreateSpec spec{NameOf("base")};
    spec.system = "base";
    spec.params = {{"top_k", std::int64_t{1}}};
    CreateFrom("base", TinyGguf().Bytes(), spec);
  }
  CreateSpec Spec(int n) const {
    CreateSpec spec{NameOf("m")};
    spec.from = NameOf("base");
    spec.template_text = "{{ .Prompt }}";
    spec.system = "S" + std::to_string(n);
    spec.params = {{"seed", std::int64_t{n}}};
    spec.messages = {{"user", "Hi"}};
    return spec;
  }
  Status CreateModel(const CreateSpec& spec) {
    return store_->Create(
        spec, [](const std::string&) {}, StopToken());
  }

  // Through the disk alone, with nothing failing: a new server on the same folder.
  void ExpectAllWhole() {
    Open({.files = &files_});
    for (const ModelSummary& summary : ListAll()) {
      const auto model = store_->Load(summary.name);
      ASSERT_TRUE(model) << model.error().message;
      for (const Layer& layer : (*model)->manifest.layers) {
        EXPECT_EQ(Digest::OfBytes(ReadAll(Blob(layer.digest))), layer.digest)
            << summary.name.Short();
      }
      EXPECT_EQ(Digest::OfBytes(ReadAll(Blob((*model)->manifest.config->digest))),
                (*model)->manifest.config->digest);
    }
    EXPECT_THAT(Listed(), Contains("base:latest"));
    EXPECT_EQ(Load("base")->system, "base");
  }

  FaultyFileSystem files_;
};

constexpr int kMaxSteps = 500;  // far more than a create has

TEST_F(FaultTest, ACreateSurvivesAnyFailingStep) {
  Prepare();
  int n = 1;
  for (bool is_done = false; !is_done; ++n) {
    SCOPED_TRACE(n);
    ASSERT_LT(n, kMaxSteps);
    const int before = files_.StepCount();
    files_.FailAtStep(n);
    const Status status = CreateModel(Spec(n));
    is_done = files_.StepCount() - before < n;
    files_.FailAtStep(0);
    ExpectAllWhole();
    if (status) {
      EXPECT_EQ(Load("m")->system, "S" + std::to_string(n));
    } else {
      EXPECT_EQ(status.error().code, Code::kIo);
    }
    if (is_done) {
      EXPECT_TRUE(status);
    }
  }
  EXPECT_GT(n, 20);
}

TEST_F(FaultTest, ACreateSurvivesAPowerCutAtAnyStep) {
  Prepare();
  for (const Loss loss : {Loss::kBytes, Loss::kBytesAndNames}) {
    for (int n = 1;; ++n) {
      SCOPED_TRACE(n);
      ASSERT_LT(n, kMaxSteps);
      files_.CrashAtStep(n, loss);
      const Status status = CreateModel(Spec(n));
      const bool has_crashed = files_.IsDown();
      files_.CrashAtStep(0);
      if (has_crashed) files_.Restart();
      ExpectAllWhole();
      if (status) {
        EXPECT_EQ(Load("m")->system, "S" + std::to_string(n));
      }
      if (!has_crashed) break;
    }
  }
}

TEST_F(FaultTest, ADeleteSurvivesAPowerCutAtAnyStep) {
  Prepare();
  for (int n = 1;; ++n) {
    SCOPED_TRACE(n);
    ASSERT_LT(n, kMaxSteps);
    ASSERT_TRUE(CreateModel(Spec(n)));
    files_.CrashAtStep(n);
    const Status status = store_->Delete(NameOf("m"));
    const bool has_crashed = files_.IsDown();
    files_.CrashAtStep(0);
    if (has_crashed) files_.Restart();
    ExpectAllWhole();
    if (status) {
      EXPECT_THAT(Listed(), Not(Contains("m:latest")));
    }
    if (!has_crashed) break;
  }
}

TEST_F(FaultTest, AnUploadSurvivesAnyFailingStep) {
  Prepare();
  const std::string bytes(100'000, 'x');
  const Digest digest = Digest::OfBytes(bytes);
  for (int n = 1;; ++n) {
    SCOPED_TRACE(n);
    ASSERT_LT(n, kMaxSteps);
    const int before = files_.StepCount();
    files_.FailAtStep(n);
    bool is_stored = false;
    if (auto writer = store_->NewBlob()) {
      is_stored = (*writer)->Append(bytes) && (*writer)->Commit(digest);
    }
    const bool is_done = files_.StepCount() - before < n;
    files_.FailAtStep(0);
    if (is_stored) {
      EXPECT_EQ(ReadAll(Blob(digest)), bytes);
    }
    if (fs::exists(Blob(digest))) {
      EXPECT_EQ(fs::file_size(Blob(digest)), bytes.size());
    }
    fs::remove(Blob(digest));
    ExpectAllWhole();
    if (is_done) {
      EXPECT_TRUE(is_stored);
      break;
    }
  }
}

TEST_F(FaultTest, AFullDiskIsSaidSoAndLeavesNothing) {
  Prepare();
  const auto before = Blobs();
  files_.LimitSpace(50);
  const Status status = CreateModel(Spec(1));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kIo);
  EXPECT_THAT(status.error().message, ::testing::HasSubstr("No space left on device"));
  auto writer = store_->NewBlob();
  ASSERT_TRUE(writer);
  EXPECT_FALSE((*writer)->Append(std::string(100, 'x')));
  writer->reset();
  files_.UnlimitSpace();
  EXPECT_EQ(Blobs(), before);
  ExpectAllWhole();
  EXPECT_TRUE(CreateModel(Spec(1)));
}

}  // namespace
}  // namespace corral::models
