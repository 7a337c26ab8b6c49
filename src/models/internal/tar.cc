#include "models/internal/tar.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>

namespace corral::models::internal {
namespace {

// Places in a header: offset and length.
struct Field {
  std::size_t offset, length;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12},
    kTime{136, 12}, kSum{148, 8}, kType{156, 1}, kMagic{257, 8}, kPrefix{345, 155};
constexpr std::uint64_t kMostOctalSize = 077777777777ULL;

using Block = std::array<char, kTarBlock>;

tl::unexpected<Error> Refuse(std::string why) {
  return Fail(Code::kInvalidArgument, std::move(why));
}

void Put(Block* block, Field field, std::string_view text) {
  std::copy_n(text.data(), std::min(text.size(), field.length), block->data() + field.offset);
}

void PutOctal(Block* block, Field field, std::uint64_t value) {
  char text[24];
  const int n = std::snprintf(text, sizeof(text), "%0*llo", static_cast<int>(field.length) - 1,
                              static_cast<unsigned long long>(value));
  Put(block, field, {text, static_cast<std::size_t>(n)});
}

std::string_view TextOf(const Block& block, Field field) {
  const std::string_view text(block.data() + field.offset, field.length);
  return text.substr(0, text.find('\0'));
}

// Octal digits, or (GNU) a binary number behind a byte 0x80.
std::optional<std::uint64_t> NumberOf(const Block& block, Field field) {
  const std::string_view raw(block.data() + field.offset, field.length);
  if ((static_cast<unsigned char>(raw[0]) & 0x80U) != 0) {
    if (static_cast<unsigned char>(raw[0]) != 0x80U) return std::nullopt;
    std::uint64_t value = 0;
    for (const char c : raw.substr(1)) {
      if (value >> 56U != 0) return std::nullopt;
      value = value << 8U | static_cast<unsigned char>(c);
    }
    return value;
  }
  std::string_view text = TextOf(block, field);
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  if (text.empty()) return 0;
  std::uint64_t value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value, 8);
  if (end.ec != std::errc() || end.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

// The sum of all bytes, with blanks in the place of the sum itself.
std::uint64_t SumOf(const Block& block) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < block.size(); ++i) {
    const bool is_sum = i >= kSum.offset && i < kSum.offset + kSum.length;
    sum += is_sum ? ' ' : static_cast<unsigned char>(block[i]);
  }
  return sum;
}

std::string EncodeBlock(std::string_view name, std::string_view prefix, std::uint64_t size,
                        char type, std::int64_t mtime_s) {
  Block block{};
  Put(&block, kName, name);
  Put(&block, kPrefix, prefix);
  PutOctal(&block, kMode, 0644);
  PutOctal(&block, kUid, 0);
  PutOctal(&block, kGid, 0);
  PutOctal(&block, kSize, std::min(size, kMostOctalSize));
  PutOctal(&block, kTime, static_cast<std::uint64_t>(std::max<std::int64_t>(mtime_s, 0)));
  block[kType.offset] = type;
  Put(&block, kMagic, std::string_view("ustar\00000", 8));
  PutOctal(&block, {kSum.offset, 7}, SumOf(block));
  block[kSum.offset + 7] = ' ';
  return {block.data(), block.size()};
}

// "30 path=blobs/...\n": its length counts itself.
std::string PaxRecord(const std::string& key, const std::string& value) {
  const std::size_t rest = key.size() + value.size() + 3;  // blank, '=', newline
  std::size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length)
    length = std::to_string(length).size() + rest;
  return std::to_string(length) + " " + key + "=" + value + "\n";
}

}  // namespace

std::string EncodeTarHeader(const TarHeader& header, std::int64_t mtime_s) {
  std::string_view name = header.path;
  std::string_view prefix;
  std::string records;
  if (name.size() > kName.length) {
    const std::size_t slash = header.path.rfind('/', kPrefix.length);
    if (slash != std::string::npos && header.path.size() - slash - 1 <= kName.length) {
      prefix = name.substr(0, slash);
      name = name.substr(slash + 1);
    } else {
      records += PaxRecord("path", header.path);
      name = name.substr(0, kName.length);
    }
  }
  if (header.size > kMostOctalSize) records += PaxRecord("size", std::to_string(header.size));
  std::string bytes;
  if (!records.empty()) {
    bytes = EncodeBlock("pax", "", records.size(), 'x', mtime_s) + records;
    bytes.resize(bytes.size() + TarPadding(records.size()));
  }
  return bytes + EncodeBlock(name, prefix, header.size, header.type, mtime_s);
}

Result<std::optional<TarHeader>> DecodeTarHeader(const Block& block) {
  if (block == Block{}) return std::optional<TarHeader>();
  const auto sum = NumberOf(block, kSum);
  if (!sum || *sum != SumOf(block)) return Refuse("the archive is no tar file, or it is damaged");
  const auto size = NumberOf(block, kSize);
  if (!size) return Refuse("a size in the archive is no number");
  TarHeader header;
  header.size = *size;
  header.type = block[kType.offset] == '\0' ? '0' : block[kType.offset];
  header.path = TextOf(block, kName);
  // GNU's own headers have other things where POSIX has the prefix.
  const bool is_posix =
      std::string_view(block.data() + kMagic.offset, 6) == std::string_view("ustar\0", 6);
  const std::string prefix(is_posix ? TextOf(block, kPrefix) : "");
  if (!prefix.empty()) header.path = prefix + "/" + header.path;
  return std::optional(std::move(header));
}

Result<PaxRecords> DecodePax(std::string_view text) {
  PaxRecords records;
  while (!text.empty()) {
    std::size_t length = 0;
    const auto end = std::from_chars(text.data(), text.data() + text.size(), length);
    const auto digits = static_cast<std::size_t>(end.ptr - text.data());
    if (end.ec != std::errc() || length > text.size() || length < digits + 3 ||
        text[digits] != ' ' || text[length - 1] != '\n')
      return Refuse("a pax record in the archive is broken");
    const std::string_view record = text.substr(digits + 1, length - digits - 2);
    const std::size_t equals = record.find('=');
    if (equals == std::string_view::npos) return Refuse("a pax record in the archive is broken");
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key == "path") records.path = std::string(value);
    if (key == "size") {
      std::uint64_t size = 0;
      const auto read = std::from_chars(value.data(), value.data() + value.size(), size);
      if (read.ec != std::errc() || read.ptr != value.data() + value.size())
        return Refuse("a size in the archive is no number");
      records.size = size;
    }
    text.remove_prefix(length);
  }
  return records;
}

}  // namespace corral::models::internal
