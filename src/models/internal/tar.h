// The blocks of a tar file: headers to bytes and back. POSIX.1-2001 pax (pubs.opengroup.org, pax,
// "ustar Interchange Format"), and GNU tar's long names and binary sizes when reading.
//
// Pure. Trusts no number.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"

namespace corral::models::internal {

inline constexpr std::size_t kTarBlock = 512;

constexpr std::uint64_t TarPadding(std::uint64_t size) {
  return (kTarBlock - size % kTarBlock) % kTarBlock;
}

struct TarHeader {
  std::string path;
  std::uint64_t size = 0;
  // '0' and '\0' a file, '5' a folder, 'x' and 'g' pax records, 'L' a GNU long name; others are
  // links, devices and the like.
  char type = '0';
};

// The header's blocks, with a pax record in front where ustar has no room. `mtime_s`: since 1970.
std::string EncodeTarHeader(const TarHeader& header, std::int64_t mtime_s);

// nullopt: a block of zeros, the end. Errors: kInvalidArgument (no tar header).
Result<std::optional<TarHeader>> DecodeTarHeader(const std::array<char, kTarBlock>& block);

// The records of a pax header, into the header that follows it. Errors: kInvalidArgument.
struct PaxRecords {
  std::optional<std::string> path;
  std::optional<std::uint64_t> size;
};
Result<PaxRecords> DecodePax(std::string_view text);

}  // namespace corral::models::internal
