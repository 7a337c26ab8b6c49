#include "gguf/window.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace corral::gguf {

Window::Window(int fd, std::uint64_t end)
    : fd_(fd), end_(end), buffer_(std::make_unique<char[]>(kBufferBytes)) {}

bool Window::Read(void* to, std::size_t size) {
  if (size > Remaining()) return false;
  auto* out = static_cast<char*>(to);
  while (size > 0) {
    const bool is_buffered = position_ >= buffer_start_ && position_ - buffer_start_ < buffer_size_;
    if (!is_buffered && !Fill()) return false;
    const auto from = static_cast<std::size_t>(position_ - buffer_start_);
    const std::size_t part = std::min(size, buffer_size_ - from);
    std::memcpy(out, buffer_.get() + from, part);
    out += part;
    size -= part;
    position_ += part;
  }
  return true;
}

bool Window::Skip(std::uint64_t size) {
  if (size > Remaining()) return false;
  position_ += size;
  return true;
}

bool Window::Fill() {
  const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(kBufferBytes, Remaining()));
  buffer_size_ = 0;
  for (;;) {
    const ssize_t got = ::pread(fd_, buffer_.get(), want, static_cast<off_t>(position_));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) error_ = errno;
    if (got <= 0) return false;
    buffer_start_ = position_;
    buffer_size_ = static_cast<std::size_t>(got);
    return true;
  }
}

}  // namespace corral::gguf
