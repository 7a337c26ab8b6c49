#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "gguf/reader.h"
#include "gguf/test_file.h"
#include "gguf/types.h"

namespace corral::gguf {
namespace {

using ::testing::HasSubstr;

std::string Strings(const std::vector<std::string>& texts) {
  std::string bytes = EncodedType(ValueType::kString) + Encoded<std::uint64_t>(texts.size());
  for (const std::string& text : texts) bytes += EncodedString(text);
  return bytes;
}

template <class T>
std::string Numbers(ValueType type, const std::vector<T>& values) {
  std::string bytes = EncodedType(type) + Encoded<std::uint64_t>(values.size());
  for (const T value : values) bytes += Encoded(value);
  return bytes;
}

// The header of a llama model of two blocks, as a list that tests change before it is written.
struct Model {
  struct Entry {
    ValueType type;
    std::string bytes;
  };
  std::vector<std::pair<std::string, Entry>> entries;
  std::vector<TensorInfo> tensors = {{"token_embd.weight", 0, {8}, 0, 32},
                                     {"output_norm.weight", 0, {8}, 32, 32}};

  Model() {
    Set("general.architecture", "llama");
    Set("llama.context_length", 2048U);
    Set("llama.embedding_length", 64U);
    Set("llama.block_count", 2U);
    Set("llama.feed_forward_length", 128U);
    Set("llama.attention.head_count", 4U);
    Set("llama.attention.head_count_kv", 2U);
    Set("llama.attention.layer_norm_rms_epsilon", 1e-5F);
    Set("llama.rope.dimension_count", 16U);
    Set("tokenizer.ggml.model", "llama");
    SetRaw("tokenizer.ggml.tokens", ValueType::kArray, Strings({"<unk>", "<s>", "</s>", "a"}));
    SetRaw("tokenizer.ggml.scores", ValueType::kArray,
           Numbers<float>(ValueType::kFloat32, {0, 0, 0, 0}));
    SetRaw("tokenizer.ggml.token_type", ValueType::kArray,
           Numbers<std::int32_t>(ValueType::kInt32, {2, 3, 3, 1}));
  }

  Model& SetRaw(const std::string& key, ValueType type, std::string bytes) {
    Remove(key);
    entries.emplace_back(key, Entry{type, std::move(bytes)});
    return *this;
  }
  Model& Set(const std::string& key, std::uint32_t value) {
    return SetRaw(key, ValueType::kUint32, Encoded(value));
  }
  Model& Set(const std::string& key, float value) {
    return SetRaw(key, ValueType::kFloat32, Encoded(value));
  }
  Model& Set(const std::string& key, bool value) {
    return SetRaw(key, ValueType::kBool, Encoded<std::uint8_t>(value ? 1 : 0));
  }
  Model& Set(const std::string& key, const char* value) {
    return SetRaw(key, ValueType::kString, EncodedString(value));
  }
  Model& Remove(const std::string& key) {
    std::erase_if(entries, [&](const auto& entry) { return entry.first == key; });
    return *this;
  }
  // Gives every key of the architecture another prefix.
  Model& Rename(const std::string& architecture) {
    for (auto& [key, entry] : entries) {
      if (key.starts_with("llama.")) key = architecture + key.substr(5);
    }
    return Set("general.architecture", architecture.c_str());
  }

