#include "engine/llama/encode_watch.h"

namespace corral::engine {
namespace {

// Multiplications between two looks: some milliseconds on two cores.
constexpr std::int64_t kWorkBetweenLooks = 1LL << 28;

// What a node costs, about.
std::int64_t Work(const ggml_tensor& node) {
  const std::int64_t n = ggml_nelements(&node);
  switch (node.op) {
    case GGML_OP_NONE:
    case GGML_OP_RESHAPE:
    case GGML_OP_VIEW:
    case GGML_OP_PERMUTE:
    case GGML_OP_TRANSPOSE:
      return 0;
    case GGML_OP_MUL_MAT:
    case GGML_OP_MUL_MAT_ID:
      return n * node.src[0]->ne[0];
    case GGML_OP_FLASH_ATTN_EXT:
      return 2 * n * node.src[1]->ne[1];  // the keys
    case GGML_OP_CONV_2D:
      return n * (ggml_nelements(node.src[0]) / node.ne[2]);  // the kernel of a channel
    default:
      return n;
  }
}

}  // namespace

void EncodeWatch::Begin(const StopToken& stop) {
  stop_ = &stop;
  work_ = 0;
  has_ended_ = false;
}

bool EncodeWatch::OnNode(ggml_tensor* node, bool is_asked, void* user) {
  auto& self = *static_cast<EncodeWatch*>(user);
  if (is_asked) {
    self.work_ += Work(*node);
    if (self.work_ < kWorkBetweenLooks) return false;
    self.work_ = 0;
    return true;
  }
  ++self.n_looks_;
  self.has_ended_ = self.stop_ != nullptr && self.stop_->StopRequested();
  return !self.has_ended_;
}

}  // namespace corral::engine
