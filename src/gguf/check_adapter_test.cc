#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "gguf/reader.h"
#include "gguf/test_file.h"
#include "gguf/writer.h"

namespace corral::gguf {
namespace {

using ::testing::HasSubstr;

struct Tensor {
  std::string name;
  std::vector<std::uint64_t> dims;
};

std::string File(const std::function<void(Writer&)>& keys, const std::vector<Tensor>& tensors) {
  Writer writer;
  keys(writer);
  for (const Tensor& tensor : tensors) {
    std::size_t n = 1;
    for (const std::uint64_t dim : tensor.dims) n *= dim;
    writer.AddTensor(tensor.name, tensor.dims, std::vector<float>(n));
  }
  return writer.Bytes();
}

Info Model(bool has_output = true) {
  std::vector<Tensor> tensors = {{"token_embd.weight", {8, 16}},
                                 {"blk.0.attn_q.weight", {8, 12}},
                                 {"blk.0.ffn_up_exps.weight", {8, 6, 2}}};
  if (has_output) tensors.push_back({"output.weight", {8, 16}});
  return ReadBytes(File([](Writer& writer) { writer.SetString("general.architecture", "llama"); },
                        tensors))
      .value();
}

void LoraKeys(Writer& writer) {
  writer.SetString("general.architecture", "llama");
  writer.SetString("general.type", "adapter");
  writer.SetString("adapter.type", "lora");
  writer.SetFloat32("adapter.lora.alpha", 4);
}

std::string Check(const std::string& adapter, const Info& model = Model()) {
  const auto info = ReadBytes(adapter);
  if (!info) return info.error().message;
  const Status status = CheckAdapter(*info, model);
  return status ? "" : status.error().message;
}

const std::vector<Tensor> kQuery = {{"blk.0.attn_q.weight.lora_a", {8, 2}},
                                    {"blk.0.attn_q.weight.lora_b", {2, 12}}};

TEST(CheckAdapter, TakesWhatFits) {
  EXPECT_EQ(Check(File(LoraKeys, kQuery)), "");
  EXPECT_EQ(Check(File(LoraKeys, {})), "");
  EXPECT_EQ(Check(File(LoraKeys, {{"blk.0.ffn_up_exps.weight.lora_a", {8, 3, 2}},
                                  {"blk.0.ffn_up_exps.weight.lora_b", {3, 6, 2}},
                                  {"blk.0.attn_norm.weight", {8}}})),
            "");
}

TEST(CheckAdapter, RefusesAnotherKindOrArchitecture) {
  const auto with = [](const char* key, const char* value) {
    return Check(File(
        [&](Writer& writer) {
          for (const auto& [name, usual] :
               {std::pair("general.architecture", "llama"), std::pair("general.type", "adapter"),
                std::pair("adapter.type", "lora")}) {
            writer.SetString(name, std::string_view(name) == key ? value : usual);
          }
        },
        kQuery));
  };
  EXPECT_THAT(with("general.type", "model"), HasSubstr("no adapter"));
  EXPECT_THAT(with("adapter.type", "ia3"), HasSubstr("no LoRA adapter"));
  EXPECT_THAT(with("general.architecture", "gemma3"),
              HasSubstr("the architecture 'gemma3', the model's is 'llama'"));
  EXPECT_THAT(Check(File([](Writer& writer) { writer.SetUint32("general.type", 1); }, kQuery)),
              HasSubstr("no adapter"));
  EXPECT_THAT(Check(File(
                  [](Writer& writer) {
                    LoraKeys(writer);
                    writer.SetInt32s("adapter.alora.invocation_tokens",
                                     std::vector<std::int32_t>{1});
                  },
                  kQuery)),
              HasSubstr("aLoRA"));
}

TEST(CheckAdapter, RefusesAnAlphaThatIsNoFiniteFloat) {
  const auto with = [](const std::function<void(Writer&)>& set) {
    return Check(File(
        [&](Writer& writer) {
          writer.SetString("general.architecture", "llama");
          writer.SetString("general.type", "adapter");
          writer.SetString("adapter.type", "lora");
          set(writer);
        },
        kQuery));
  };
  EXPECT_EQ(with([](Writer&) {}), "") << "without one the scale is 1";
  EXPECT_THAT(with([](Writer& writer) { writer.SetUint32("adapter.lora.alpha", 4); }),
              HasSubstr("no finite float32"));
  EXPECT_THAT(with([](Writer& writer) {
                writer.SetFloat32("adapter.lora.alpha", std::numeric_limits<float>::infinity());
              }),
              HasSubstr("no finite float32"));
}

TEST(CheckAdapter, RefusesTensorsThatDoNotFit) {
  const auto query = [](std::vector<std::uint64_t> a, std::vector<std::uint64_t> b) {
    return Check(File(LoraKeys, {{"blk.0.attn_q.weight.lora_a", std::move(a)},
                                 {"blk.0.attn_q.weight.lora_b", std::move(b)}}));
  };
  EXPECT_THAT(query({4, 2}, {2, 12}), HasSubstr("other shapes"));
  EXPECT_THAT(query({8, 2}, {2, 8}), HasSubstr("other shapes"));
  EXPECT_THAT(query({8, 2}, {3, 12}), HasSubstr("other shapes")) << "ranks differ";
  EXPECT_THAT(query({8, 2, 3}, {2, 12}), HasSubstr("other shapes")) << "aborts when multiplied";
  EXPECT_THAT(query({8, 2}, {2, 12, 1, 2}), HasSubstr("other shapes"));
  EXPECT_THAT(Check(File(LoraKeys, {kQuery[0]})), HasSubstr("missing"));
  EXPECT_THAT(Check(File(LoraKeys, {{"blk.9.attn_q.weight.lora_a", {8, 2}},
                                    {"blk.9.attn_q.weight.lora_b", {2, 12}}})),
              HasSubstr("which the model lacks"));
  EXPECT_THAT(Check(File(LoraKeys, {{"blk.0.attn_q.weight", {8, 12}}})),
              HasSubstr("no part of a LoRA adapter"));
}

TEST(CheckAdapter, RefusesTypesThatCannotBeMultiplied) {
  RawFile file;
  file.String("general.architecture", "llama")
      .String("general.type", "adapter")
      .String("adapter.type", "lora")
      .Tensor("blk.0.attn_q.weight.lora_a", {8, 2}, 26, 0)
      .Tensor("blk.0.attn_q.weight.lora_b", {2, 12}, 0, 64)
      .Data(64 + 96);
  EXPECT_THAT(Check(file.Bytes()), HasSubstr("cannot be of type I32"));
}

TEST(CheckAdapter, TakesEmbeddingsOnlyWhereTheOutputHasItsOwn) {
  const std::string adapter =
      File(LoraKeys, {{"token_embd.weight.lora_a", {2, 16}}, {"token_embd.weight.lora_b", {2, 8}}});
  EXPECT_EQ(Check(adapter), "");
  EXPECT_THAT(Check(adapter, Model(/*has_output=*/false)), HasSubstr("embeddings"));
}

}  // namespace
}  // namespace corral::gguf