  Status Check() const {
    RawFile file;
    for (const auto& [key, entry] : entries) file.Key(key, entry.type, entry.bytes);
    for (const TensorInfo& tensor : tensors)
      file.Tensor(tensor.name, tensor.dims, tensor.type, tensor.offset);
    const Result<Info> info = ReadBytes(file.Data(4096).Bytes());
    if (!info)
      return Fail(Code::kInternal, "the test's file cannot be read: " + info.error().message);
    return CheckLoadable(*info);
  }
};

void ExpectRefused(const Model& model, std::string_view part) {
  const Status status = model.Check();
  ASSERT_FALSE(status) << "passed, must be refused for: " << part;
  EXPECT_EQ(status.error().code, Code::kCorrupt) << status.error().message;
  EXPECT_THAT(status.error().message, HasSubstr(std::string(part)));
}

void ExpectPasses(const Model& model) {
  const Status status = model.Check();
  EXPECT_TRUE(status) << status.error().message;
}

TEST(CheckLoadable, PassesAModel) { ExpectPasses(Model()); }

// CVE-2025-0312: a key that is missing, or of another type.
TEST(CheckLoadable, RefusesRequiredKeysThatAreMissingOrOfAnotherType) {
  for (const std::string key :
       {"general.architecture", "llama.context_length", "llama.embedding_length",
        "llama.block_count", "tokenizer.ggml.model", "tokenizer.ggml.tokens"}) {
    ExpectRefused(Model().Remove(key), "'" + key + "' is missing");
    const Model model;
    ValueType right = ValueType::kUint32;
    for (const auto& [name, entry] : model.entries) {
      if (name == key) right = entry.type;
    }
    for (std::uint32_t number = 0; number <= 12; ++number) {
      const auto type = static_cast<ValueType>(number);
      if (type == right) continue;
      // Eight zero bytes are a value of any type but array: an array gets a type and a size.
      const bool is_array = type == ValueType::kArray;
      const std::size_t n_bytes = is_array                     ? 12
                                  : type == ValueType::kString ? 8
                                                               : ValueTypeBytes(type);
      ExpectRefused(Model().SetRaw(key, type, std::string(n_bytes, '\0')),
                    "'" + key + "' is of type ");
    }
  }
}

TEST(CheckLoadable, RefusesOptionalKeysOfAnotherType) {
  for (const std::string key :
       {"llama.attention.head_count", "llama.attention.head_count_kv", "llama.attention.key_length",
        "llama.expert_count", "llama.expert_used_count", "llama.feed_forward_length",
        "llama.rope.dimension_count", "llama.rope.freq_base", "llama.rope.scaling.type",
        "llama.attention.layer_norm_rms_epsilon", "llama.attention.causal", "llama.pooling_type",
        "tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.add_bos_token", "general.file_type"}) {
    ExpectRefused(Model().SetRaw(key, ValueType::kUint64, Encoded<std::uint64_t>(1)),
                  "'" + key + "' is of type uint64");
  }
}

// CVE-2024-8063 (0) and writes past arrays of 512.
TEST(CheckLoadable, RefusesNoBlocksAndMoreThan512) {
  for (const std::uint32_t count : {0U, 513U, 1U << 31, 0xffff'ffffU}) {
    ExpectRefused(Model().Set("llama.block_count", count),
                  "block_count' is " + std::to_string(count));
  }
  ExpectPasses(Model().Set("llama.block_count", 1U));
  ExpectPasses(Model().Set("llama.block_count", 512U));
  ExpectRefused(Model().Set("llama.nextn_predict_layers", 3U), "nextn_predict_layers");
  ExpectRefused(Model().Set("llama.context_length", 0U), "context_length' is 0");
  ExpectRefused(Model().Set("llama.embedding_length", 0U), "embedding_length' is 0");
}

TEST(CheckLoadable, RefusesEpsilonsBelowZeroAndNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const std::string key :
       {"llama.attention.layer_norm_rms_epsilon", "llama.attention.layer_norm_epsilon",
        "llama.attention.group_norm_epsilon"}) {
    for (const float value : {-1e-5F, nan, infinity, -infinity})
      ExpectRefused(Model().Set(key, value), key);
    ExpectPasses(Model().Set(key, 0.0F));
  }
  ExpectRefused(Model().Set("llama.logit_scale", nan), "logit_scale");
  ExpectRefused(Model().Set("llama.rope.freq_base", nan), "freq_base");
  ExpectRefused(Model().Set("llama.rope.freq_base", -1.0F), "freq_base");
  ExpectRefused(Model().Set("llama.rope.scaling.factor", infinity), "factor");
}

TEST(CheckLoadable, RefusesExpertCountsThatDoNotFit) {
  const auto with = [](std::uint32_t count, std::uint32_t used, std::uint32_t groups,
                       std::uint32_t groups_used) {
    return Model()
        .Set("llama.expert_count", count)
        .Set("llama.expert_used_count", used)
        .Set("llama.expert_group_count", groups)
        .Set("llama.expert_group_used_count", groups_used);
  };
  ExpectPasses(with(0, 0, 0, 0));
  ExpectPasses(with(8, 2, 0, 0));
  ExpectPasses(with(8, 2, 1, 0));
  ExpectPasses(with(256, 8, 8, 4));
  ExpectPasses(with(1024, 8, 0, 0));
  ExpectRefused(with(1025, 8, 0, 0), "at most 1024");
  ExpectRefused(with(8, 9, 0, 0), "expert_used_count");
  ExpectRefused(with(8, 0, 0, 0), "expert_used_count");
  ExpectRefused(with(0, 1, 0, 0), "expert_used_count");
  ExpectRefused(with(0, 0, 1, 0), "expert_group_count");
  ExpectRefused(with(8, 2, 8, 2), "expert_group_count");
  ExpectRefused(with(8, 2, 3, 1), "expert_group_count");
  ExpectRefused(with(8, 2, 4, 0), "expert_group_used_count");
  ExpectRefused(with(8, 2, 4, 4), "expert_group_used_count");
  // Per block: the largest counts.
  ExpectRefused(with(8, 2, 0, 0)
                    .SetRaw("llama.expert_used_count", ValueType::kArray,
                            Numbers<std::uint32_t>(ValueType::kUint32, {2, 9})),
                "expert_used_count");
  ExpectPasses(Model().Rename("hunyuan-dense").Set("hunyuan-dense.expert_count", 1U));
}

TEST(CheckLoadable, TakesOneValueForAllBlocksOrOneEach) {
  const auto heads = [](const std::vector<std::int32_t>& values) {
    return Model().SetRaw("llama.attention.head_count", ValueType::kArray,
                          Numbers<std::int32_t>(ValueType::kInt32, values));
  };
  ExpectPasses(heads({4, 8}));
  ExpectPasses(heads({0, 4}));  // no attention in the first block
  ExpectRefused(heads({4}), "must have 2");
  ExpectRefused(heads({4, 4, 4}), "must have 2");
  ExpectRefused(heads({4, -4}), "negative");
  ExpectRefused(
      Model().SetRaw("llama.attention.head_count", ValueType::kArray, Strings({"4", "4"})),
      "is an array of string");
}

TEST(CheckLoadable, RefusesHeadsThatDoNotDivide) {
  ExpectRefused(Model().Set("llama.attention.head_count_kv", 3U), "not a multiple");
  ExpectRefused(
      Model().Set("llama.attention.head_count", 4U).Set("llama.attention.head_count_kv", 8U),
      "not a multiple");
  ExpectRefused(Model().Set("llama.attention.head_count", 128U), "size 0");
  ExpectRefused(Model().Set("llama.attention.key_length", 0U), "size 0");
  ExpectPasses(Model().Set("llama.attention.head_count_kv", 0U));
  ExpectPasses(
      Model().Remove("llama.attention.head_count").Remove("llama.attention.head_count_kv"));
}

TEST(CheckLoadable, RefusesKeysAndValuesOfDifferentSizeWhereTheGraphAsserts) {
  ExpectRefused(Model().Set("llama.attention.value_length", 8U), "differ");
  ExpectPasses(Model().Rename("deepseek2").Set("deepseek2.attention.value_length", 8U));
}

TEST(CheckLoadable, RefusesABlockWhoseKeysAreNotAsManyAsItsHeadsSay) {
  const auto with = [](const std::vector<std::uint32_t>& heads_kv, std::uint64_t rows_of_first) {
    Model model;
    model.tensors = {{"blk.0.attn_k.weight", 0, {2, rows_of_first}, 0, 0},
                     {"blk.1.attn_k.weight", 0, {2, 32}, 256, 0}};
    return model.SetRaw("llama.attention.head_count_kv", ValueType::kArray,
                        Numbers<std::uint32_t>(ValueType::kUint32, heads_kv));
  };
  ExpectPasses(with({2, 2}, 32));
  ExpectRefused(with({2, 1}, 32), "'blk.1.attn_k.weight' has 32 rows, must have 16");
  ExpectRefused(with({2, 0}, 32), "must have 0");
  Model other = with({2, 1}, 30);  // the first block follows another rule
  ExpectPasses(other);
}

TEST(CheckLoadable, RefusesUnknownPoolingAndWideOutputs) {
  ExpectPasses(Model().Set("llama.pooling_type", 4U));
  ExpectRefused(Model().Set("llama.pooling_type", 5U), "pooling_type' is 5");
  ExpectPasses(Model().Set("llama.embedding_length_out", 64U));
  ExpectRefused(Model().Set("llama.embedding_length_out", 65U), "embedding_length_out");
}

TEST(CheckLoadable, RefusesRopeThatDoesNotFitAHead) {
  ExpectRefused(Model().Set("llama.rope.dimension_count", 18U), "RoPE over 18");
  ExpectRefused(Model().Set("llama.rope.dimension_count", 15U), "RoPE over 15");
  ExpectRefused(Model().Set("llama.rope.dimension_count", 0xffff'ffffU), "RoPE over");
  // 64 heads of one dimension
  ExpectRefused(Model().Remove("llama.rope.dimension_count").Set("llama.attention.head_count", 64U),
                "RoPE over 1");
  ExpectPasses(Model().Set("llama.rope.dimension_count", 8U));
  ExpectPasses(Model()
                   .Set("llama.attention.key_length", 32U)
                   .Set("llama.attention.value_length", 32U)
                   .Set("llama.rope.dimension_count", 32U));
  for (const char* type : {"none", "linear", "yarn", "longrope"}) {
    ExpectPasses(Model().Set("llama.rope.scaling.type", type));
  }
  ExpectRefused(Model().Set("llama.rope.scaling.type", "dynamic"), "rope.scaling.type");
  const auto sections = [](const std::vector<std::int32_t>& values) {
    return Model().SetRaw("llama.rope.dimension_sections", ValueType::kArray,
                          Numbers<std::int32_t>(ValueType::kInt32, values));
  };
  ExpectPasses(sections({4, 2, 2, 0}));
  ExpectRefused(sections({0, 0, 0, 0}), "all 0");
}

// CVE-2024-8063: 0 in every key that is used as a divisor.
TEST(CheckLoadable, RefusesZeroDivisors) {
  for (const std::string name :
       {"ssm.conv_kernel", "ssm.inner_size", "ssm.state_size", "ssm.time_step_rank",
        "ssm.group_count", "wkv.head_size", "shortconv.l_cache", "experts_per_group",
        "interleave_moe_layer_step", "attention.output_group_count"}) {
    ExpectRefused(Model().Set("llama." + name, 0U), "'llama." + name + "' is 0");
    ExpectPasses(Model().Set("llama." + name, 2U));
  }
  ExpectPasses(Model().Rename("plamo2").Set("plamo2.ssm.group_count", 0U));
  ExpectPasses(Model().Rename("llama4").Set("llama4.interleave_moe_layer_step", 0U));
}

TEST(CheckLoadable, RefusesVocabulariesWhoseArraysDoNotFit) {
  ExpectRefused(Model().SetRaw("tokenizer.ggml.scores", ValueType::kArray,
                               Numbers<float>(ValueType::kFloat32, {0, 0, 0})),
                "only 3 scores");
  ExpectRefused(Model().SetRaw("tokenizer.ggml.token_type", ValueType::kArray,
                               Numbers<std::int32_t>(ValueType::kInt32, {1})),
                "only 1 token types");
  ExpectRefused(Model().SetRaw("tokenizer.ggml.token_type", ValueType::kArray,
                               Numbers<std::uint32_t>(ValueType::kUint32, {1, 1, 1, 1})),
                "array of uint32");
  ExpectRefused(Model().SetRaw("tokenizer.ggml.tokens", ValueType::kArray,
                               Numbers<std::int32_t>(ValueType::kInt32, {1, 1, 1, 1})),
                "array of int32");
  ExpectRefused(Model().SetRaw("tokenizer.ggml.tokens", ValueType::kArray, Strings({})),
                "is empty");
  ExpectRefused(
      Model().SetRaw("tokenizer.ggml.tokens", ValueType::kArray, Strings({"a", "b", "c", "a"})),
      "twice");
  ExpectPasses(Model().Remove("tokenizer.ggml.scores").Remove("tokenizer.ggml.token_type"));
  ExpectRefused(Model().Set("tokenizer.ggml.model", "none").Remove("tokenizer.ggml.tokens"),
                "no vocabulary");
}

TEST(CheckLoadable, RefusesVocabulariesWithoutTheTokensThatTextsGet) {
  const auto small = [](const char* model) {
    return Model()
        .Set("tokenizer.ggml.model", model)
        .SetRaw("tokenizer.ggml.merges", ValueType::kArray, Strings({"a b"}));
  };
  const auto one_token = [] {
    return Model().SetRaw("tokenizer.ggml.tokens", ValueType::kArray, Strings({"a"}));
  };
  ExpectRefused(one_token(), "bos_token_id");
  ExpectPasses(one_token().Set("tokenizer.ggml.bos_token_id", 0U));
  ExpectPasses(one_token().Set("tokenizer.ggml.add_bos_token", false));
  ExpectRefused(one_token().Set("tokenizer.ggml.bos_token_id", 1U), "bos_token_id");
  ExpectRefused(
      one_token().Set("tokenizer.ggml.bos_token_id", 0U).Set("tokenizer.ggml.add_eos_token", true),
      "eos_token_id");

  ExpectPasses(small("gpt2"));
  ExpectRefused(small("gpt2").Set("tokenizer.ggml.add_bos_token", true), "bos_token_id");
  ExpectPasses(small("gpt2")
                   .Set("tokenizer.ggml.add_bos_token", true)
                   .Set("tokenizer.ggml.bos_token_id", 3U));
  ExpectRefused(small("gpt2").Remove("tokenizer.ggml.merges"), "merges' is missing");
  ExpectPasses(small("gpt2").Remove("tokenizer.ggml.merges").Set("tokenizer.ggml.pre", "kimi-k2"));

  ExpectRefused(small("bert"), "bos_token_id");
  ExpectRefused(small("bert").Set("tokenizer.ggml.bos_token_id", 1U), "seperator_token_id");
  ExpectPasses(small("bert")
                   .Set("tokenizer.ggml.bos_token_id", 1U)
                   .Set("tokenizer.ggml.seperator_token_id", 2U));
  ExpectRefused(small("bert").SetRaw("tokenizer.ggml.token_type", ValueType::kArray,
                                     Numbers<std::int32_t>(ValueType::kInt32, {1, 1, 6, 1})),
                "byte tokens");
  ExpectRefused(small("gemma4"), "bos_token_id");
  ExpectPasses(small("t5"));
}

TEST(CheckLoadable, RefusesTensorsOutOfOrder) {
  Model swapped;
  std::swap(swapped.tensors[0].offset, swapped.tensors[1].offset);
  ExpectRefused(swapped, "offset 32, must have 0");
  Model gap;
  gap.tensors[1].offset = 64;
  ExpectRefused(gap, "offset 64, must have 32");
  Model narrow;
  narrow.Set("general.alignment", 8U);
  narrow.tensors = {{"a", 0, {2}, 0, 0}, {"b", 0, {2}, 8, 0}};
  ExpectRefused(narrow, "not aligned to 32");
}

TEST(CheckLoadable, RefusesTensorTypesThatNothingComputesWith) {
  const auto with = [](std::string name, std::uint32_t type) {
    Model model;
    model.tensors = {{std::move(name), type, {256}, 0, 0}};
    return model;
  };
  ExpectPasses(with("blk.0.ffn_up.weight", 12));
  ExpectPasses(with("blk.0.attn_norm.weight", 0));
  ExpectRefused(with("blk.0.attn_norm.weight", 1), "cannot be of type F16");  // works on no CPU
  ExpectRefused(with("rope_freqs.weight", 30), "cannot be of type BF16");
  ExpectRefused(with("position_embd.weight", 24), "cannot be of type I8");
  ExpectPasses(with("blk.0.ffn_gate_tid2eid.weight", 26));
  ExpectRefused(with("blk.0.ffn_up.weight", 26), "cannot be of type I32");
  ExpectRefused(with("token_embd.weight", 9), "cannot be of type Q8_1");
  ExpectRefused(with("blk.0.attn_norm.weight", 12), "cannot be of type Q4_K");
  ExpectRefused(with("blk.0.attn_q.bias", 8), "cannot be of type Q8_0");
  ExpectRefused(with("blk.0.ffn_up_exps.weight", 4), "does not know");
}

TEST(CheckHoldsNoEncoder, NamesTheEncoderInsideALanguageModel) {
  Info info;
  info.tensors = {{"token_embd.weight", 0, {8}, 0, 32}, {"v.patch_embd.weight", 0, {8}, 32, 32}};
  const Status status = CheckHoldsNoEncoder(info);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kCorrupt);
  EXPECT_THAT(status.error().message,
              HasSubstr("holds its own image encoder ('v.patch_embd.weight')"));
  info.tensors.pop_back();
  EXPECT_TRUE(CheckHoldsNoEncoder(info));
}

TEST(CheckLoadable, LooksAtProjectorsAndAdaptersInTheirOwnWay) {
  const auto projector = [] {
    Model model;
    model.entries.clear();
    return model.Set("general.architecture", "clip")
        .Set("clip.vision.patch_size", 14U)
        .Set("clip.vision.block_count", 24U);
  };
  ExpectPasses(projector());
  ExpectRefused(projector().Set("clip.vision.patch_size", 0U), "patch_size' is 0");
  ExpectRefused(projector().Set("clip.vision.patch_size", 0x7fff'ffffU), "patch_size");
  ExpectRefused(projector().Set("clip.vision.projector.scale_factor", 0U), "scale_factor' is 0");
  ExpectRefused(projector().Set("clip.vision.spatial_merge_size", 0U), "spatial_merge_size' is 0");
  ExpectRefused(projector().Set("clip.audio.block_count", 513U), "block_count");
  ExpectRefused(projector().Set("clip.vision.attention.layer_norm_epsilon", -1.0F), "epsilon");

  // libmtmd asks for these as they should be, and aborts.
  ExpectRefused(projector().Set("clip.vision.image_size", -1.0F), "must be uint32");
  ExpectRefused(projector().Set("clip.vision.projection_dim", 70'000U), "projection_dim' is 70000");
  ExpectRefused(projector().Set("clip.has_vision_encoder", 1U), "must be bool");
  ExpectRefused(projector().Set("clip.projector_type", 1U), "must be string");

  Model adapter;
  adapter.entries.clear();
  ExpectPasses(adapter.Set("general.type", "adapter").Set("general.architecture", "llama"));
}

}  // namespace
}  // namespace corral::gguf
