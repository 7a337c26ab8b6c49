#include "engine/media_memory.h"

#include <gmock/gmock.h>

#include <utility>

namespace corral::engine {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kMiB = 1 << 20;

TEST(MediaMemory, BoundsAllHoldsTogether) {
  MediaMemory memory(10 * kMiB);
  MediaMemory::Hold one = memory.Begin();
  MediaMemory::Hold other = memory.Begin();
  ASSERT_TRUE(one.Resize(6 * kMiB));
  ASSERT_TRUE(other.Resize(4 * kMiB));
  const Status refused = other.Resize(4 * kMiB + 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kBusy);
  EXPECT_THAT(refused.error().message, HasSubstr("please try again"));
  EXPECT_THAT(refused.error().message, HasSubstr("10 MiB"));
  EXPECT_EQ(memory.used_bytes(), 10 * kMiB) << "a refusal changes nothing";
}

TEST(MediaMemory, TakesWhatAHoldGivesBack) {
  MediaMemory memory(10 * kMiB);
  MediaMemory::Hold other = memory.Begin();
  {
    MediaMemory::Hold one = memory.Begin();
    ASSERT_TRUE(one.Resize(9 * kMiB));
    ASSERT_FALSE(other.Resize(5 * kMiB));
    ASSERT_TRUE(one.Resize(5 * kMiB));  // scaled down
    EXPECT_TRUE(other.Resize(5 * kMiB));
  }
  EXPECT_EQ(memory.used_bytes(), 5 * kMiB);
  EXPECT_TRUE(other.Resize(10 * kMiB));
}

TEST(MediaMemory, AHoldThatWasMovedGivesBackOnce) {
  MediaMemory memory(10 * kMiB);
  MediaMemory::Hold target = memory.Begin();
  ASSERT_TRUE(target.Resize(3 * kMiB));
  {
    MediaMemory::Hold one = memory.Begin();
    ASSERT_TRUE(one.Resize(7 * kMiB));
    target = std::move(one);
    EXPECT_EQ(memory.used_bytes(), 7 * kMiB) << "what the target had is given back";
  }
  EXPECT_EQ(memory.used_bytes(), 7 * kMiB);
  target = {};
  EXPECT_EQ(memory.used_bytes(), 0);
}

TEST(MediaMemory, SaysThatAPromptNeverFits) {
  MediaMemory memory(10 * kMiB);
  MediaMemory::Hold hold = memory.Begin();
  const Status refused = hold.Resize(11 * kMiB);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument) << "trying again would not help";
  EXPECT_THAT(refused.error().message, HasSubstr("11 MiB"));
}

}  // namespace
}  // namespace corral::engine
