// Two stores on one folder stand for two processes: their locks are on different open files. Run
// under TSan in CI.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <thread>

#include "models/internal/lock.h"
#include "models/test_store.h"

namespace corral::models {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(StoreTest, SharersMeetAndAnOwnerIsAlone) {
  internal::StoreLock a(root_ / ".corral", RealFileSystem());
  internal::StoreLock b(root_ / ".corral", RealFileSystem());
  {
    const auto first = a.Share();
    const auto second = b.Share();
    ASSERT_TRUE(first && second);
    // A third one in the same process: on a thread of its own, as nobody takes the lock twice.
    std::jthread([&a] { EXPECT_TRUE(a.Share()); }).join();
    EXPECT_FALSE(a.TryOwn().value());
    EXPECT_FALSE(b.TryOwn().value());
  }
  const auto owner = a.TryOwn();
  ASSERT_TRUE(owner.value());
  EXPECT_FALSE(b.TryOwn().value());
  EXPECT_FALSE(a.TryOwn().value());
}

TEST_F(StoreTest, OwnersNeverOverlap) {
  internal::StoreLock locks[2] = {{root_ / ".corral", RealFileSystem()},
                                  {root_ / ".corral", RealFileSystem()}};
  std::atomic<int> n_owners = 0;
  std::atomic<int> n_sharers = 0;
  std::atomic<bool> is_wrong = false;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 100; ++i) {
          if ((i + t) % 3 == 0) {
            const auto held = locks[t % 2].Own();
            if (!held || ++n_owners != 1 || n_sharers != 0) is_wrong = true;
            --n_owners;
          } else {
            const auto held = locks[t % 2].Share();
            ++n_sharers;
            if (!held || n_owners != 0) is_wrong = true;
            --n_sharers;
          }
        }
      });
    }
  }
  EXPECT_FALSE(is_wrong);
}

TEST_F(StoreTest, ADeleteWaitsForACreateThatHasTakenTheBlob) {
  Open();
  const std::string gguf = TinyGguf().Bytes();
  CreateFrom("old", gguf);
  auto other = Store::Open(root_, {});
  ASSERT_TRUE(other);
  CreateSpec spec{NameOf("new")};
  spec.from = NameOf("old");
  std::atomic<bool> is_started = false;
  std::jthread deleter;
  // "writing manifest": all layers are taken, and the manifest that names them is not there yet.
  const Status status = store_->Create(
      spec,
      [&](const std::string& line) {
        if (line != "writing manifest") return;
        internal::StoreLock lock(root_ / ".corral", RealFileSystem());
        EXPECT_FALSE(lock.TryOwn().value());
        deleter = std::jthread([&] {
          is_started = true;
          is_started.notify_one();
          EXPECT_TRUE((*other)->Delete(NameOf("old")));
        });
        is_started.wait(false);
      },
      StopToken());
  ASSERT_TRUE(status) << status.error().message;
  deleter.join();
  EXPECT_THAT(Listed(), ElementsAre("new:latest"));
  EXPECT_EQ(ReadAll(Load("new")->gguf), gguf);
}

TEST_F(StoreTest, ABlobPromisedByOneServerOutlivesADeleteByAnother) {
  Open();
  const std::string gguf = TinyGguf().Bytes();
  CreateFrom("m", gguf);
  auto other = Store::Open(root_, {});
  ASSERT_TRUE(store_->HasBlob(Digest::OfBytes(gguf)));
  ASSERT_TRUE((*other)->Delete(NameOf("m")));
  EXPECT_EQ(ReadAll(Blob(Digest::OfBytes(gguf))), gguf);
}

// Creates, copies, deletes, lists and opens (with prune) at once. What a create has answered is
// whole while its name lives.
TEST_F(StoreTest, StressOfTwoStoresOnOneFolder) {
  Open();
  auto other = Store::Open(root_, {});
  ASSERT_TRUE(other);
  Store* const stores[2] = {store_.get(), other->get()};
  const std::string ggufs[2] = {TinyGguf("test", 1).Bytes(), TinyGguf("test", 2).Bytes()};
  CreateFrom("base", ggufs[0]);
  constexpr int kThreads = 4;
  constexpr int kRounds = 12;
  std::barrier start(kThreads + 1);
  std::vector<std::string> problems[kThreads];
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Store& store = *stores[t % 2];
        const ModelName own = NameOf("own" + std::to_string(t));
        const ModelName common = NameOf("common");
        const auto check = [&](const Status& status, bool may_be_gone) {
          if (status || (may_be_gone && status.error().code == Code::kNotFound)) return;
          problems[t].push_back(status.error().message);
        };
        start.arrive_and_wait();
        for (int i = 0; i < kRounds; ++i) {
          const std::string& gguf = ggufs[(t + i) % 2];
          const Digest digest = Digest::OfBytes(gguf);
          if (!store.HasBlob(digest)) {
            auto writer = store.NewBlob();
            if (!writer || !(*writer)->Append(gguf) || !(*writer)->Commit(digest))
              problems[t].push_back("upload");
          }
          CreateSpec spec{own};
          spec.files = {{"model.gguf", digest}};
          spec.system = "system " + std::to_string(i % 3);
          check(store.Create(
                    spec, [](const std::string&) {}, StopToken()),
                false);
          // Nobody else touches this name: it must load, with all its blobs.
          const auto model = store.Load(own);
          if (!model || ReadAll((*model)->gguf) != gguf || (*model)->system != *spec.system) {
            problems[t].push_back(model ? "own model is not whole" : model.error().message);
          }
          check(store.Copy(own, common), false);
          check(store.Delete(i % 2 == 0 ? own : common), true);
          if (const auto listed = store.List(); !listed)
            problems[t].push_back(listed.error().message);
        }
      });
    }
    start.arrive_and_wait();
    for (int i = 0; i < kRounds; ++i) EXPECT_TRUE(Store::Open(root_, {}));
  }
  for (const auto& list : problems) EXPECT_THAT(list, IsEmpty());
  for (const ModelSummary& summary : ListAll()) {
    const auto model = store_->Load(summary.name);
    ASSERT_TRUE(model) << model.error().message;
    for (const Layer& layer : (*model)->manifest.layers) {
      EXPECT_EQ(Digest::OfBytes(ReadAll(Blob(layer.digest))), layer.digest);
    }
  }
  // When all models are gone, so is everything that was theirs and that nobody was promised.
  for (const ModelSummary& summary : ListAll()) ASSERT_TRUE(store_->Delete(summary.name));
  fs::remove_all(root_ / ".corral" / "accepted");
  for (const auto& name : Blobs()) Age(root_ / "blobs" / name, 2);
  Open();
  EXPECT_THAT(Blobs(), IsEmpty());
}

}  // namespace
}  // namespace corral::models
