// The memory that images and sounds take on their way into a model: decoded, scaled, and kept until
// their job ends. A prompt has a hold on its part; all holds of a process together have a limit.
//
// Nothing waits for memory here: the prepare threads that ask for it prepare every other request,
// too. Thread-safe, but for each Hold.
#pragma once

#include <cstdint>
#include <mutex>
#include <utility>

#include "core/result.h"

namespace corral::engine {

class MediaMemory {
 public:
  explicit MediaMemory(std::int64_t most_bytes) : most_bytes_(most_bytes) {}
  MediaMemory(const MediaMemory&) = delete;
  MediaMemory& operator=(const MediaMemory&) = delete;

  // What one prompt has; given back when it goes. The memory must outlive it.
  class Hold {
   public:
    Hold() = default;  // of a prompt without media
    Hold(Hold&& other) noexcept { *this = std::move(other); }
    Hold& operator=(Hold&& other) noexcept;
    ~Hold() { GiveBack(); }

    // From now on so many bytes. Errors, which change nothing: kInvalidArgument (more than all
    // prompts may have), kBusy (more than the others leave).
    Status Resize(std::int64_t bytes);

   private:
    friend class MediaMemory;
    explicit Hold(MediaMemory* memory) : memory_(memory) {}
    void GiveBack();

    MediaMemory* memory_ = nullptr;
    std::int64_t bytes_ = 0;
  };
  // Of nothing at first.
  Hold Begin() { return Hold(this); }

  std::int64_t most_bytes() const { return most_bytes_; }
  std::int64_t used_bytes() const;

 private:
  Status Change(std::int64_t from, std::int64_t to);

  const std::int64_t most_bytes_;
  mutable std::mutex mutex_;
  std::int64_t used_bytes_ = 0;  // guarded by mutex_
};

}  // namespace corral::engine
