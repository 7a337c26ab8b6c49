#include "core/timestamp.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <limits>

#include "core/text.h"

namespace corral {
namespace {

constexpr std::int64_t kNanosecondsOfASecond = 1'000'000'000;
constexpr std::int64_t kSecondsOfADay = 86'400;

std::int64_t FloorDivide(std::int64_t value, std::int64_t divisor) {
  return value / divisor - (value % divisor < 0 ? 1 : 0);
}

struct CivilTime {
  std::int64_t year;
  unsigned month, day, hour, minute, second;
};

// Days since 1970-01-01 and back, in the proleptic Gregorian calendar (Howard Hinnant,
// "chrono-compatible low-level date algorithms"). std::chrono::year ends at 32767 and GCC 12 has no
// zones.
std::int64_t DaysFromCivil(std::int64_t year, unsigned month, unsigned day) {
  year -= month <= 2 ? 1 : 0;
  const std::int64_t era = FloorDivide(year, 400);
  const auto year_of_era = static_cast<unsigned>(year - era * 400);
  const unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146'097 + static_cast<std::int64_t>(day_of_era) - 719'468;
}

CivilTime CivilFromSeconds(std::int64_t seconds) {
  const std::int64_t days = FloorDivide(seconds, kSecondsOfADay);
  const auto second_of_day = static_cast<unsigned>(seconds - days * kSecondsOfADay);
  const std::int64_t shifted = days + 719'468;
  const std::int64_t era = FloorDivide(shifted, 146'097);
  const auto day_of_era = static_cast<unsigned>(shifted - era * 146'097);
  const unsigned year_of_era =
      (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const unsigned day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const unsigned month_index = (5 * day_of_year + 2) / 153;  // from March
  const unsigned month = month_index < 10 ? month_index + 3 : month_index - 9;
  CivilTime civil{};
  civil.year = static_cast<std::int64_t>(year_of_era) + era * 400 + (month <= 2 ? 1 : 0);
  civil.month = month;
  civil.day = day_of_year - (153 * month_index + 2) / 5 + 1;
  civil.hour = second_of_day / 3'600;
  civil.minute = second_of_day / 60 % 60;
  civil.second = second_of_day % 60;
  return civil;
}

// Seconds east of Greenwich.
std::int64_t ZoneOffset(Timestamp time, TimeZone zone) {
  if (zone == TimeZone::kUtc) return 0;
  const auto seconds = static_cast<time_t>(time.seconds);
  tm local{};
  if (localtime_r(&seconds, &local) == nullptr) return 0;
  return local.tm_gmtoff;
}

std::string Format(Timestamp time, TimeZone zone, std::string_view fraction) {
  // Far outside of any calendar; keeps the sums below within 64 bits.
  constexpr std::int64_t kFarthest = std::int64_t{1} << 60;
  time.seconds = std::clamp(time.seconds, -kFarthest, kFarthest);
  const std::int64_t offset = ZoneOffset(time, zone);
  const CivilTime civil = CivilFromSeconds(time.seconds + offset);
  std::string text = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}", civil.year, civil.month,
                                 civil.day, civil.hour, civil.minute, civil.second, fraction);
  if (offset == 0) return text + "Z";
  const std::int64_t minutes = (offset < 0 ? -offset : offset) / 60;
  return text + fmt::format("{}{:02}:{:02}", offset < 0 ? '-' : '+', minutes / 60, minutes % 60);
}

// Takes exactly `n` digits from the front of `text`.
bool TakeNumber(std::string_view& text, std::size_t n, unsigned& value) {
  if (text.size() < n) return false;
  const auto number = ParseUint(text.substr(0, n));
  if (!number) return false;
  value = static_cast<unsigned>(*number);
  text.remove_prefix(n);
  return true;
}

bool TakeChar(std::string_view& text, std::string_view allowed) {
  if (text.empty() || allowed.find(text[0]) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

unsigned DaysOfMonth(unsigned year, unsigned month) {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

}  // namespace

Timestamp::Timestamp(std::chrono::system_clock::time_point time) {
  const std::int64_t total =
      std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  seconds = FloorDivide(total, kNanosecondsOfASecond);
  nanoseconds = static_cast<std::int32_t>(total - seconds * kNanosecondsOfASecond);
}

Timestamp Timestamp::Plus(std::chrono::nanoseconds duration) const {
  const std::int64_t count = duration.count();
  std::int64_t more = FloorDivide(count, kNanosecondsOfASecond);
  std::int64_t rest = nanoseconds + (count - more * kNanosecondsOfASecond);
  if (rest >= kNanosecondsOfASecond) {
    rest -= kNanosecondsOfASecond;
    ++more;
  }
  using Limits = std::numeric_limits<std::int64_t>;
  if (more > 0 && seconds > Limits::max() - more) return {Limits::max(), 0};
  if (more < 0 && seconds < Limits::min() - more) return {Limits::min(), 0};
  return {seconds + more, static_cast<std::int32_t>(rest)};
}

std::string FormatRfc3339(Timestamp time, TimeZone zone) {
  std::string fraction;
  if (time.nanoseconds != 0) {
    fraction = fmt::format(".{:09}", time.nanoseconds);
    fraction.erase(fraction.find_last_not_of('0') + 1);
  }
  return Format(time, zone, fraction);
}

std::string FormatRfc3339Millis(Timestamp time, TimeZone zone) {
  return Format(time, zone, fmt::format(".{:03}", time.nanoseconds / 1'000'000));
}

Result<Timestamp> ParseRfc3339(std::string_view text) {
  const auto fail = [text] {
    return Fail(Code::kInvalidArgument, "not an RFC 3339 time: " + GoQuote(text));
  };
  std::string_view rest = text;
  unsigned year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  if (!TakeNumber(rest, 4, year) || !TakeChar(rest, "-") || !TakeNumber(rest, 2, month) ||
      !TakeChar(rest, "-") || !TakeNumber(rest, 2, day) || !TakeChar(rest, "Tt") ||
      !TakeNumber(rest, 2, hour) || !TakeChar(rest, ":") || !TakeNumber(rest, 2, minute) ||
      !TakeChar(rest, ":") || !TakeNumber(rest, 2, second)) {
    return fail();
  }
  if (month < 1 || month > 12 || day < 1 || day > DaysOfMonth(year, month) || hour > 23 ||
      minute > 59 || second > 59) {
    return fail();
  }
  std::int32_t nanoseconds = 0;
  if (TakeChar(rest, ".")) {
    std::int32_t scale = 100'000'000;
    std::size_t n_digits = 0;
    for (unsigned digit = 0; TakeNumber(rest, 1, digit); ++n_digits) {
      nanoseconds += static_cast<std::int32_t>(digit) * scale;
      scale /= 10;  // digits after the ninth count nothing
    }
    if (n_digits == 0) return fail();
  }
  std::int64_t offset = 0;
  if (!TakeChar(rest, "Zz")) {
    const bool is_west = rest.starts_with('-');
    unsigned offset_hours = 0, offset_minutes = 0;
    if (!TakeChar(rest, "+-") || !TakeNumber(rest, 2, offset_hours) || !TakeChar(rest, ":") ||
        !TakeNumber(rest, 2, offset_minutes) || offset_hours > 23 || offset_minutes > 59) {
      return fail();
    }
    offset = static_cast<std::int64_t>(offset_hours) * 3'600 +
             static_cast<std::int64_t>(offset_minutes) * 60;
    if (is_west) offset = -offset;
  }
  if (!rest.empty()) return fail();
  const std::int64_t seconds = DaysFromCivil(year, month, day) * kSecondsOfADay +
                               static_cast<std::int64_t>(hour) * 3'600 +
                               static_cast<std::int64_t>(minute) * 60 + second - offset;
  return Timestamp{seconds, nanoseconds};
}

}  // namespace corral
