// LoRA adapters for TinyLlama, and the sums that they stand for.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "support/tiny_models/parts.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::testing {
namespace {

constexpr std::uint64_t kRank = 4;
constexpr float kAlpha = 8.0F;

bool IsChanged(std::string_view name) {
  return name.ends_with(".attn_q.weight") || name.ends_with(".attn_v.weight") ||
         name.ends_with(".ffn_up.weight");
}

struct Factors {
  std::vector<float> a;  // [kRank][from]
  std::vector<float> b;  // [to][kRank]
};

Factors FactorsOf(unsigned seed, std::string_view name, std::uint64_t from, std::uint64_t to) {
  std::uint64_t hash = seed + 1;
  for (const char c : name) hash = hash * 1099511628211ULL + static_cast<unsigned char>(c);
  Random random(hash);
  Factors factors;
  factors.a = random.Normals(from * kRank, 1.0F / std::sqrt(static_cast<float>(from)));
  factors.b = random.Normals(to * kRank, 1.0F / std::sqrt(static_cast<float>(kRank)));
  return factors;
}

}  // namespace

void Merge(const std::vector<MergedAdapter>& adapters, std::string_view name, std::uint64_t from,
           std::uint64_t to, std::vector<float>* weights) {
  if (!IsChanged(name)) return;
  for (const MergedAdapter& adapter : adapters) {
    const Factors factors = FactorsOf(adapter.seed, name, from, to);
    for (std::size_t row = 0; row < to; ++row) {
      for (std::size_t column = 0; column < from; ++column) {
        double sum = 0;
        for (std::size_t k = 0; k < kRank; ++k) {
          sum += static_cast<double>(factors.b[row * kRank + k]) *
                 static_cast<double>(factors.a[k * from + column]);
        }
        const double scale = static_cast<double>(adapter.scale * kAlpha) / kRank;
        (*weights)[row * from + column] += static_cast<float>(scale * sum);
      }
    }
  }
}

namespace {

gguf::Writer EmptyAdapter(std::string_view architecture) {
  gguf::Writer writer;
  writer.SetString("general.architecture", architecture);
  writer.SetString("general.type", "adapter");
  writer.SetString("adapter.type", "lora");
  writer.SetFloat32("adapter.lora.alpha", kAlpha);
  return writer;
}

void AddFactors(gguf::Writer& writer, unsigned seed, const std::string& name, std::uint64_t from,
                std::uint64_t to) {
  const Factors factors = FactorsOf(seed, name, from, to);
  writer.AddTensor(name + ".lora_a", {from, kRank}, factors.a);
  writer.AddTensor(name + ".lora_b", {kRank, to}, factors.b);
}

}  // namespace

gguf::Writer TinyAdapter(unsigned seed, std::string_view architecture) {
  const bool is_mamba = architecture == "mamba", is_jamba = architecture == "jamba";
  const int n_blocks = is_jamba || architecture == "gemma3" ? 4 : 2;
  gguf::Writer writer = EmptyAdapter(architecture);
  for (int i = 0; i < n_blocks; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    if (is_mamba || (is_jamba && i % 2 == 0)) {
      AddFactors(writer, seed, block + "ssm_in.weight", 64, 256);
    } else {
      AddFactors(writer, seed, block + "attn_q.weight", 64, 64);
      AddFactors(writer, seed, block + "attn_v.weight", 64, 32);
    }
    if (!is_mamba) AddFactors(writer, seed, block + "ffn_up.weight", 64, 128);
  }
  return writer;
}

gguf::Writer UnfitAdapter() {
  gguf::Writer writer = EmptyAdapter("llama");
  AddFactors(writer, 0, "blk.0.attn_q.weight", 24, 24);
  return writer;
}

}  // namespace corral::testing
