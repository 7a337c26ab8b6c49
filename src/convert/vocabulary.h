// A model's vocabulary as GGUF has it, out of tokenizer.model or tokenizer.json.
//
// Source: llama.cpp v0.5.0, conversion/base.py (_set_vocab_*) and bert.py. Its fingerprint of a
// byte-level tokenizer (the hash of a text's tokens) becomes a look at the pre-tokenizer's
// pattern here: one that llama.cpp has no name for is refused, since a guess would cut every text a
// little wrong. Pure but for reading the files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "convert/inputs.h"
#include "core/result.h"
#include "gguf/header.h"

namespace corral::convert {

enum class VocabularyKind {
  kLlama,      // tokenizer.model, else tokenizer.json with byte fallback, else byte-level BPE
  kByteLevel,  // tokenizer.model, else byte-level BPE
  kPhi,        // byte-level BPE if the configuration says GPT2Tokenizer, else tokenizer.model
  kPieces,     // tokenizer.model
  kWordPiece,  // tokenizer.json
};

struct Vocabulary {
  std::string model = {};  // "llama", "gpt2", "bert"
  std::string pre = {};
  std::vector<std::string> tokens = {};
  std::vector<float> scores = {};  // empty for those that have none
  std::vector<std::int32_t> types = {};
  std::vector<std::string> merges = {};
};

// `vocab_size`: config.json's; 0: none. Errors: kInvalidArgument, kNotFound (no tokenizer file),
// kIo.
Result<Vocabulary> ReadVocabulary(const Inputs& inputs, VocabularyKind kind,
                                  std::uint32_t vocab_size);

void SetVocabulary(const Vocabulary& vocabulary, gguf::Header* header);

// tokenizer.ggml.*_token_id, add_*_token, the chat template, and the normalizer's flags, out of
// tokenizer.json, tokenizer_config.json, config.json and chat_template.jinja. Source:
// gguf-py/gguf/vocab.py (SpecialVocab).
// `adds_bos`, if set, goes before what the files say.
Status SetSpecialTokens(const Inputs& inputs, const Vocabulary& vocabulary,
                        std::optional<bool> adds_bos, gguf::Header* header);

}  // namespace corral::convert
