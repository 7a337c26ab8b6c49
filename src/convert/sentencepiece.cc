#include "convert/sentencepiece.h"

#include <cstring>
#include <optional>

namespace corral::convert {
namespace {

constexpr std::size_t kMostPieces = 4U << 20U;

// Walks the fields of one message.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : bytes_(bytes) {}

  struct Field {
    std::uint64_t number = 0;
    int wire_type = 0;
    std::uint64_t value = 0;  // of varints and fixed ones
    std::string_view bytes;   // of those with a length
  };
  // nullopt at the end, or where the message is broken: is_good() tells.
  std::optional<Field> Next() {
    if (bytes_.empty() || !is_good_) return std::nullopt;
    Field field;
    const std::uint64_t key = TakeVarint();
    field.number = key >> 3U;
    field.wire_type = static_cast<int>(key & 7U);
    switch (field.wire_type) {
      case 0:
        field.value = TakeVarint();
        break;
      case 1:
        field.value = TakeFixed(8);
        break;
      case 2:
        field.bytes = TakeBytes(TakeVarint());
        break;
      case 5:
        field.value = TakeFixed(4);
        break;
      default:
        is_good_ = false;
    }
    if (!is_good_) return std::nullopt;
    return field;
  }
  bool is_good() const { return is_good_; }

 private:
  std::uint64_t TakeVarint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (bytes_.empty()) break;
      const auto byte = static_cast<std::uint8_t>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
      if ((byte & 0x80U) == 0) return value;
    }
    is_good_ = false;
    return 0;
  }
  std::string_view TakeBytes(std::uint64_t size) {
    if (size > bytes_.size()) {
      is_good_ = false;
      return {};
    }
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  std::uint64_t TakeFixed(std::size_t size) {
    const std::string_view raw = TakeBytes(size);
    std::uint64_t value = 0;
    if (raw.size() == size) std::memcpy(&value, raw.data(), size);
    return value;
  }

  std::string_view bytes_;
  bool is_good_ = true;
};

std::optional<SentencePiece> ParsePiece(std::string_view message) {
  SentencePiece piece;
  Fields fields(message);
  while (const auto field = fields.Next()) {
    if (field->number == 1 && field->wire_type == 2) {
      piece.text = field->bytes;
    } else if (field->number == 2 && field->wire_type == 5) {
      const auto bits = static_cast<std::uint32_t>(field->value);
      std::memcpy(&piece.score, &bits, sizeof(bits));
    } else if (field->number == 3 && field->wire_type == 0) {
      piece.type = static_cast<std::int32_t>(field->value);
    }
  }
  if (!fields.is_good()) return std::nullopt;
  return piece;
}

}  // namespace

Result<std::vector<SentencePiece>> ParseSentencePieces(std::string_view proto) {
  const auto refuse = [](std::string_view why) {
    return Fail(Code::kInvalidArgument, "tokenizer.model " + std::string(why));
  };
  std::vector<SentencePiece> pieces;
  Fields fields(proto);
  while (const auto field = fields.Next()) {
    if (field->number != 1 || field->wire_type != 2) continue;
    auto piece = ParsePiece(field->bytes);
    if (!piece) return refuse("has a broken piece");
    if (pieces.size() == kMostPieces) return refuse("has too many pieces");
    pieces.push_back(*std::move(piece));
  }
  if (!fields.is_good()) return refuse("is no SentencePiece model");
  if (pieces.empty()) return refuse("has no pieces");
  return pieces;
}

}  // namespace corral::convert
