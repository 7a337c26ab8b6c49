#include "models/partial.h"

#include <algorithm>

namespace corral::models {

void ByteRanges::Add(std::int64_t begin, std::int64_t end) {
  if (begin >= end) return;
  // The first range that touches or follows the new one, and the first that lies behind it.
  const auto first =
      std::lower_bound(ranges_.begin(), ranges_.end(), begin,
                       [](const Range& range, std::int64_t value) { return range.end < value; });
  auto last = first;
  while (last != ranges_.end() && last->begin <= end) {
    begin = std::min(begin, last->begin);
    end = std::max(end, last->end);
    ++last;
  }
  ranges_.insert(ranges_.erase(first, last), Range{begin, end});
}

std::int64_t ByteRanges::RunEnd(std::int64_t position) const {
  const auto after =
      std::upper_bound(ranges_.begin(), ranges_.end(), position,
                       [](std::int64_t value, const Range& range) { return value < range.end; });
  return after != ranges_.end() && after->begin <= position ? after->end : position;
}

std::optional<ByteRanges::Range> ByteRanges::FirstGap(std::int64_t begin, std::int64_t end) const {
  const std::int64_t from = RunEnd(begin);
  if (from >= end) return std::nullopt;
  const auto next =
      std::upper_bound(ranges_.begin(), ranges_.end(), from,
                       [](std::int64_t value, const Range& range) { return value < range.begin; });
  return Range{from, next == ranges_.end() ? end : std::min(end, next->begin)};
}

std::int64_t ByteRanges::TotalBytes() const {
  std::int64_t total = 0;
  for (const Range& range : ranges_) total += range.end - range.begin;
  return total;
}

std::vector<ByteRanges::Range> PlanParts(std::int64_t size_bytes) {
  constexpr std::int64_t kParts = 16;
  constexpr std::int64_t kLeastBytes = 100'000'000;
  constexpr std::int64_t kMostBytes = 1'000'000'000;
  const std::int64_t part_bytes = std::clamp(size_bytes / kParts, kLeastBytes, kMostBytes);
  std::vector<ByteRanges::Range> parts;
  for (std::int64_t begin = 0; begin < size_bytes; begin += part_bytes) {
    parts.push_back({begin, std::min(size_bytes, begin + part_bytes)});
  }
  return parts;
}

}  // namespace corral::models
