// A TCP proxy for tests: stands between a client and a server on 127.0.0.1 and breaks what passes,
// on command.
//
// Idea: userver's chaos proxy (pytest_userver/chaos.py). One thread serves all connections; buffers
// are bounded, so a side that does not read holds the other back as a plain connection would.
// Thread-safe. The destructor cuts what is left.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace corral::testing {

// What happens to the bytes of one direction of one connection. Offsets count from the connection's
// first byte.
struct Faults {
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  std::chrono::milliseconds delay{0};  // each byte leaves this much later
  std::size_t split_bytes = 0;         // at most so many bytes a send; 0: as they come
  std::uint64_t bytes_per_second = 0;  // 0: no limit
  std::uint64_t corrupt_at = kNever;   // this byte arrives inverted
  std::uint64_t cut_at = kNever;       // both sides are closed before this byte passes
  std::uint64_t hold_at = kNever;      // nothing passes from this byte on, the connection stays
};

struct GateRules {
  Faults to_server;
  Faults to_client;
  bool cuts_with_reset = true;  // else with a plain end of file
};

class FaultGate {
 public:
  // Listens on a free port of 127.0.0.1 and passes to `server_port` there. nullptr: no socket could
  // be made.
  static std::unique_ptr<FaultGate> Open(std::uint16_t server_port);
  ~FaultGate();
  FaultGate(const FaultGate&) = delete;
  FaultGate& operator=(const FaultGate&) = delete;

  std::uint16_t port() const { return port_; }

  // For connections that are accepted from now on.
  void SetRules(const GateRules& rules);
  // A new connection is taken by the kernel, but nothing comes through until ResumeAccepting.
  void StopAccepting();
  void ResumeAccepting();
  // Ends all connections, by the rules' way of cutting.
  void CutAll();

  // Waits until exactly `n` connections are open; false: not by `deadline`.
  bool WaitForConnections(std::size_t n, std::chrono::steady_clock::time_point deadline);
  std::uint64_t n_accepted() const { return n_accepted_.load(); }

 private:
  struct Connection;

  FaultGate(int listener, int bell, std::uint16_t port, std::uint16_t server_port);
  void Run(const std::stop_token& stop);
  void Accept();
  void Ring() const;

  const int listener_;
  const int bell_;  // eventfd: wakes the thread
  const std::uint16_t port_;
  const std::uint16_t server_port_;
  std::atomic<std::uint64_t> n_accepted_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  // guarded by mutex_:
  GateRules rules_;
  bool is_accepting_ = true;
  bool must_cut_all_ = false;
  std::size_t n_open_ = 0;
  std::list<std::unique_ptr<Connection>> connections_;  // of the thread only
  std::jthread thread_;                                 // last: joined first
};

}  // namespace corral::testing
