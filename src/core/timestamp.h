// A moment of wall-clock time with the range of Go's time.Time: from before the year 1 to after the
// year 9999, in nanoseconds. std::chrono::system_clock counts nanoseconds in 64 bits and ends in
// 2262; `expires_at` of a model that stays for ever is in 2318, and Go's zero time is in the
// year 1.
//
// Plain values, thread-safe.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace corral {

struct Timestamp {
  std::int64_t seconds = 0;      // since 1970-01-01T00:00:00Z
  std::int32_t nanoseconds = 0;  // 0 to 999,999,999

  constexpr Timestamp() = default;
  constexpr Timestamp(std::int64_t s, std::int32_t ns) : seconds(s), nanoseconds(ns) {}
  // Implicit: the clock's own type is what callers hold.
  Timestamp(std::chrono::system_clock::time_point time);  // NOLINT(google-explicit-constructor)

  static Timestamp Now() { return std::chrono::system_clock::now(); }
  // time.Time{}: 0001-01-01T00:00:00Z.
  static constexpr Timestamp GoZero() { return {-62'135'596'800, 0}; }
  bool IsGoZero() const { return *this == GoZero(); }

  // Stops at the ends of the range of int64 seconds.
  Timestamp Plus(std::chrono::nanoseconds duration) const;

  auto operator<=>(const Timestamp&) const = default;
};

enum class TimeZone { kUtc, kLocal };

// RFC 3339 with up to nine fractional digits, trailing zeros cut (Go's time.RFC3339Nano, as its
// JSON has it): "2026-08-01T10:00:00.12Z", "2026-08-01T12:00:00+02:00". A local zone without offset
// is printed as Z too.
std::string FormatRfc3339(Timestamp time, TimeZone zone);
// Always three fractional digits, as Go's slog text handler.
std::string FormatRfc3339Millis(Timestamp time, TimeZone zone);
// Errors: kInvalidArgument.
Result<Timestamp> ParseRfc3339(std::string_view text);

}  // namespace corral
