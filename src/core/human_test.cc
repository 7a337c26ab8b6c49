#include <gtest/gtest.h>

#include <chrono>

#include "core/text.h"

namespace corral {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr Timestamp kNow{1'785'578'400, 500};
constexpr hours kDay{24};

std::string At(nanoseconds from_now) { return HumanTime(kNow.Plus(from_now), kNow, "Never"); }

TEST(HumanBytes, CountsInPowersOfAThousand) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(1'000), "1 KB");
  EXPECT_EQ(HumanBytes(1'500), "1.5 KB");
  EXPECT_EQ(HumanBytes(9'999), "10.0 KB");
  EXPECT_EQ(HumanBytes(999'999), "999 KB");
  EXPECT_EQ(HumanBytes(1'234'567), "1.2 MB");
  EXPECT_EQ(HumanBytes(397'821'319), "397 MB");
  EXPECT_EQ(HumanBytes(1'999'999'999'999), "2.0 TB");
  EXPECT_EQ(HumanBytes(1'024), "1.0 KB");
  EXPECT_EQ(HumanBytes(5'000'000'000'000'000), "5000 TB");
  EXPECT_EQ(HumanBytes(-5), "-5 B");
}

TEST(HumanBinaryBytes, CountsInPowersOf1024) {
  EXPECT_EQ(HumanBinaryBytes(1'023), "1023 B");
  EXPECT_EQ(HumanBinaryBytes(1'536), "1.5 KiB");
  EXPECT_EQ(HumanBinaryBytes(2ULL << 30), "2.0 GiB");
}

TEST(HumanNumber, ShortensFromAThousandOn) {
  EXPECT_EQ(HumanNumber(999), "999");
  EXPECT_EQ(HumanNumber(1'500), "2K");
  EXPECT_EQ(HumanNumber(134'515'008), "134.52M");
  EXPECT_EQ(HumanNumber(1'000'000), "1M");
  EXPECT_EQ(HumanNumber(3'212'749'888), "3.2B");
  EXPECT_EQ(HumanNumber(70'553'706'496), "70.6B");
  EXPECT_EQ(HumanNumber(1'000'000'000'000), "1000B");
}

TEST(HumanTime, SpeaksOfThePast) {
  EXPECT_EQ(At(-milliseconds(999)), "Less than a second ago");
  EXPECT_EQ(At(-seconds(1)), "1 second ago");
  EXPECT_EQ(At(-seconds(59)), "59 seconds ago");
  EXPECT_EQ(At(-seconds(60)), "About a minute ago");
  EXPECT_EQ(At(-minutes(59)), "59 minutes ago");
  EXPECT_EQ(At(-minutes(60)), "About an hour ago");
  EXPECT_EQ(At(-minutes(91)), "2 hours ago");
  EXPECT_EQ(At(-hours(47)), "47 hours ago");
  EXPECT_EQ(At(-hours(48)), "2 days ago");
  EXPECT_EQ(At(-14 * kDay), "2 weeks ago");
  EXPECT_EQ(At(-59 * kDay), "8 weeks ago");
  EXPECT_EQ(At(-60 * kDay), "2 months ago");
  EXPECT_EQ(At(-731 * kDay), "2 years ago");
}

TEST(HumanTime, SpeaksOfTheFuture) {
  EXPECT_EQ(At(minutes(4) + seconds(30)), "4 minutes from now");
  EXPECT_EQ(At(20 * 365 * kDay), "20 years from now");
  EXPECT_EQ(At(200 * 365 * kDay), "Forever");
  EXPECT_EQ(HumanTime(ParseRfc3339("2318-11-11T00:00:00Z").value(), kNow, "Never"), "Forever");
  EXPECT_EQ(HumanTime(Timestamp::GoZero(), kNow, "Never"), "Never");
}

}  // namespace
}  // namespace corral
