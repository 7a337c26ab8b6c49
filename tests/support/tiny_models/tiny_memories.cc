// The models whose memory is not that of every position.
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "support/tiny_models/parts.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::testing {
namespace {

constexpr std::uint64_t kWidth = 64, kHeads = 4, kHeadsKv = 2, kHidden = 128;
constexpr std::uint64_t kHeadWidth = kWidth / kHeads, kWidthKv = kHeadWidth * kHeadsKv;
// Of a recurrent block; the inner width must be twice the outer one.
constexpr std::uint64_t kInner = 2 * kWidth, kState = 8, kConvolution = 4, kRank = 4;

class Maker {
 public:
  Maker(std::string architecture, std::uint64_t n_blocks, std::uint64_t seed)
      : random_(seed), vocabulary_(LlamaVocabulary({.is_endless = true})) {
    key_ = architecture + ".";
    writer.SetString("general.architecture", architecture);
    writer.SetString("general.name", "tiny-" + architecture);
    writer.SetUint32("general.file_type", 0);
    SetUint32("context_length", 2048);
    SetUint32("embedding_length", kWidth);
    SetUint32("block_count", n_blocks);
    SetUint32("vocab_size", vocabulary_.tokens.size());
    writer.SetFloat32(key_ + "attention.layer_norm_rms_epsilon", 1e-5F);
    SetVocabulary(writer, vocabulary_);
  }

  void SetUint32(const std::string& key, std::uint64_t value) {
    writer.SetUint32(key_ + key, static_cast<std::uint32_t>(value));
  }
  void SetInt32s(const std::string& key, const std::vector<std::int32_t>& values) {
    writer.SetInt32s(key_ + key, values);
  }
  void SetRecurrentSizes() {
    SetUint32("ssm.conv_kernel", kConvolution);
    SetUint32("ssm.inner_size", kInner);
    SetUint32("ssm.state_size", kState);
    SetUint32("ssm.time_step_rank", kRank);
  }

  // As in TinyLlama, the first dimension is a constant that nothing writes to:
  // a bias of the output.
  void AddEnds() {
    const std::uint64_t n_tokens = vocabulary_.tokens.size();
    std::vector<float> embeddings = random_.Normals(kWidth * n_tokens, 1.0F);
    std::vector<float> output = random_.Normals(kWidth * n_tokens, 0.35F);
    for (std::uint64_t token = 0; token < n_tokens; ++token) {
      embeddings[token * kWidth] = 4.0F;
      output[token * kWidth] = vocabulary_.biases[token] / 2.0F;
    }
    writer.AddTensor("token_embd.weight", {kWidth, n_tokens}, embeddings);
    AddConstant(writer, "output_norm.weight", kWidth, 1.0F);
    writer.AddTensor("output.weight", {kWidth, n_tokens}, output);
  }
  void Matrix(const std::string& name, std::uint64_t from, std::uint64_t to, float gain = 1.0F) {
    writer.AddTensor(name, {from, to},
                     random_.Normals(from * to, gain / std::sqrt(static_cast<float>(from))));
  }
  void MatrixBack(const std::string& name, std::uint64_t from) {
    std::vector<float> weights =
        random_.Normals(from * kWidth, 1.0F / std::sqrt(static_cast<float>(from)));
    for (std::uint64_t i = 0; i < from; ++i) weights[i] = 0.0F;
    writer.AddTensor(name, {from, kWidth}, weights);
  }
  void AddAttention(const std::string& block) {
    AddConstant(writer, block + "attn_norm.weight", kWidth, 1.0F);
    Matrix(block + "attn_q.weight", kWidth, kWidth, 1.5F);
    Matrix(block + "attn_k.weight", kWidth, kWidthKv, 1.5F);
    Matrix(block + "attn_v.weight", kWidth, kWidthKv);
    MatrixBack(block + "attn_output.weight", kWidth);
  }
  // `has_norms`: of the step, B and C, as Jamba has them.
  void AddRecurrence(const std::string& block, bool has_norms) {
    AddConstant(writer, block + "attn_norm.weight", kWidth, 1.0F);
    Matrix(block + "ssm_in.weight", kWidth, 2 * kInner);
    Matrix(block + "ssm_conv1d.weight", kConvolution, kInner);
    AddConstant(writer, block + "ssm_conv1d.bias", kInner, 0.0F);
    Matrix(block + "ssm_x.weight", kInner, kRank + 2 * kState);
    Matrix(block + "ssm_dt.weight", kRank, kInner);
    AddConstant(writer, block + "ssm_dt.bias", kInner, -2.0F);  // slow to forget
    if (has_norms) {
      AddConstant(writer, block + "ssm_dt_norm.weight", kRank, 1.0F);
      AddConstant(writer, block + "ssm_b_norm.weight", kState, 1.0F);
      AddConstant(writer, block + "ssm_c_norm.weight", kState, 1.0F);
    }
    std::vector<float> decay(kState * kInner);
    for (std::uint64_t i = 0; i < decay.size(); ++i)
      decay[i] = -static_cast<float>(i % kState + 1) / 4.0F;
    writer.AddTensor(block + "ssm_a", {kState, kInner}, decay);
    AddConstant(writer, block + "ssm_d", kInner, 1.0F);
    MatrixBack(block + "ssm_out.weight", kInner);
  }
  void AddFeedForward(const std::string& block) {
    AddConstant(writer, block + "ffn_norm.weight", kWidth, 1.0F);
    Matrix(block + "ffn_gate.weight", kWidth, kHidden);
    Matrix(block + "ffn_up.weight", kWidth, kHidden);
    MatrixBack(block + "ffn_down.weight", kHidden);
  }

