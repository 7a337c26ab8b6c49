// Leases, the locks for file systems without flock; two keepers on one folder stand for two hosts.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "models/internal/lock.h"
#include "models/test_store.h"

namespace corral::models {
namespace {

using internal::LeaseKeeper;
using internal::LeaseTiming;
using internal::StoreLock;

class LeasesTest : public StoreTest {
 protected:
  fs::path Folder() const { return root_ / ".corral" / "leases"; }
  // As if its holder had died that long ago.
  void AgeLease(const std::string& name, std::chrono::seconds age) {
    timespec times[2];
    ::clock_gettime(CLOCK_REALTIME, &times[0]);
    times[0].tv_sec -= age.count();
    times[1] = times[0];
    ASSERT_EQ(::utimensat(AT_FDCWD, (Folder() / name).c_str(), times, 0), 0);
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(Folder()))
      names.push_back(entry.path().filename());
    return names;
  }
  // Long heartbeats: what a test ages stays old.
  const LeaseTiming timing_{std::chrono::hours(1), std::chrono::seconds(60),
                            std::chrono::milliseconds(2)};
};

TEST_F(LeasesTest, OneHolderAName) {
  LeaseKeeper a(Folder(), RealFileSystem(), timing_);
  LeaseKeeper b(Folder(), RealFileSystem(), timing_);
  {
    const auto lease = a.TryTake("x");
    ASSERT_TRUE(lease && *lease);
    EXPECT_FALSE(*b.TryTake("x"));
    EXPECT_FALSE(*a.TryTake("x"));
    EXPECT_TRUE(*b.TryTake("y"));
    EXPECT_TRUE(*b.HasAny("x"));
  }
  EXPECT_FALSE(*b.HasAny("x"));
  EXPECT_TRUE(*b.TryTake("x"));
  EXPECT_THAT(Names(), testing::IsEmpty());
}

TEST_F(LeasesTest, TheLeaseOfADeadHolderIsTakenAway) {
  LeaseKeeper a(Folder(), RealFileSystem(), timing_);
  LeaseKeeper b(Folder(), RealFileSystem(), timing_);
  auto lost = a.TryTake("x");
  ASSERT_TRUE(lost && *lost);
  AgeLease("x", std::chrono::seconds(59));
  EXPECT_FALSE(*b.TryTake("x"));
  AgeLease("x", std::chrono::seconds(61));
  const auto taken = b.TryTake("x");
  ASSERT_TRUE(taken && *taken);
  // The first holder comes back to life and lets go: not of the other's lease.
  lost->reset();
  EXPECT_FALSE(*a.TryTake("x"));
}

TEST_F(LeasesTest, AHeartKeepsALeaseAlive) {
  LeaseTiming fast = timing_;
  fast.heartbeat = std::chrono::milliseconds(1);
  LeaseKeeper a(Folder(), RealFileSystem(), fast);
  LeaseKeeper b(Folder(), RealFileSystem(), timing_);
  const auto lease = a.TryTake("x");
  ASSERT_TRUE(lease && *lease);
  AgeLease("x", std::chrono::hours(1));
  // The next beat makes it young again; until then it is nobody's.
  struct stat facts {};
  const time_t before = ::time(nullptr) - 1800;
  while (::stat((Folder() / "x").c_str(), &facts) == 0 && facts.st_mtime < before)
    std::this_thread::yield();
  EXPECT_FALSE(*b.TryTake("x"));
}

TEST_F(LeasesTest, SharersMeetAndAnOwnerIsAlone) {
  LeaseKeeper keepers[2] = {{Folder(), RealFileSystem(), timing_},
                            {Folder(), RealFileSystem(), timing_}};
  StoreLock a(root_ / ".corral", RealFileSystem(), &keepers[0]);
  StoreLock b(root_ / ".corral", RealFileSystem(), &keepers[1]);
  {
    const auto first = a.Share();
    const auto second = b.Share();
    ASSERT_TRUE(first && second);
    EXPECT_FALSE(a.TryOwn().value());
    EXPECT_FALSE(b.TryOwn().value());
  }
  const auto owner = a.TryOwn();
  ASSERT_TRUE(owner.value());
  EXPECT_FALSE(b.TryOwn().value());
}

TEST_F(LeasesTest, OwnersNeverOverlap) {
  LeaseKeeper keepers[2] = {{Folder(), RealFileSystem(), timing_},
                            {Folder(), RealFileSystem(), timing_}};
  StoreLock locks[2] = {{root_ / ".corral", RealFileSystem(), &keepers[0]},
                        {root_ / ".corral", RealFileSystem(), &keepers[1]}};
  std::atomic<int> n_owners = 0;
  std::atomic<int> n_sharers = 0;
  std::atomic<bool> is_wrong = false;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 25; ++i) {
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
  EXPECT_THAT(Names(), testing::IsEmpty());
}

TEST_F(LeasesTest, AServerThatDiedAtWorkDoesNotStopTheOthers) {
  StoreOptions options;
  options.locks = StoreLocks::kLeases;
  Open(options);
  CreateFrom("m", TinyGguf().Bytes());
  ASSERT_TRUE(RealFileSystem().WriteAtomically(Folder() / "shared-of-the-dead", "token"));
  AgeLease("shared-of-the-dead", std::chrono::seconds(61));
  ASSERT_TRUE(RealFileSystem().WriteAtomically(Folder() / "turn", "token"));
  AgeLease("turn", std::chrono::seconds(61));
  EXPECT_TRUE(store_->Delete(NameOf("m")));
  EXPECT_THAT(Names(), testing::IsEmpty());
}

}  // namespace
}  // namespace corral::models
