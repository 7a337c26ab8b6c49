// A bounded, buffered view of a file for reading forward: every read is checked against the end
// first.
//
// Uses pread: the descriptor's position is neither used nor moved. One thread at a time. Blocking.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/result.h"

namespace corral::gguf {

class Window {
 public:
  // Bytes [0, end) of `fd`, which must outlive the window.
  Window(int fd, std::uint64_t end);

  std::uint64_t position() const { return position_; }
  std::uint64_t Remaining() const { return end_ - position_; }

  // False, with nothing consumed, if fewer than `size` bytes remain; false as well when the
  // operating system fails or the file has become shorter (then error() says so).
  bool Read(void* to, std::size_t size);
  // Moves on without reading. False, with nothing moved, if fewer than `size` bytes remain.
  bool Skip(std::uint64_t size);

  // errno of a failed read, 0 when there was none.
  int error() const { return error_; }

 private:
  static constexpr std::size_t kBufferBytes = std::size_t{64} << 10;
  // Fills the buffer from position_; false on a failure or at the end of the file.
  bool Fill();

  int fd_;
  std::uint64_t end_;
  std::uint64_t position_ = 0;
  std::uint64_t buffer_start_ = 0;  // file position of buffer_[0]
  std::size_t buffer_size_ = 0;     // valid bytes in buffer_
  std::unique_ptr<char[]> buffer_;
  int error_ = 0;
};

}  // namespace corral::gguf