  gguf::Writer writer;

 private:
  std::string key_;
  Random random_;
  const Vocabulary vocabulary_;
};

std::string Block(std::uint64_t index) { return "blk." + std::to_string(index) + "."; }

}  // namespace

gguf::Writer TinyWindow() {
  constexpr std::uint64_t kBlocks = 4;
  Maker maker("gemma3", kBlocks, 20260103);
  maker.SetUint32("feed_forward_length", kHidden);
  maker.SetUint32("attention.head_count", kHeads);
  maker.SetUint32("attention.head_count_kv", kHeadsKv);
  maker.SetUint32("attention.key_length", kHeadWidth);
  maker.SetUint32("attention.value_length", kHeadWidth);
  maker.SetUint32("attention.sliding_window", kTinyWindow);
  maker.SetUint32("attention.sliding_window_pattern", 2);
  maker.AddEnds();
  for (std::uint64_t i = 0; i < kBlocks; ++i) {
    const std::string block = Block(i);
    maker.AddAttention(block);
    AddConstant(maker.writer, block + "attn_q_norm.weight", kHeadWidth, 1.5F);
    AddConstant(maker.writer, block + "attn_k_norm.weight", kHeadWidth, 1.5F);
    AddConstant(maker.writer, block + "post_attention_norm.weight", kWidth, 1.0F);
    maker.AddFeedForward(block);
    AddConstant(maker.writer, block + "post_ffw_norm.weight", kWidth, 1.0F);
  }
  return std::move(maker.writer);
}

gguf::Writer TinyRecurrent() {
  constexpr std::uint64_t kBlocks = 2;
  Maker maker("mamba", kBlocks, 20260104);
  maker.SetUint32("feed_forward_length", 0);
  maker.SetUint32("attention.head_count", 0);
  maker.SetRecurrentSizes();
  maker.AddEnds();
  for (std::uint64_t i = 0; i < kBlocks; ++i) maker.AddRecurrence(Block(i), false);
  return std::move(maker.writer);
}

gguf::Writer TinyTwoDimensional() {
  constexpr std::uint64_t kBlocks = 2;
  Maker maker("qwen2vl", kBlocks, 20260106);
  maker.SetUint32("feed_forward_length", kHidden);
  maker.SetUint32("attention.head_count", kHeads);
  maker.SetUint32("attention.head_count_kv", kHeadsKv);
  maker.SetInt32s("rope.dimension_sections", {2, 3, 3, 0});
  maker.AddEnds();
  for (std::uint64_t i = 0; i < kBlocks; ++i) {
    maker.AddAttention(Block(i));
    maker.AddFeedForward(Block(i));
  }
  return std::move(maker.writer);
}

gguf::Writer TinyDecoderReranker() {
  constexpr std::uint64_t kBlocks = 2, kLabels = 2;
  Maker maker("qwen3", kBlocks, 20260107);
  maker.SetUint32("feed_forward_length", kHidden);
  maker.SetUint32("attention.head_count", kHeads);
  maker.SetUint32("attention.head_count_kv", kHeadsKv);
  maker.SetUint32("attention.key_length", kHeadWidth);
  maker.SetUint32("attention.value_length", kHeadWidth);
  maker.SetUint32("pooling_type", 4);
  maker.writer.SetStrings("qwen3.classifier.output_labels", std::vector<std::string>{"yes", "no"});
  maker.writer.SetString("tokenizer.chat_template.rerank",
                         "which one: {document} said {query}. {query}?");
  maker.AddEnds();
  for (std::uint64_t i = 0; i < kBlocks; ++i) {
    const std::string block = Block(i);
    maker.AddAttention(block);
    AddConstant(maker.writer, block + "attn_q_norm.weight", kHeadWidth, 1.5F);
    AddConstant(maker.writer, block + "attn_k_norm.weight", kHeadWidth, 1.5F);
    maker.AddFeedForward(block);
  }
  maker.Matrix("cls.output.weight", kWidth, kLabels, 3.0F);
  return std::move(maker.writer);
}

gguf::Writer TinyHybrid() {
  constexpr std::uint64_t kBlocks = 4;
  Maker maker("jamba", kBlocks, 20260105);
  maker.SetUint32("feed_forward_length", kHidden);
  maker.SetUint32("attention.head_count", kHeads);
  maker.SetInt32s("attention.head_count_kv",
                  {0, static_cast<std::int32_t>(kHeadsKv), 0, static_cast<std::int32_t>(kHeadsKv)});
  maker.SetRecurrentSizes();
  maker.AddEnds();
  for (std::uint64_t i = 0; i < kBlocks; ++i) {
    if (i % 2 == 0) {
      maker.AddRecurrence(Block(i), true);
    } else {
      maker.AddAttention(Block(i));
    }
    maker.AddFeedForward(Block(i));
  }
  return std::move(maker.writer);
}

}  // namespace corral::testing
