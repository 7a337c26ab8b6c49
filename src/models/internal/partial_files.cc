#include "models/internal/partial_files.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/text.h"

namespace corral::models::internal {

namespace {

constexpr std::string_view kSuffix = "-partial";

// An integer that fits; nullopt for all else.
std::optional<std::int64_t> IntegerOf(const nlohmann::json& value) {
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX)) {
    return static_cast<std::int64_t>(value.get<std::uint64_t>());
  }
  if (value.is_number_integer() && !value.is_number_unsigned()) return value.get<std::int64_t>();
  return std::nullopt;
}

std::optional<std::int64_t> Field(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? std::nullopt : IntegerOf(*found);
}

}  // namespace

std::optional<std::string> PartialGroup(std::string_view file_name) {
  const std::size_t digest_size = std::string_view("sha256-").size() + 64;
  if (file_name.size() < digest_size + kSuffix.size()) return std::nullopt;
  const std::string_view rest = file_name.substr(digest_size);
  if (!Digest::Parse(file_name.substr(0, digest_size)) || !rest.starts_with(kSuffix))
    return std::nullopt;
  const std::string_view number = rest.substr(kSuffix.size());
  if (!number.empty() && (number.front() != '-' || !ParseUint(number.substr(1))))
    return std::nullopt;
  return std::string(file_name.substr(0, digest_size + kSuffix.size()));
}

std::string EncodePart(std::size_t n, ByteRanges::Range part, const ByteRanges& present) {
  const std::int64_t run_end = std::min(present.RunEnd(part.begin), part.end);
  std::string text = "{\"N\":" + std::to_string(n) + ",\"Offset\":" + std::to_string(part.begin) +
                     ",\"Size\":" + std::to_string(part.end - part.begin) +
                     ",\"Completed\":" + std::to_string(run_end - part.begin);
  std::string more;
  for (const ByteRanges::Range& range : present.ranges()) {
    const std::int64_t begin = std::max(range.begin, part.begin);
    const std::int64_t end = std::min(range.end, part.end);
    if (begin <= run_end || begin >= end) continue;
    if (!more.empty()) more += ",";
    more += "[" + std::to_string(begin) + "," + std::to_string(end) + "]";
  }
  if (!more.empty()) text += ",\"Ranges\":[" + more + "]";
  return text + "}\n";
}

void AddPart(std::string_view json, std::int64_t size_bytes, ByteRanges* present) {
  const nlohmann::json part = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!part.is_object()) return;
  const auto offset = Field(part, "Offset");
  const auto size = Field(part, "Size");
  const auto completed = Field(part, "Completed");
  if (!offset || !size || !completed || *offset < 0 || *offset > size_bytes || *size < 0 ||
      *size > size_bytes - *offset || *completed < 0 || *completed > *size) {
    return;
  }
  present->Add(*offset, *offset + *completed);
  const auto ranges = part.find("Ranges");
  if (ranges == part.end() || !ranges->is_array()) return;
  for (const nlohmann::json& range : *ranges) {
    if (!range.is_array() || range.size() != 2) continue;
    const auto begin = IntegerOf(range[0]);
    const auto end = IntegerOf(range[1]);
    if (begin && end && *begin >= *offset && *end <= *offset + *size) present->Add(*begin, *end);
  }
}

std::vector<std::pair<std::uint64_t, std::filesystem::path>> StateFiles(
    const std::filesystem::path& partial) {
  std::vector<std::pair<std::uint64_t, std::filesystem::path>> found;
  const std::string prefix = partial.filename().native() + "-";
  std::error_code error;
  for (std::filesystem::directory_iterator at(partial.parent_path(), error), end;
       !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().native();
    if (!name.starts_with(prefix)) continue;
    if (const auto n = ParseUint(std::string_view(name).substr(prefix.size())))
      found.emplace_back(*n, at->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace corral::models::internal
