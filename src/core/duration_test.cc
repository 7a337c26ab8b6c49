#include <gtest/gtest.h>

#include <chrono>
#include <limits>

#include "core/settings.h"

namespace corral {
namespace {

using std::chrono::nanoseconds;

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kMinute = 60 * kSecond;
constexpr std::int64_t kHour = 60 * kMinute;
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();

// From Go's time_test.go, parseDurationTests.
TEST(GoDuration, ReadsWhatGoReads) {
  const std::pair<const char*, std::int64_t> kVectors[] = {
      {"0", 0},
      {"-0", 0},
      {"+0", 0},
      {"5s", 5 * kSecond},
      {"+5s", 5 * kSecond},
      {"-5s", -5 * kSecond},
      {"5.0s", 5 * kSecond},
      {"5.6s", 5 * kSecond + 600'000'000},
      {"5.s", 5 * kSecond},
      {".5s", 500'000'000},
      {"1.004s", kSecond + 4'000'000},
      {"100.00100s", 100 * kSecond + 1'000'000},
      {"10ns", 10},
      {"11us", 11'000},
      {"12\u00b5s", 12'000},
      {"12\u03bcs", 12'000},
      {"13ms", 13'000'000},
      {"3h30m", 3 * kHour + 30 * kMinute},
      {"10.5s4m", 4 * kMinute + 10 * kSecond + 500'000'000},
      {"-2m3.4s", -(2 * kMinute + 3 * kSecond + 400'000'000)},
      {"1h2m3s4ms5us6ns", kHour + 2 * kMinute + 3 * kSecond + 4'005'006},
      {"52763797000ns", 52'763'797'000},
      {"0.3333333333333333333h", 20 * kMinute},
      {"9007199254740993ns", 9'007'199'254'740'993},
      {"9223372036854775807ns", kMost},
      {"9223372036854775.807us", kMost},
      {"9223372036s854ms775us807ns", kMost},
      {"-9223372036854775808ns", kLeast},
      {"-9223372036854775.808us", kLeast},
      {"0.100000000000000000000h", 6 * kMinute},
      {"0.830103483285477580700h", 49 * kMinute + 48 * kSecond + 372'539'827},
  };
  for (const auto& [text, nanos] : kVectors) {
    const auto parsed = ParseGoDuration(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(parsed->count(), nanos) << text;
  }
}

// From Go's time_test.go, parseDurationErrorTests.
TEST(GoDuration, RefusesWithGosTexts) {
  const std::pair<const char*, const char*> kVectors[] = {
      {"", R"(time: invalid duration "")"},
      {"3", R"(time: missing unit in duration "3")"},
      {"300", R"(time: missing unit in duration "300")"},
      {"-", R"(time: invalid duration "-")"},
      {"s", R"(time: invalid duration "s")"},
      {".", R"(time: invalid duration ".")"},
      {"-.", R"(time: invalid duration "-.")"},
      {".s", R"(time: invalid duration ".s")"},
      {"+.s", R"(time: invalid duration "+.s")"},
      {"1d", R"(time: unknown unit "d" in duration "1d")"},
      {"\x85\x85", R"(time: invalid duration "\x85\x85")"},
      {"\xff"
       "ffff",
       R"(time: invalid duration "\xffffff")"},
      {"hello \xff world", R"(time: invalid duration "hello \xff world")"},
      {"\uFFFD", R"(time: invalid duration "\xef\xbf\xbd")"},
      {"1\"s", R"(time: unknown unit "\"s" in duration "1\"s")"},
      {"9223372036854775810ns", R"(time: invalid duration "9223372036854775810ns")"},
      {"9223372036854775808ns", R"(time: invalid duration "9223372036854775808ns")"},
      {"-9223372036854775809ns", R"(time: invalid duration "-9223372036854775809ns")"},
      {"9223372036854776us", R"(time: invalid duration "9223372036854776us")"},
      {"3000000h", R"(time: invalid duration "3000000h")"},
      {"9223372036854775.808us", R"(time: invalid duration "9223372036854775.808us")"},
      {"9223372036854ms775us808ns", R"(time: invalid duration "9223372036854ms775us808ns")"},
  };
  for (const auto& [text, message] : kVectors) {
    const auto parsed = ParseGoDuration(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().message, message);
    EXPECT_EQ(parsed.error().code, Code::kInvalidArgument);
  }
}

// From Go's time_test.go, durationTests.
TEST(GoDuration, PrintsAsGo) {
  const std::pair<const char*, std::int64_t> kVectors[] = {
      {"0s", 0},
      {"1ns", 1},
      {"1.1\u00b5s", 1'100},
      {"2.2ms", 2'200'000},
      {"350.2ms", 350'200'000},
      {"3.3s", 3'300'000'000},
      {"1s", kSecond},
      {"5m0s", 5 * kMinute},
      {"1m2.5s", kMinute + 2'500'000'000},
      {"4m5.001s", 4 * kMinute + 5'001'000'000},
      {"5h6m7.001s", 5 * kHour + 6 * kMinute + 7'001'000'000},
      {"1h0m0s", kHour},
      {"8m0.000000001s", 8 * kMinute + 1},
      {"-1.5s", -1'500'000'000},
      {"2562047h47m16.854775807s", kMost},
      {"-2562047h47m16.854775808s", kLeast},
  };
  for (const auto& [text, nanos] : kVectors) EXPECT_EQ(FormatGoDuration(nanoseconds(nanos)), text);
}

}  // namespace
}  // namespace corral
