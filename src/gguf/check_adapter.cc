// CheckAdapter: what libllama (llama.cpp v0.5.0, llama-adapter.cpp) refuses with a text that names
// no cause, and what it would abort on while building the first graph.
#include <cmath>
#include <map>
#include <string>
#include <string_view>

#include "gguf/reader.h"
#include "gguf/types.h"

namespace corral::gguf {
namespace {

constexpr std::string_view kFirst = ".lora_a", kSecond = ".lora_b";
constexpr std::string_view kEmbedding = "token_embd.weight";

// The two factors of what is added to one tensor of the model.
struct Pair {
  const TensorInfo* a = nullptr;
  const TensorInfo* b = nullptr;
};

std::uint64_t Dim(const TensorInfo& tensor, std::size_t i) {
  return i < tensor.dims.size() ? tensor.dims[i] : 1;
}

std::string Quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

Status CheckMetadata(const Info& adapter, const Info& model) {
  if (adapter.String("general.type") != "adapter")
    return Fail(Code::kCorrupt, "the file is no adapter ('general.type')");
  // aLoRA's tokens say from where in a prompt on it works: a state of ours has one set of adapters
  // from its beginning.
  if (adapter.Find("adapter.alora.invocation_tokens") != nullptr)
    return Fail(Code::kCorrupt,
                "adapters that a prompt's tokens activate (aLoRA) do not work here");
  if (adapter.String("adapter.type") != "lora")
    return Fail(Code::kCorrupt, "it is no LoRA adapter ('adapter.type')");
  const auto architecture = adapter.String("general.architecture");
  if (architecture != model.Architecture()) {
    return Fail(Code::kCorrupt, "it is for the architecture " + Quoted(architecture.value_or("")) +
                                    ", the model's is " + Quoted(model.Architecture()));
  }
  const KeyValue* alpha = adapter.Find("adapter.lora.alpha");
  if (alpha != nullptr &&
      (alpha->type != ValueType::kFloat32 || !std::isfinite(std::get<double>(alpha->value)))) {
    return Fail(Code::kCorrupt, "'adapter.lora.alpha' is no finite float32");
  }
  return {};
}

Status CheckShapes(const std::string& name, const Pair& pair, const TensorInfo& weight) {
  const auto wrong = [&](const std::string& why) {
    return Fail(Code::kCorrupt, "its tensors for " + Quoted(name) + " " + why);
  };
  for (const TensorInfo* factor : {pair.a, pair.b}) {
    if (!IsMatrixType(factor->type))
      return wrong("cannot be of type " + TensorTypeName(factor->type));
  }
  // Rows are looked up in the embedding's first factor instead of multiplied: it lies the other way
  // round.
  const bool is_embedding = name == kEmbedding;
  const std::uint64_t in = is_embedding ? Dim(*pair.a, 1) : Dim(*pair.a, 0);
  const std::uint64_t rank = is_embedding ? Dim(*pair.a, 0) : Dim(*pair.a, 1);
  const std::uint64_t out = Dim(*pair.b, 1);
  const std::uint64_t weight_in = Dim(weight, is_embedding ? 1 : 0);
  const std::uint64_t weight_out = Dim(weight, is_embedding ? 0 : 1);
  bool fits = in == weight_in && out == weight_out && rank == Dim(*pair.b, 0);
  for (const std::size_t i : {2U, 3U}) {
    fits = fits && Dim(*pair.a, i) == Dim(weight, i) && Dim(*pair.b, i) == Dim(weight, i);
  }
  if (!fits) return wrong("have other shapes than the model's: it is for another model");
  // Its scales come after the product, where an adapter's part must not be scaled.
  if (TensorTypeName(weight.type) == "NVFP4") return wrong("change a tensor of type NVFP4");
  return {};
}

}  // namespace

Status CheckAdapter(const Info& adapter, const Info& model) {
  CORRAL_TRY_STATUS(CheckMetadata(adapter, model));
  CORRAL_TRY_STATUS(CheckLoadable(adapter));
  std::map<std::string, Pair, std::less<>> pairs;
  for (const TensorInfo& tensor : adapter.tensors) {
    const std::string_view name = tensor.name;
    if (name.ends_with(kFirst)) {
      pairs[std::string(name.substr(0, name.size() - kFirst.size()))].a = &tensor;
    } else if (name.ends_with(kSecond)) {
      pairs[std::string(name.substr(0, name.size() - kSecond.size()))].b = &tensor;
    } else if (!name.ends_with("_norm.weight")) {  // left out by libllama
      return Fail(Code::kCorrupt, "its tensor " + Quoted(name) + " is no part of a LoRA adapter");
    }
  }
  std::map<std::string_view, const TensorInfo*> weights;
  for (const TensorInfo& tensor : model.tensors) weights.emplace(tensor.name, &tensor);
  for (const auto& [name, pair] : pairs) {
    if (pair.a == nullptr || pair.b == nullptr)
      return Fail(Code::kCorrupt, "one of its two tensors for " + Quoted(name) + " is missing");
    const auto weight = weights.find(name);
    if (weight == weights.end()) {
      return Fail(Code::kCorrupt, "it changes " + Quoted(name) +
                                      ", which the model lacks: it is for another model");
    }
    CORRAL_TRY_STATUS(CheckShapes(name, pair, *weight->second));
  }
  // Aborts: the embedding's factors, used for the output too, where they cannot be multiplied.
  const KeyValue* causal = model.Find(std::string(model.Architecture()) + ".attention.causal");
  const bool is_encoder = causal != nullptr && causal->value == Value(false);
  if (pairs.contains(kEmbedding) && !is_encoder && !weights.contains("output.weight")) {
    return Fail(Code::kCorrupt,
                "it changes the embeddings of a model whose output is made with them");
  }
  return {};
}

}  // namespace corral::gguf
