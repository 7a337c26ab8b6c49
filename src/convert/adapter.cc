#include "convert/adapter.h"

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "convert/assemble.h"
#include "convert/families.h"
#include "convert/safetensors.h"
#include "core/task.h"
#include "gguf/reader.h"

namespace corral::convert {
namespace {

struct Pair {
  std::optional<SafeTensor> a, b;
};

// "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" is half A of
// "model.layers.0.self_attn.q_proj.weight".
struct HalfName {
  std::string base;
  bool is_a = false;
};
std::optional<HalfName> ParseHalf(std::string_view name) {
  constexpr std::string_view kPrefix = "base_model.model.";
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  for (const bool is_a : {true, false}) {
    for (const std::string_view suffix :
         {is_a ? std::string_view(".lora_A.weight") : std::string_view(".lora_B.weight"),
          is_a ? std::string_view(".lora_A.default.weight")
               : std::string_view(".lora_B.default.weight"),
          is_a ? std::string_view(".lora_embedding_A") : std::string_view(".lora_embedding_B")}) {
      if (name.ends_with(suffix))
        return HalfName{std::string(name.substr(0, name.size() - suffix.size())) + ".weight", is_a};
    }
  }
  return std::nullopt;
}

Result<std::map<std::string, Pair>> ReadPairs(const Inputs& inputs, const Family& family) {
  std::map<std::string, Pair> pairs;
  for (const auto& [file, fd] : inputs.EndingWith(".safetensors")) {
    auto tensors = ReadSafetensors(fd);
    if (!tensors) return Fail(std::move(tensors).error().Within(file));
    for (SafeTensor& tensor : *tensors) {
      const auto half = ParseHalf(tensor.name);
      if (!half)
        return Refuse("tensor " + tensor.name + " is no part of a LoRA adapter (PEFT's form)");
      CORRAL_TRY_STATUS(CheckSource(tensor));
      if (tensor.shape.size() != 2) return Refuse("tensor " + tensor.name + " is no matrix");
      const auto mapped = MapTensorName(family, half->base);
      if (!mapped || mapped->empty())
        return Refuse("tensor " + tensor.name + " adapts nothing that the base model has");
      std::optional<SafeTensor>& place = half->is_a ? pairs[*mapped].a : pairs[*mapped].b;
      if (place) return Refuse("tensor " + tensor.name + " is there twice");
      place = std::move(tensor);
    }
  }
  if (pairs.empty()) return Refuse("the adapter has no tensors");
  return pairs;
}

}  // namespace

Status ConvertAdapter(const Inputs& inputs, const std::string& name, int output,
                      const std::function<void(float)>& on_progress) {
  const auto base_fd = inputs.Find(kBaseModel);
  if (!base_fd) return Refuse("no base model was found");
  CORRAL_TRY(const gguf::Info base, gguf::ReadFd(*base_fd));
  const Family* family = FindFamilyOfGguf(base.Architecture());
  if (family == nullptr)
    return Refuse("unsupported architecture \"" + std::string(base.Architecture()) + "\"");
  const auto n_heads = base.ArchUint("attention.head_count").value_or(0);
  const auto n_kv_heads = base.ArchUint("attention.head_count_kv").value_or(n_heads);
  CORRAL_TRY(const Json config, inputs.ReadJson("adapter_config.json"));
  const auto alpha = NumberOf(config, "lora_alpha");
  if (!alpha) return Refuse("adapter_config.json: lora_alpha is missing");

  CORRAL_TRY(const auto pairs, ReadPairs(inputs, *family));
  std::vector<OutputTensor> tensors;
  for (const auto& [mapped, pair] : pairs) {
    if (!pair.a || !pair.b) return Refuse("the adapter has only half of " + mapped);
    OutputTensor a{.name = mapped + ".lora_a", .type = kTypeFloat32, .shape = pair.a->shape};
    a.source = pair.a;
    // The embeddings' first half is looked up by token, not multiplied.
    if (mapped == "token_embd.weight") {
      std::swap(a.shape[0], a.shape[1]);
      a.is_transposed = true;
    }
    OutputTensor b{.name = mapped + ".lora_b", .type = kTypeFloat32, .shape = pair.b->shape};
    b.source = pair.b;
    b.interleave_heads = InterleavedHeads(*family, mapped, n_heads, n_kv_heads);
    CORRAL_TRY_STATUS(CheckInterleaving(b));
    tensors.push_back(std::move(a));
    tensors.push_back(std::move(b));
  }
  gguf::Header header;
  header.SetString("general.architecture", base.Architecture());
  header.SetString("general.type", "adapter");
  header.SetString("adapter.type", "lora");
  if (!name.empty()) header.SetString("general.name", name);
  header.SetFloat32("adapter.lora.alpha", static_cast<float>(*alpha));
  header.SetUint32("general.quantization_version", 2);
  return Assemble(std::move(header), tensors, output, on_progress);
}

}  // namespace corral::convert
