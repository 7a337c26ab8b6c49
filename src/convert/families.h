// The model families that can be converted: their names, their keys, their tensors.
//
// Source: llama.cpp v0.5.0, conversion/{llama,qwen,gemma,phi,bert}.py. Values and pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "convert/inputs.h"
#include "convert/parameters.h"
#include "convert/tensor_data.h"
#include "convert/vocabulary.h"
#include "gguf/header.h"

namespace corral::convert {

struct Family {
  std::string_view architecture;  // general.architecture
  VocabularyKind vocabulary;
  // What Hugging Face's configuration class gives to keys that a config.json leaves out; JSON.
  std::string_view defaults;
  bool fills_head_dim = false;    // head_dim, if absent, is hidden_size / num_attention_heads
  bool interleaves_rows = false;  // of query and key (OutputTensor::interleave_heads)
  bool adds_one_to_norms = false;
  bool drops_lm_head = false;  // output is the token embeddings
};

// By the name in config.json's "architectures". Null: not one that can be converted.
const Family* FindFamily(std::string_view hf_architecture);
// By GGUF's name, for adapters.
const Family* FindFamilyOfGguf(std::string_view architecture);

// The family's keys, with what all share. Errors: kInvalidArgument.
Status SetFamilyKeys(const Family& family, const Inputs& inputs, const Parameters& parameters,
                     const Vocabulary& vocabulary, gguf::Header* header);

// llama.cpp's name of a tensor. nullopt: there is none; empty: the tensor is not needed.
std::optional<std::string> MapTensorName(const Family& family, std::string_view name);

// Query heads, or key heads, if `mapped` is a tensor whose rows are interleaved; else 0.
std::uint64_t InterleavedHeads(const Family& family, std::string_view mapped, std::uint64_t n_heads,
                               std::uint64_t n_kv_heads);

// Tensors that no file holds: RoPE factors. Adds their keys, too.
Result<std::vector<OutputTensor>> ExtraTensors(const Family& family, const Parameters& parameters,
                                               gguf::Header* header);

}  // namespace corral::convert
