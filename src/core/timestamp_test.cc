#include "core/timestamp.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

#include <chrono>
#include <limits>
#include <optional>
#include <string>

namespace corral {
namespace {

// Sets TZ while it lives.
class ScopedZone {
 public:
  explicit ScopedZone(const char* zone) {
    if (const char* old = getenv("TZ")) old_ = old;
    setenv("TZ", zone, 1);
    tzset();
  }
  ~ScopedZone() {
    if (old_) {
      setenv("TZ", old_->c_str(), 1);
    } else {
      unsetenv("TZ");
    }
    tzset();
  }

 private:
  std::optional<std::string> old_;
};

TEST(Timestamp, PrintsOnlyTheDigitsThatCount) {
  EXPECT_EQ(FormatRfc3339({0, 0}, TimeZone::kUtc), "1970-01-01T00:00:00Z");
  EXPECT_EQ(FormatRfc3339({0, 120'000'000}, TimeZone::kUtc), "1970-01-01T00:00:00.12Z");
  EXPECT_EQ(FormatRfc3339({0, 1}, TimeZone::kUtc), "1970-01-01T00:00:00.000000001Z");
  EXPECT_EQ(FormatRfc3339Millis({0, 999'999'999}, TimeZone::kUtc), "1970-01-01T00:00:00.999Z");
  EXPECT_EQ(FormatRfc3339Millis({0, 0}, TimeZone::kUtc), "1970-01-01T00:00:00.000Z");
}

TEST(Timestamp, KnowsTheCalendar) {
  EXPECT_EQ(FormatRfc3339({951'782'400, 0}, TimeZone::kUtc), "2000-02-29T00:00:00Z");
  EXPECT_EQ(FormatRfc3339({-1, 0}, TimeZone::kUtc), "1969-12-31T23:59:59Z");
  EXPECT_EQ(FormatRfc3339({4'107'542'400, 0}, TimeZone::kUtc), "2100-03-01T00:00:00Z");
  EXPECT_EQ(FormatRfc3339(Timestamp::GoZero(), TimeZone::kUtc), "0001-01-01T00:00:00Z");
}

TEST(Timestamp, ReadsWhatItPrints) {
  for (const char* text :
       {"0001-01-01T00:00:00Z", "1969-12-31T23:59:59.5Z", "2024-02-29T12:34:56.123456789Z",
        "2318-11-11T01:02:03Z", "9999-12-31T23:59:59Z"}) {
    const auto time = ParseRfc3339(text);
    ASSERT_TRUE(time) << text;
    EXPECT_EQ(FormatRfc3339(*time, TimeZone::kUtc), text);
  }
}

TEST(Timestamp, ReadsOffsetsAndManyDigits) {
  EXPECT_EQ(ParseRfc3339("2026-08-01T12:00:00+02:00").value(),
            ParseRfc3339("2026-08-01T10:00:00Z").value());
  EXPECT_EQ(ParseRfc3339("2026-08-01T05:30:00-04:30").value(),
            ParseRfc3339("2026-08-01T10:00:00z").value());
  EXPECT_EQ(ParseRfc3339("1970-01-01t00:00:00.1234567899Z").value(), (Timestamp{0, 123'456'789}));
}

TEST(Timestamp, RefusesWhatIsNoTime) {
  for (const char* text :
       {"", "2026-08-01", "2026-08-01T10:00:00", "2026-13-01T10:00:00Z", "2026-02-29T10:00:00Z",
        "2026-08-01T24:00:00Z", "2026-08-01T10:60:00Z", "2026-08-01T10:00:00.Z",
        "2026-08-01T10:00:00Zx", "2026-08-01T10:00:00+2:00", "2026-08-01T10:00:00+25:00",
        "+026-08-01T10:00:00Z", "2026-08-01 10:00:00Z"}) {
    EXPECT_FALSE(ParseRfc3339(text)) << text;
  }
}

TEST(Timestamp, PrintsTheLocalOffset) {
  constexpr Timestamp kTime{1'785'578'400, 0};  // 2026-08-01T10:00:00Z
  {
    const ScopedZone zone("XXX-2");  // POSIX: two hours east
    EXPECT_EQ(FormatRfc3339(kTime, TimeZone::kLocal), "2026-08-01T12:00:00+02:00");
  }
  {
    const ScopedZone zone("XXX4:30");
    EXPECT_EQ(FormatRfc3339(kTime, TimeZone::kLocal), "2026-08-01T05:30:00-04:30");
  }
  {
    const ScopedZone zone("UTC0");
    EXPECT_EQ(FormatRfc3339Millis(kTime, TimeZone::kLocal), "2026-08-01T10:00:00.000Z");
  }
}

TEST(Timestamp, ComesFromTheClock) {
  const std::chrono::system_clock::time_point before_epoch{std::chrono::milliseconds(-1)};
  EXPECT_EQ(Timestamp(before_epoch), (Timestamp{-1, 999'000'000}));
}

TEST(Timestamp, AddsWithCarryAndStopsAtTheEnds) {
  EXPECT_EQ(Timestamp(1, 999'999'999).Plus(std::chrono::nanoseconds(2)), (Timestamp{2, 1}));
  EXPECT_EQ(Timestamp(1, 0).Plus(std::chrono::nanoseconds(-1)), (Timestamp{0, 999'999'999}));
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(Timestamp(kMost, 0).Plus(std::chrono::seconds(5)).seconds, kMost);
  EXPECT_FALSE(FormatRfc3339({kMost, 0}, TimeZone::kLocal).empty());
}

}  // namespace
}  // namespace corral
