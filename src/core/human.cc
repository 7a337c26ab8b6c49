// Sizes, counts and times for people, as in Ollama's format package (format/bytes.go,
// format/format.go, format/time.go).
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "core/text.h"

namespace corral {
namespace {

struct Unit {
  double size;
  const char* name;
};

std::string HumanDuration(double seconds) {
  const auto whole_seconds = static_cast<std::int64_t>(seconds);
  if (whole_seconds < 1) return "Less than a second";
  if (whole_seconds == 1) return "1 second";
  if (whole_seconds < 60) return fmt::format("{} seconds", whole_seconds);
  const std::int64_t minutes = whole_seconds / 60;
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return fmt::format("{} minutes", minutes);
  const auto hours = static_cast<std::int64_t>(std::round(seconds / 3600));
  if (hours == 1) return "About an hour";
  if (hours < 48) return fmt::format("{} hours", hours);
  if (hours < 24 * 7 * 2) return fmt::format("{} days", hours / 24);
  if (hours < 24 * 30 * 2) return fmt::format("{} weeks", hours / 24 / 7);
  if (hours < 24 * 365 * 2) return fmt::format("{} months", hours / 24 / 30);
  return fmt::format("{} years", whole_seconds / 3600 / 24 / 365);
}

}  // namespace

std::string HumanBytes(std::int64_t bytes) {
  constexpr std::array<Unit, 4> kUnits = {{{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "KB"}}};
  for (const Unit& unit : kUnits) {
    const double value = static_cast<double>(bytes) / unit.size;
    if (value < 1) continue;
    if (value >= 10 || value == std::trunc(value)) {
      return fmt::format("{} {}", static_cast<std::int64_t>(value), unit.name);
    }
    return fmt::format("{:.1f} {}", value, unit.name);
  }
  return fmt::format("{} B", bytes);
}

std::string HumanBinaryBytes(std::uint64_t bytes) {
  constexpr std::array<Unit, 4> kUnits = {
      {{1099511627776.0, "TiB"}, {1073741824.0, "GiB"}, {1048576.0, "MiB"}, {1024.0, "KiB"}}};
  for (const Unit& unit : kUnits) {
    const double value = static_cast<double>(bytes) / unit.size;
    if (value >= 1) return fmt::format("{:.1f} {}", value, unit.name);
  }
  return fmt::format("{} B", bytes);
}

std::string HumanNumber(std::uint64_t number) {
  const auto value = static_cast<double>(number);
  const auto is_whole = [](double scaled) { return scaled == std::floor(scaled); };
  if (number >= 1'000'000'000) {
    const double billions = value / 1e9;
    return is_whole(billions) ? fmt::format("{:.0f}B", billions) : fmt::format("{:.1f}B", billions);
  }
  if (number >= 1'000'000) {
    const double millions = value / 1e6;
    return is_whole(millions) ? fmt::format("{:.0f}M", millions) : fmt::format("{:.2f}M", millions);
  }
  if (number >= 1'000) return fmt::format("{:.0f}K", value / 1e3);
  return std::to_string(number);
}

std::string HumanTime(Timestamp time, Timestamp now, std::string_view zero_text) {
  if (time.IsGoZero()) return std::string(zero_text);
  const double ago =
      (static_cast<double>(now.seconds) - static_cast<double>(time.seconds)) +
      (static_cast<double>(now.nanoseconds) - static_cast<double>(time.nanoseconds)) * 1e-9;
  constexpr double kSecondsOfAYear = 365.0 * 24 * 3600;
  if (std::trunc(ago / kSecondsOfAYear) < -20) return "Forever";
  return ago < 0 ? HumanDuration(-ago) + " from now" : HumanDuration(ago) + " ago";
}

}  // namespace corral
