#include "engine/media_memory.h"

#include <string>

namespace corral::engine {

MediaMemory::Hold& MediaMemory::Hold::operator=(Hold&& other) noexcept {
  if (this == &other) return *this;
  GiveBack();
  memory_ = std::exchange(other.memory_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

Status MediaMemory::Hold::Resize(std::int64_t bytes) {
  CORRAL_CHECK(memory_ != nullptr, "a hold on no memory");
  CORRAL_TRY_STATUS(memory_->Change(bytes_, bytes));
  bytes_ = bytes;
  return {};
}

void MediaMemory::Hold::GiveBack() {
  if (memory_ != nullptr) (void)memory_->Change(bytes_, 0);
  bytes_ = 0;
}

std::int64_t MediaMemory::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return used_bytes_;
}

Status MediaMemory::Change(std::int64_t from, std::int64_t to) {
  const std::string most = std::to_string(most_bytes_ >> 20) + " MiB";
  if (to > most_bytes_) {
    return Fail(Code::kInvalidArgument,
                "the images and sounds of the prompt take " + std::to_string(to >> 20) +
                    " MiB for the model, and all prompts together may take " + most +
                    "; send fewer or smaller ones");
  }
  const std::lock_guard lock(mutex_);
  if (to > from && used_bytes_ - from + to > most_bytes_) {
    return Fail(Code::kBusy,
                "server busy, please try again.  the images and sounds of running requests take "
                "the " +
                    most + " that the model has for them");
  }
  used_bytes_ += to - from;
  return {};
}

}  // namespace corral::engine
