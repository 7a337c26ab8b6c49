#include "http/internal/registry.h"

#include <algorithm>
#include <utility>

namespace corral::http {

bool Registry::Add(const std::shared_ptr<Drainable>& connection) {
  std::shared_ptr<Drainable> evicted;
  {
    const std::lock_guard lock(mutex_);
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
  if (phase() != Phase::kServing) changed_.notify_all();
  if (evicted) evicted->CloseIfIdle();
  return true;
}

void Registry::Remove(Drainable* connection) {
  {
    const std::lock_guard lock(mutex_);
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
  changed_.notify_all();
}

void Registry::MarkBusy(Drainable* connection) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(connection);
  if (found == entries_.end() || found->second.is_busy) return;
  found->second.is_busy = true;
  idle_.erase(found->second.idle_place);
  ++n_busy_;
}

void Registry::MarkIdle(Drainable* connection) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(connection);
    if (found == entries_.end() || !found->second.is_busy) return;
    found->second.is_busy = false;
    found->second.idle_place = idle_.insert(idle_.end(), connection);
    --n_busy_;
    must_close_idle_ = true;
  }
  if (phase() != Phase::kServing) changed_.notify_all();
}

std::size_t Registry::n_connections() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

std::size_t Registry::n_busy() const {
  const std::lock_guard lock(mutex_);
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

void Registry::Drain(std::chrono::milliseconds grace) {
  std::unique_lock lock(mutex_);
  if (phase_.load() == Phase::kServing) {
    phase_ = Phase::kDraining;
    stop_at_ = Clock::now() + std::max(grace, std::chrono::milliseconds(0));
    must_close_idle_ = true;
  }
  while (!entries_.empty()) {
    void (Drainable::*order)() = nullptr;
    const Deadline now = Clock::now();
    if (phase_.load() == Phase::kDraining && (is_hastened_ || now >= stop_at_)) {
      phase_ = Phase::kStopping;
      // A little before the promised end, so that those who are cut can still be seen to go.
      cut_at_ = now + kStopTime - std::chrono::milliseconds(200);
      order = &Drainable::OnStopping;
    } else if (phase_.load() == Phase::kStopping && now >= cut_at_) {
      phase_ = Phase::kClosed;
      order = &Drainable::Cut;
    } else if (n_busy_ == 0 && must_close_idle_) {
      must_close_idle_ = false;
      order = &Drainable::CloseIfIdle;
    }
    if (order != nullptr) {
      const auto all = Connections();
      lock.unlock();
      for (const auto& connection : all) ((*connection).*order)();
      lock.lock();
      continue;
    }
    if (phase_.load() == Phase::kClosed) {
      changed_.wait_until(lock, cut_at_ + std::chrono::milliseconds(200),
                          [this] { return entries_.empty(); });
      return;
    }
    changed_.wait_until(lock, phase_.load() == Phase::kDraining ? stop_at_ : cut_at_);
  }
  phase_ = Phase::kClosed;
}

void Registry::Hasten() {
  {
    const std::lock_guard lock(mutex_);
    is_hastened_ = true;
  }
  changed_.notify_all();
}

}  // namespace corral::http
