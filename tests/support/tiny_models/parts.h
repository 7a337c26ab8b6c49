// What the tiny models are made of. Inside the library: others use tiny_models.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/writer.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::testing {

// Numbers of a fixed sequence (splitmix64), roughly normal. Only integer steps and exact sums: the
// same everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  // Mean 0, deviation 1, within +-6.
  float Normal() {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(Next() >> 40) * 0x1p-24;
    return static_cast<float>(sum);
  }

  std::vector<float> Normals(std::uint64_t n, float deviation) {
    std::vector<float> values(n);
    for (float& value : values) value = deviation * Normal();
    return values;
  }

 private:
  std::uint64_t Next() {
    state_ += 0x9e3779b97f4a7c15ULL;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }

  std::uint64_t state_;
};

inline void AddConstant(gguf::Writer& writer, std::string name, std::uint64_t size, float value) {
  writer.AddTensor(std::move(name), {size}, std::vector<float>(size, value));
}

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<std::int32_t> types;
  std::vector<float> biases;  // added to the token's logit, so to say
  std::set<std::string> seen;

  void Add(std::string token, float score, std::int32_t type, float bias) {
    if (!seen.insert(token).second) return;
    tokens.push_back(std::move(token));
    scores.push_back(score);
    types.push_back(type);
    biases.push_back(bias);
  }
  // The token's id; that of <unk> where there is none.
  std::uint64_t Find(std::string_view token) const {
    const auto found = std::find(tokens.begin(), tokens.end(), token);
    return found == tokens.end() ? 0 : static_cast<std::uint64_t>(found - tokens.begin());
  }
};

// A SentencePiece vocabulary of words and all their beginnings, bytes and printable ASCII.
Vocabulary LlamaVocabulary(const TinyLlamaOptions& options);
// Its tokenizer keys.
void SetVocabulary(gguf::Writer& writer, const Vocabulary& vocabulary);

// Adds to the weights of TinyLlama's tensor `name` what the adapters stand for.
void Merge(const std::vector<MergedAdapter>& adapters, std::string_view name, std::uint64_t from,
           std::uint64_t to, std::vector<float>* weights);

}  // namespace corral::testing
