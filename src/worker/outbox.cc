#include "worker/outbox.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <utility>

namespace corral::worker {
namespace {

constexpr std::chrono::seconds kIdleTick{1};

// Bytes that the socket took without waiting; -1: the other side is gone.
ssize_t SendNow(int fd, std::string_view bytes) {
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t n =
        ::send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      sent += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      break;
    } else if (errno != EINTR) {
      return -1;
    }
  }
  return static_cast<ssize_t>(sent);
}

}  // namespace

Outbox::Outbox(int fd, std::function<void()> on_idle, std::function<void()> on_lost)
    : fd_(fd),
      on_idle_(std::move(on_idle)),
      on_lost_(std::move(on_lost)),
      writer_([this] { Write(); }) {}

Outbox::~Outbox() {
  {
    const std::lock_guard lock(mutex_);
    is_closing_ = true;
  }
  event_.notify_all();
}

bool Outbox::Send(std::string_view bytes) {
  {
    std::unique_lock lock(mutex_);
    event_.wait(lock, [this] { return is_lost_ || held_.size() < kMostHeldBytes; });
    if (is_lost_) return false;
    if (!held_.empty()) {
      held_ += bytes;
      return true;
    }
    const ssize_t sent = SendNow(fd_, bytes);
    if (sent == static_cast<ssize_t>(bytes.size())) return true;
    if (sent >= 0) held_ = bytes.substr(static_cast<std::size_t>(sent));
    is_lost_ = sent < 0;
    if (!is_lost_) {
      lock.unlock();
      event_.notify_all();
      return true;
    }
  }
  Lose();
  return false;
}

void Outbox::Lose() {
  event_.notify_all();
  if (on_lost_) on_lost_();
}

void Outbox::Write() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const bool has_event = event_.wait_for(
        lock, kIdleTick, [this] { return is_lost_ || is_closing_ || !held_.empty(); });
    if (is_lost_ || (is_closing_ && held_.empty())) return;
    if (!has_event) {
      lock.unlock();
      on_idle_();
      lock.lock();
      continue;
    }
    lock.unlock();
    pollfd room{fd_, POLLOUT, 0};
    ::poll(&room, 1, -1);
    lock.lock();
    const ssize_t sent = SendNow(fd_, held_);
    if (sent < 0) {
      is_lost_ = true;
      lock.unlock();
      Lose();
      return;
    }
    held_.erase(0, static_cast<std::size_t>(sent));
    event_.notify_all();
  }
}

}  // namespace corral::worker
