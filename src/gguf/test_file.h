// For tests of this room: GGUF files put together byte by byte, well formed or not, and read back.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "gguf/reader.h"

namespace corral::gguf {

template <class T>
std::string Encoded(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

inline std::string EncodedString(std::string_view text) {
  return Encoded<std::uint64_t>(text.size()) + std::string(text);
}

inline std::string EncodedType(ValueType type) { return Encoded(static_cast<std::uint32_t>(type)); }

// A file in memory that can be read again with other contents.
class MemoryFile {
 public:
  MemoryFile() : fd_(::memfd_create("gguf_test", MFD_CLOEXEC)) {}
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  Result<Info> Read(std::string_view bytes, const ReadOptions& options = {}) const {
    if (::ftruncate(fd_, 0) != 0 ||
        ::pwrite(fd_, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
      return Fail(Code::kInternal, "the test cannot write its file");
    }
    return ReadFd(fd_, options);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

inline Result<Info> ReadBytes(std::string_view bytes, const ReadOptions& options = {}) {
  return MemoryFile().Read(bytes, options);
}

// The parts of a file, in order; the counts in the header follow the parts unless a test sets them.
struct RawFile {
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::uint64_t n_tensors = 0;
  std::uint64_t n_keys = 0;
  std::string keys;
  std::string tensors;
  std::string data;

  RawFile& Key(std::string_view key, ValueType type, std::string_view bytes) {
    ++n_keys;
    keys += EncodedString(key) + EncodedType(type) + std::string(bytes);
    return *this;
  }
  RawFile& Uint32(std::string_view key, std::uint32_t value) {
    return Key(key, ValueType::kUint32, Encoded(value));
  }
  RawFile& String(std::string_view key, std::string_view value) {
    return Key(key, ValueType::kString, EncodedString(value));
  }
  RawFile& ArrayKey(std::string_view key, ValueType type, std::uint64_t size,
                    std::string_view bytes) {
    return Key(key, ValueType::kArray, EncodedType(type) + Encoded(size) + std::string(bytes));
  }
  RawFile& Tensor(std::string_view name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
                  std::uint64_t offset) {
    ++n_tensors;
    tensors += EncodedString(name) + Encoded(static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t dim : dims) tensors += Encoded(dim);
    tensors += Encoded(type) + Encoded(offset);
    return *this;
  }
  RawFile& Data(std::size_t size) {
    data = std::string(size, '\x01');
    return *this;
  }

  std::string Bytes(std::size_t alignment = 32) const {
    std::string bytes =
        magic + Encoded(version) + Encoded(n_tensors) + Encoded(n_keys) + keys + tensors;
    if (!data.empty()) bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
    return bytes + data;
  }
};

}  // namespace corral::gguf
