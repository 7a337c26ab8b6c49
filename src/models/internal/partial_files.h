// The names and the state files of downloads: `sha256-<hex>-partial` and
// `sha256-<hex>-partial-<N>`.
//
// Thread-safe. Blocking (disk).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/internal/layout.h"
#include "models/partial.h"

namespace corral::models::internal {

// "sha256-<hex>-partial" of the name of a partial file or of one of its state files.
std::optional<std::string> PartialGroup(std::string_view file_name);

// The state of part N, as Ollama writes it: {"N":0,"Offset":0,"Size":10,"Completed":4} and a
// newline. What is there behind the first gap goes into "Ranges":[[6,8]], which Ollama does not
// read.
std::string EncodePart(std::size_t n, ByteRanges::Range part, const ByteRanges& present);
// What a state file says is there, within a blob of `size_bytes`. Nothing if it makes no sense.
void AddPart(std::string_view json, std::int64_t size_bytes, ByteRanges* present);

// The state files that are there, as N and path.
std::vector<std::pair<std::uint64_t, std::filesystem::path>> StateFiles(
    const std::filesystem::path& partial);

}  // namespace corral::models::internal
