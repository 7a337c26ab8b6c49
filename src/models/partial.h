// A blob on its way in from a registry, in pieces: Ollama's partial files (docs/formats/store.md,
// Downloads), so that either goes on with what the other has begun.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/sha256.h"

namespace corral::models {

// Which bytes of a file are there: half-open ranges, disjoint, sorted. A value; one thread at a
// time.
class ByteRanges {
 public:
  struct Range {
    std::int64_t begin = 0, end = 0;
    bool operator==(const Range&) const = default;
  };

  void Add(std::int64_t begin, std::int64_t end);  // nothing if begin >= end
  // Where the run of bytes that are there from `position` on ends; `position` if that byte is not.
  std::int64_t RunEnd(std::int64_t position) const;
  // The first bytes in [begin, end) that are not there.
  std::optional<Range> FirstGap(std::int64_t begin, std::int64_t end) const;
  std::int64_t TotalBytes() const;
  const std::vector<Range>& ranges() const { return ranges_; }
  bool operator==(const ByteRanges&) const = default;

 private:
  std::vector<Range> ranges_;
};

// How Ollama cuts a blob into parts (server/download.go): 16 of them, of 100 MB to 1 GB each, the
// last one shorter.
std::vector<ByteRanges::Range> PlanParts(std::int64_t size_bytes);

// One owner at a time, among all processes on the store (flock on the partial file). Destroyed
// without Commit: what has arrived, as of the last Save, stays for the next. Must end before its
// store. WriteAt and ReadAt: any thread; the rest one thread at a time. Blocking.
class PartialBlob {
 public:
  virtual ~PartialBlob() = default;

  // What was there when it was opened. Not to be trusted before the hash is right.
  virtual const ByteRanges& found() const = 0;
  // Errors: kIo (disk full), kForbidden.
  virtual Status WriteAt(std::int64_t offset, std::string_view bytes) = 0;
  // As many bytes as there are, up to buffer's size. Errors: kIo.
  virtual Result<std::size_t> ReadAt(std::int64_t offset, std::span<char> buffer) = 0;
  // Has what is written on the disk and then says so in the state files. `present`: bytes that
  // WriteAt returned for, and found ones. Errors: kIo.
  virtual Status Save(const ByteRanges& present) = 0;
  // All is there, and `hash` is the hash of all bytes, read in order: fsync, rename to the blob's
  // name. Promises the blob for an hour (Store::HasBlob). Once only. Errors: kCorrupt `digest
  // mismatch, file must be downloaded again: want sha256:a, got sha256:b` (the files are removed),
  // kIo, kForbidden.
  virtual Status Commit(const Sha256::Hash& hash) = 0;
};

}  // namespace corral::models
