// Encoders of pictures and sounds for the tiny language models.
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "support/tiny_models/parts.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::testing {
namespace {

constexpr std::uint64_t kTextWidth = 64;  // of all tiny language models
constexpr std::uint64_t kWidth = 32, kHeads = 2, kHidden = 48, kBlocks = 2;

class Maker {
 public:
  Maker(const std::string& part, std::string_view type, std::uint64_t n_blocks, std::uint64_t seed)
      : part_("clip." + part + "."), random_(seed) {
    writer.SetString("general.architecture", "clip");
    writer.SetString("general.type", "mmproj");
    writer.SetString("general.name", "tiny-projector");
    writer.SetUint32("general.file_type", 0);
    writer.SetBool("clip.has_" + part + "_encoder", true);
    writer.SetString("clip.projector_type", type);
    SetUint32("embedding_length", kWidth);
    SetUint32("attention.head_count", kHeads);
    SetUint32("feed_forward_length", kHidden);
    SetUint32("block_count", n_blocks);
    SetUint32("projection_dim", kTextWidth);
    writer.SetFloat32(part_ + "attention.layer_norm_epsilon", 1e-5F);
  }

  void SetUint32(const std::string& key, std::uint64_t value) {
    writer.SetUint32(part_ + key, static_cast<std::uint32_t>(value));
  }
  void SetPicture(std::uint64_t size, std::uint64_t patch) {
    SetUint32("image_size", size);
    SetUint32("patch_size", patch);
    const std::vector<float> half = {0.5F, 0.5F, 0.5F};
    writer.SetFloat32s(part_ + "image_mean", half);
    writer.SetFloat32s(part_ + "image_std", half);
    writer.SetBool("clip.use_gelu", true);
  }

  void Matrix(const std::string& name, std::vector<std::uint64_t> dims, float gain = 1.0F) {
    std::uint64_t n = 1;
    for (const std::uint64_t dim : dims) n *= dim;
    const std::uint64_t n_in = n / dims.back();
    writer.AddTensor(name, std::move(dims),
                     random_.Normals(n, gain / std::sqrt(static_cast<float>(n_in))));
  }
  void Linear(const std::string& name, std::uint64_t from, std::uint64_t to) {
    Matrix(name + ".weight", {from, to});
    writer.AddTensor(name + ".bias", {to}, random_.Normals(to, 0.1F));
  }
  void Norm(const std::string& name) {
    AddConstant(writer, name + ".weight", kWidth, 1.0F);
    AddConstant(writer, name + ".bias", kWidth, 0.0F);
  }
  void Positions(std::uint64_t n) {
    writer.AddTensor("v.position_embd.weight", {kWidth, n}, random_.Normals(kWidth * n, 0.5F));
  }
  void Blocks() {
    for (std::uint64_t i = 0; i < kBlocks; ++i) {
      const std::string block = "v.blk." + std::to_string(i) + ".";
      for (const char* part : {"attn_q", "attn_k", "attn_v", "attn_out"})
        Linear(block + part, kWidth, kWidth);
      Norm(block + "ln1");
      Norm(block + "ln2");
      Linear(block + "ffn_up", kWidth, kHidden);
      Linear(block + "ffn_down", kHidden, kWidth);
    }
  }

  gguf::Writer writer;

 private:
  std::string part_;
  Random random_;
};

}  // namespace

gguf::Writer TinyLlavaProjector(std::uint64_t text_width) {
  constexpr std::uint64_t kSize = 32, kPatch = 8, kPatches = (kSize / kPatch) * (kSize / kPatch);
  Maker maker("vision", "mlp", kBlocks, 20260110);
  maker.SetPicture(kSize, kPatch);
  maker.Matrix("v.patch_embd.weight", {kPatch, kPatch, 3, kWidth}, 2.0F);
  maker.Matrix("v.class_embd", {kWidth});
  maker.Positions(kPatches + 1);
  maker.Norm("v.pre_ln");
  maker.Blocks();
  maker.Linear("mm.0", kWidth, text_width);
  maker.Linear("mm.2", text_width, text_width);
  return std::move(maker.writer);
}

gguf::Writer TinyGemmaProjector() {
  constexpr std::uint64_t kSize = 64, kPatch = 8, kPatches = (kSize / kPatch) * (kSize / kPatch);
  Maker maker("vision", "gemma3", kBlocks, 20260111);
  maker.SetPicture(kSize, kPatch);
  maker.SetUint32("projector.scale_factor", 2);
  maker.Matrix("v.patch_embd.weight", {kPatch, kPatch, 3, kWidth}, 2.0F);
  maker.Positions(kPatches);
  maker.Blocks();
  maker.Norm("v.post_ln");
  AddConstant(maker.writer, "mm.soft_emb_norm.weight", kWidth, 1.0F);
  // Held the other way round than a matrix.
  maker.Matrix("mm.input_projection.weight", {kTextWidth, kWidth});
  return std::move(maker.writer);
}

gguf::Writer TinyQwenProjector() {
  constexpr std::uint64_t kPatch = 4, kMerged = 4 * kWidth;
  Maker maker("vision", "qwen2vl_merger", kBlocks, 20260112);
  maker.SetPicture(64, kPatch);
  maker.Matrix("v.patch_embd.weight", {kPatch, kPatch, 3, kWidth}, 2.0F);
  maker.Matrix("v.patch_embd.weight.1", {kPatch, kPatch, 3, kWidth}, 2.0F);
  maker.Blocks();
  maker.Norm("v.post_ln");
  maker.Linear("mm.0", kMerged, kMerged);
  maker.Linear("mm.2", kMerged, kTextWidth);
  return std::move(maker.writer);
}

gguf::Writer TinySoundProjector() {
  constexpr std::uint64_t kSamplesAToken = 640;
  Maker maker("audio", "gemma4ua", 0, 20260113);
  maker.SetUint32("num_mel_bins", kSamplesAToken);
  maker.Matrix("mm.a.input_projection.weight", {kSamplesAToken, kTextWidth});
  return std::move(maker.writer);
}

}  // namespace corral::testing
