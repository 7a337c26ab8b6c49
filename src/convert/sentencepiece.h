// The vocabulary of a SentencePiece model (tokenizer.model): a protobuf message ModelProto, of
// which only the pieces are read.
//
// Source: google/sentencepiece, src/sentencepiece_model.proto. Trusts no length. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace corral::convert {

struct SentencePiece {
  // The numbers are the format's, and GGUF's token types.
  enum Type : std::int32_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6
  };
  std::string text;
  float score = 0;
  std::int32_t type = kNormal;
};

// In the order of their ids. Errors: kInvalidArgument.
Result<std::vector<SentencePiece>> ParseSentencePieces(std::string_view proto);

}  // namespace corral::convert
