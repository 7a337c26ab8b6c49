#include "http/internal/registry.h"

#include <algorithm>
#include <utility>

namespace corral::http {
namespace {

// Within kStopTime: how long those who were cut may take to go.
constexpr std::chrono::milliseconds kCutTime{200};

}  // namespace

bool Registry::Add(const std::shared_ptr<Drainable>& connection) {
  std::shared_ptr<Drainable> evicted;
  {
    const MutexLock lock(mutex_);
    if (phase_.load() == Phase::kClosed) return false;
    if (entries_.size() >= max_connections_) {
      if (idle_.empty()) return false;
      Drainable* const oldest = idle_.front();
      Entry& entry = entries_.at(oldest);
      evicted = entry.connection.lock();
      // To the end: it closes by itself soon, and must not be chosen twice before others.
      idle_.splice(idle_.end(), idle_, entry.idle_place);
    }
    Entry entry;
    entry.connection = connection;
    entry.idle_place = idle_.insert(idle_.end(), connection.get());
    entries_.emplace(connection.get(), std::move(entry));
    must_close_idle_ = true;
  }
  if (phase() != Phase::kServing) changed_.NotifyAll();
  if (evicted) evicted->CloseIfIdle();
  return true;
}

void Registry::Remove(Drainable* connection) {
  {
    const MutexLock lock(mutex_);
    const auto found = entries_.find(connection);
    if (found == entries_.end()) return;
    if (found->second.is_busy) {
      --n_busy_;
      must_close_idle_ = true;
    } else {
      idle_.erase(found->second.idle_place);
    }
    entries_.erase(found);
  }
  changed_.NotifyAll();
}

void Registry::MarkBusy(Drainable* connection) {
  const MutexLock lock(mutex_);
  const auto found = entries_.find(connection);
  if (found == entries_.end() || found->second.is_busy) return;
  found->second.is_busy = true;
  idle_.erase(found->second.idle_place);
  ++n_busy_;
}

void Registry::MarkIdle(Drainable* connection) {
  {
    const MutexLock lock(mutex_);
    const auto found = entries_.find(connection);
    if (found == entries_.end() || !found->second.is_busy) return;
    found->second.is_busy = false;
    found->second.idle_place = idle_.insert(idle_.end(), connection);
    --n_busy_;
    must_close_idle_ = true;
  }
  if (phase() != Phase::kServing) changed_.NotifyAll();
}

std::size_t Registry::n_connections() const {
  const MutexLock lock(mutex_);
  return entries_.size();
}

std::size_t Registry::n_busy() const {
  const MutexLock lock(mutex_);
  return n_busy_;
}

std::vector<std::shared_ptr<Drainable>> Registry::Connections() const {
  std::vector<std::shared_ptr<Drainable>> all;
  all.reserve(entries_.size());
  for (const auto& [key, entry] : entries_) {
    if (auto connection = entry.connection.lock()) all.push_back(std::move(connection));
  }
  return all;
}

Registry::Order Registry::NextOrder(Deadline now) {
  if (phase_.load() == Phase::kDraining && (is_hastened_ || now >= next_phase_at_)) {
    phase_ = Phase::kStopping;
    next_phase_at_ = now + kStopTime - kCutTime;
    return &Drainable::OnStopping;
  }
  if (phase_.load() == Phase::kStopping && now >= next_phase_at_) {
    phase_ = Phase::kClosed;
    next_phase_at_ = now + kCutTime;
    return &Drainable::Cut;
  }
  if (n_busy_ == 0 && must_close_idle_) {
    must_close_idle_ = false;
    return &Drainable::CloseIfIdle;
  }
  return nullptr;
}

void Registry::BeginDrain(std::chrono::milliseconds grace) {
  const MutexLock lock(mutex_);
  if (phase_.load() != Phase::kServing) return;
  phase_ = Phase::kDraining;
  next_phase_at_ = Clock::now() + std::max(grace, std::chrono::milliseconds(0));
  must_close_idle_ = true;
}

void Registry::AwaitDrain() {
  for (;;) {
    Order order = nullptr;
    std::vector<std::shared_ptr<Drainable>> told;
    {
      const MutexLock lock(mutex_);
      const Deadline now = Clock::now();
      if (entries_.empty()) {
        phase_ = Phase::kClosed;
        return;
      }
      if (phase_.load() == Phase::kClosed && now >= next_phase_at_) return;  // some do not end
      order = NextOrder(now);
      if (order != nullptr) {
        told = Connections();
      } else {
        changed_.WaitUntil(mutex_, next_phase_at_);
        continue;
      }
    }
    for (const auto& connection : told) ((*connection).*order)();
  }
}

void Registry::Hasten() {
  {
    const MutexLock lock(mutex_);
    is_hastened_ = true;
  }
  changed_.NotifyAll();
}

}  // namespace corral::http
