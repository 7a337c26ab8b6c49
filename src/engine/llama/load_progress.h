// A load's progress callback, as llama.cpp and libmtmd call it.
#pragma once

#include <functional>

namespace corral::engine {

// Tells `callback` how far a load is, and that it goes on until that returns false. Must outlive
// the load, in one place: the parameters keep its address.
class LoadProgress {
 public:
  explicit LoadProgress(const std::function<bool(float)>& callback) : callback_(callback) {}
  LoadProgress(const LoadProgress&) = delete;
  LoadProgress& operator=(const LoadProgress&) = delete;

  // llama_model_params, mtmd_context_params
  template <class Params>
  void Watch(Params& params) {
    params.progress_callback = [](float fraction, void* user) {
      auto& self = *static_cast<LoadProgress*>(user);
      self.is_cancelled_ = self.callback_ && !self.callback_(fraction);
      return !self.is_cancelled_;
    };
    params.progress_callback_user_data = this;
  }
  bool is_cancelled() const { return is_cancelled_; }

 private:
  const std::function<bool(float)>& callback_;
  bool is_cancelled_ = false;
};

}  // namespace corral::engine
