// Any bytes as a tokenizer.model: the pieces that are read are parts of it.
#include "convert/sentencepiece.h"

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace corral;
  const auto pieces = convert::ParseSentencePieces({reinterpret_cast<const char*>(data), size});
  if (!pieces) return 0;
  std::size_t n_bytes = 0;
  for (const convert::SentencePiece& piece : *pieces) n_bytes += piece.text.size();
  CORRAL_CHECK(!pieces->empty() && n_bytes < size, "pieces that were not there");
  return 0;
}
