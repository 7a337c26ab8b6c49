#include "support/fault_gate/fault_gate.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <utility>
#include <vector>

namespace corral::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxHeldBytes = 256U << 10;  // of one direction
constexpr std::size_t kReadBytes = 16U << 10;

sockaddr_in Loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void MakeNonBlocking(int fd) {
  (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
  const int on = 1;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void CloseSocket(int fd, bool with_reset) {
  const linger reset{1, 0};
  if (with_reset) (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  (void)close(fd);
}

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

// One direction: bytes with the time at which they may leave.
class Pipe {
 public:
  Pipe(int from, int to, const Faults& faults) : from_(from), to_(to), faults_(faults) {}

  int from() const { return from_; }
  int to() const { return to_; }
  bool WantsRead() const { return !has_ended_ && n_held_ < kMaxHeldBytes; }
  bool IsFinished() const { return is_shut_; }
  // The connection is over for both sides: an error, or the cut.
  bool IsBroken() const { return is_broken_; }

  void Read() {
    std::array<char, kReadBytes> buffer;
    const ssize_t n = recv(from_, buffer.data(), buffer.size(), 0);
    if (n < 0) {
      is_broken_ = !WouldBlock();
      return;
    }
    if (n == 0) {
      has_ended_ = true;
      return;
    }
    std::string bytes(buffer.data(), static_cast<std::size_t>(n));
    if (faults_.corrupt_at >= n_read_ && faults_.corrupt_at - n_read_ < bytes.size()) {
      char& victim = bytes[static_cast<std::size_t>(faults_.corrupt_at - n_read_)];
      victim = static_cast<char>(~victim);
    }
    n_read_ += bytes.size();
    n_held_ += bytes.size();
    pieces_.push_back({Clock::now() + faults_.delay, std::move(bytes)});
  }

  // Sends what may leave now.
  void Write() {
    while (!pieces_.empty() && !is_broken_ && Clock::now() >= NextTime()) {
      if (n_sent_ >= faults_.cut_at) {
        is_broken_ = true;
        return;
      }
      if (n_sent_ >= faults_.hold_at) return;
      std::string& bytes = pieces_.front().bytes;
      std::uint64_t n_wanted = bytes.size();
      if (faults_.split_bytes > 0)
        n_wanted = std::min<std::uint64_t>(n_wanted, faults_.split_bytes);
      if (faults_.bytes_per_second > 0) {
        // Ten portions a second, at least a byte each.
        n_wanted = std::min(n_wanted, std::max<std::uint64_t>(1, faults_.bytes_per_second / 10));
      }
      n_wanted = std::min({n_wanted, faults_.cut_at - n_sent_, faults_.hold_at - n_sent_});
      const ssize_t n = send(to_, bytes.data(), static_cast<std::size_t>(n_wanted), MSG_NOSIGNAL);
      if (n < 0) {
        is_broken_ = !WouldBlock();
        return;
      }
      n_sent_ += static_cast<std::uint64_t>(n);
      n_held_ -= static_cast<std::size_t>(n);
      bytes.erase(0, static_cast<std::size_t>(n));
      if (bytes.empty()) pieces_.pop_front();
      if (faults_.bytes_per_second > 0) {
        next_send_ =
            Clock::now() +
            std::chrono::nanoseconds(static_cast<std::int64_t>(
                1e9 * static_cast<double>(n) / static_cast<double>(faults_.bytes_per_second)));
      }
    }
    if (pieces_.empty() && n_sent_ >= faults_.cut_at) is_broken_ = true;
    if (pieces_.empty() && has_ended_ && !is_shut_) {
      is_shut_ = true;
      (void)shutdown(to_, SHUT_WR);
    }
  }

  bool IsHeld() const { return n_sent_ >= faults_.hold_at; }
  bool HasPieces() const { return !pieces_.empty(); }
  Clock::time_point NextTime() const { return std::max(pieces_.front().leaves_at, next_send_); }

 private:
  struct Piece {
    Clock::time_point leaves_at;
    std::string bytes;
  };

  const int from_;
  const int to_;
  const Faults faults_;
  std::deque<Piece> pieces_;
  std::size_t n_held_ = 0;
  std::uint64_t n_read_ = 0;
  std::uint64_t n_sent_ = 0;
  Clock::time_point next_send_{};
  bool has_ended_ = false;
  bool is_shut_ = false;
  bool is_broken_ = false;
};

}  // namespace

struct FaultGate::Connection {
  Connection(int client_fd, int server_fd, const GateRules& rules)
      : to_server(client_fd, server_fd, rules.to_server),
        to_client(server_fd, client_fd, rules.to_client),
        cuts_with_reset(rules.cuts_with_reset) {}
  ~Connection() {
    const bool with_reset = cuts_with_reset && !(to_server.IsFinished() && to_client.IsFinished());
    CloseSocket(to_server.from(), with_reset);
    CloseSocket(to_server.to(), with_reset);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool IsOver() const {
    return to_server.IsBroken() || to_client.IsBroken() ||
           (to_server.IsFinished() && to_client.IsFinished());
  }

  Pipe to_server;
  Pipe to_client;
  bool cuts_with_reset;
};

std::unique_ptr<FaultGate> FaultGate::Open(std::uint16_t server_port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (listener < 0 || bell < 0 || bind(listener, generic, length) != 0 ||
      listen(listener, 128) != 0 || getsockname(listener, generic, &length) != 0) {
    if (listener >= 0) (void)close(listener);
    if (bell >= 0) (void)close(bell);
    return nullptr;
  }
  MakeNonBlocking(listener);
  return std::unique_ptr<FaultGate>(
      new FaultGate(listener, bell, ntohs(address.sin_port), server_port));
}

FaultGate::FaultGate(int listener, int bell, std::uint16_t port, std::uint16_t server_port)
    : listener_(listener),
      bell_(bell),
      port_(port),
      server_port_(server_port),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

FaultGate::~FaultGate() {
  thread_.request_stop();
  Ring();
  thread_.join();
  connections_.clear();
  (void)close(listener_);
  (void)close(bell_);
}

void FaultGate::Ring() const {
  const std::uint64_t one = 1;
  (void)!write(bell_, &one, sizeof(one));
}

void FaultGate::SetRules(const GateRules& rules) {
  const std::lock_guard lock(mutex_);
  rules_ = rules;
}

void FaultGate::StopAccepting() {
  const std::lock_guard lock(mutex_);
  is_accepting_ = false;
}

void FaultGate::ResumeAccepting() {
  {
    const std::lock_guard lock(mutex_);
    is_accepting_ = true;
  }
  Ring();
}

void FaultGate::CutAll() {
  {
    const std::lock_guard lock(mutex_);
    must_cut_all_ = true;
  }
  Ring();
}

bool FaultGate::WaitForConnections(std::size_t n, std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [&] { return n_open_ == n; });
}

void FaultGate::Accept() {
  for (;;) {
    GateRules rules;
    {
      // Under the lock to the end of accept(): a StopAccepting that has returned holds for the next
      // connection.
      const std::lock_guard lock(mutex_);
      if (!is_accepting_) return;
      rules = rules_;
      const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) return;
      const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in address = Loopback(server_port_);
      // Blocking, to the loopback: at once or refused.
      if (server < 0 ||
          connect(server, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
        if (server >= 0) (void)close(server);
        CloseSocket(client, true);
        continue;
      }
      MakeNonBlocking(client);
      MakeNonBlocking(server);
      connections_.push_back(std::make_unique<Connection>(client, server, rules));
      n_open_ = connections_.size();
      ++n_accepted_;
    }
    changed_.notify_all();
  }
}

void FaultGate::Run(const std::stop_token& stop) {
  std::vector<pollfd> polled;
  while (!stop.stop_requested()) {
    bool is_accepting = false;
    {
      const std::lock_guard lock(mutex_);
      is_accepting = is_accepting_;
      if (std::exchange(must_cut_all_, false)) connections_.clear();
      std::erase_if(connections_, [](const auto& connection) { return connection->IsOver(); });
      n_open_ = connections_.size();
    }
    changed_.notify_all();

    polled.clear();
    polled.push_back({bell_, POLLIN, 0});
    polled.push_back({is_accepting ? listener_ : -1, POLLIN, 0});
    Clock::time_point wake_at = Clock::time_point::max();
    const Clock::time_point now = Clock::now();
    for (const auto& connection : connections_) {
      for (const Pipe* pipe : {&connection->to_server, &connection->to_client}) {
        polled.push_back({pipe->WantsRead() ? pipe->from() : -1, POLLIN, 0});
        const bool may_send = pipe->HasPieces() && !pipe->IsHeld();
        const bool is_due = may_send && now >= pipe->NextTime();
        polled.push_back({is_due ? pipe->to() : -1, POLLOUT, 0});
        if (may_send && !is_due) wake_at = std::min(wake_at, pipe->NextTime());
      }
    }
    int timeout_ms = -1;
    if (wake_at != Clock::time_point::max()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(wake_at - now);
      timeout_ms = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60000));
    }
    if (poll(polled.data(), polled.size(), timeout_ms) < 0 && errno != EINTR) return;

    if ((polled[0].revents & POLLIN) != 0) {
      std::uint64_t rings = 0;
      (void)!read(bell_, &rings, sizeof(rings));
    }
    std::size_t i = 2;
    for (const auto& connection : connections_) {
      for (Pipe* pipe : {&connection->to_server, &connection->to_client}) {
        if (polled[i].revents != 0) pipe->Read();
        i += 2;
        pipe->Write();
      }
    }
    if (polled[1].revents != 0) Accept();
  }
}

}  // namespace corral::testing
