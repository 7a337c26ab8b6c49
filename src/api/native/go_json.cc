#include "api/native/go_json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "api/json_writer.h"
#include "core/text.h"

namespace corral::api {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool EqualFold(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (Lower(a[i]) != Lower(b[i])) return false;
  }
  return true;
}

std::string_view KindName(JsonKind kind) {
  switch (kind) {
    case JsonKind::kNull:
      return "null";
    case JsonKind::kBool:
      return "bool";
    case JsonKind::kNumber:
      return "number";
    case JsonKind::kString:
      return "string";
    case JsonKind::kArray:
      return "array";
    case JsonKind::kObject:
      return "object";
  }
  return "";
}

std::uint32_t HexValue(std::string_view four_digits) {
  std::uint32_t value = 0;
  std::from_chars(four_digits.data(), four_digits.data() + four_digits.size(), value, 16);
  return value;
}

}  // namespace

std::string UnquoteJson(std::string_view literal) {
  std::string_view in = literal.substr(1, literal.size() - 2);
  std::string out;
  out.reserve(in.size());
  while (!in.empty()) {
    const auto c = static_cast<unsigned char>(in[0]);
    if (c >= 0x80) {
      const Rune rune = DecodeRune(in);
      AppendRune(out, rune.value);
      in.remove_prefix(rune.size);
      continue;
    }
    if (c != '\\') {
      out.push_back(static_cast<char>(c));
      in.remove_prefix(1);
      continue;
    }
    const char escape = in[1];
    if (escape != 'u') {
      static constexpr std::string_view kNames = "bfnrt";
      const auto named = kNames.find(escape);
      out.push_back(named == std::string_view::npos ? escape : "\b\f\n\r\t"[named]);
      in.remove_prefix(2);
      continue;
    }
    std::uint32_t code_point = HexValue(in.substr(2, 4));
    in.remove_prefix(6);
    if (code_point >= 0xD800 && code_point < 0xE000) {
      // A pair of surrogates is one character; a lone one is replaced.
      const bool has_second = code_point < 0xDC00 && in.starts_with("\\u");
      const std::uint32_t second = has_second ? HexValue(in.substr(2, 4)) : 0;
      if (second >= 0xDC00 && second < 0xE000) {
        code_point = 0x10000 + ((code_point - 0xD800) << 10U) + (second - 0xDC00);
        in.remove_prefix(6);
      } else {
        code_point = 0xFFFD;
      }
    }
    AppendRune(out, code_point);
  }
  return out;
}

std::string CompactJson(std::string_view checked) {
  std::string out;
  out.reserve(checked.size());
  for (std::size_t i = 0; i < checked.size(); ++i) {
    const char c = checked[i];
    if (c == '"') {
      std::size_t end = i + 1;
      while (checked[end] != '"') end += checked[end] == '\\' ? 2 : 1;
      AppendJsonString(UnquoteJson(checked.substr(i, end + 1 - i)), &out);
      i = end;
    } else if (!IsBlank(c)) {
      out.push_back(c);
    }
  }
  return out;
}

Status Decoder::status() const {
  if (aborted_) return Fail(Code::kInvalidArgument, *aborted_);
  if (remembered_) return Fail(Code::kInvalidArgument, *remembered_);
  return {};
}

void Decoder::SkipBlanks() {
  while (at_ < text_.size() && IsBlank(text_[at_])) ++at_;
}

JsonKind Decoder::kind() const {
  switch (text_[at_]) {
    case '{':
      return JsonKind::kObject;
    case '[':
      return JsonKind::kArray;
    case '"':
      return JsonKind::kString;
    case 't':
    case 'f':
      return JsonKind::kBool;
    case 'n':
      return JsonKind::kNull;
    default:
      return JsonKind::kNumber;
  }
}

std::string_view Decoder::TakeToken() {
  const std::size_t begin = at_;
  if (text_[at_] == '"') {
    ++at_;
    while (text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    ++at_;
  } else {
    static constexpr std::string_view kEnds = ",:]} \t\r\n";
    while (at_ < text_.size() && kEnds.find(text_[at_]) == std::string_view::npos) ++at_;
  }
  return text_.substr(begin, at_ - begin);
}

std::string_view Decoder::ReadRaw() {
  const std::size_t begin = at_;
  std::size_t depth = 0;
  do {
    const char c = text_[at_];
    if (c == '{' || c == '[') {
      ++depth;
      ++at_;
    } else if (c == '}' || c == ']') {
      --depth;
      ++at_;
    } else if (c == ',' || c == ':' || IsBlank(c)) {
      ++at_;
    } else {
      TakeToken();
    }
  } while (depth > 0);
  return text_.substr(begin, at_ - begin);
}

std::string_view Decoder::PeekRaw() {
  const std::size_t begin = at_;
  const std::string_view raw = ReadRaw();
  at_ = begin;
  return raw;
}

std::string Decoder::TakeString() { return UnquoteJson(TakeToken()); }
std::string_view Decoder::TakeNumber() { return TakeToken(); }
bool Decoder::TakeBool() { return TakeToken() == "true"; }

std::string Decoder::WrongType(std::string_view value, std::string_view go_type) const {
  std::string text = "json: cannot unmarshal ";
  text += value;
  if (path_.empty()) {
    text += " into Go value of type ";
  } else {
    text += " into Go struct field ";
    text += root_;
    for (const std::string_view field : path_) {
      text += '.';
      text += field;
    }
    text += " of type ";
  }
  text += go_type;
  return text;
}

void Decoder::SkipWrongType(std::string_view go_type) {
  if (!remembered_) remembered_ = WrongType(KindName(kind()), go_type);
  ReadRaw();
}

void Decoder::Abort(std::string message) {
  if (!aborted_) aborted_ = std::move(message);
}

void Decoder::Read(std::string* out, std::string_view go_type) {
  if (kind() == JsonKind::kString) {
    *out = TakeString();
  } else if (kind() == JsonKind::kNull) {
    TakeToken();
  } else {
    SkipWrongType(go_type);
  }
}

void Decoder::Read(bool* out) {
  if (kind() == JsonKind::kBool) {
    *out = TakeBool();
  } else if (kind() == JsonKind::kNull) {
    TakeToken();
  } else {
    SkipWrongType("bool");
  }
}

void Decoder::Read(std::optional<bool>* out) {
  if (kind() == JsonKind::kNull) {
    out->reset();
    TakeToken();
    return;
  }
  bool value = false;
  const bool was_bool = kind() == JsonKind::kBool;
  Read(&value);
  if (was_bool) *out = value;
}

template <class T>
void Decoder::ReadInteger(T* out, std::string_view go_type) {
  if (kind() == JsonKind::kNull) {
    TakeToken();
    return;
  }
  if (kind() != JsonKind::kNumber) {
    SkipWrongType(go_type);
    return;
  }
  const std::string_view number = TakeNumber();
  T value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc() || end != number.data() + number.size()) {
    if (!remembered_) remembered_ = WrongType("number " + std::string(number), go_type);
    return;
  }
  *out = value;
}

void Decoder::Read(float* out) {
  static constexpr std::string_view kGoType = "float32";
  if (kind() == JsonKind::kNull) {
    TakeToken();
    return;
  }
  if (kind() != JsonKind::kNumber) {
    SkipWrongType(kGoType);
    return;
  }
  const std::string number(TakeNumber());
  const auto value = static_cast<float>(std::strtod(number.c_str(), nullptr));
  if (!std::isfinite(value)) {
    if (!remembered_) remembered_ = WrongType("number " + number, kGoType);
    return;
  }
  *out = value;
}

void Decoder::Read(std::int64_t* out, std::string_view go_type) { ReadInteger(out, go_type); }
void Decoder::ReadInt32(std::int32_t* out) { ReadInteger(out, "int32"); }

void Decoder::Read(int* out) {
  std::int64_t value = *out;
  Read(&value);
  // Go's int has 64 bits; ours has enough for every field that uses it.
  *out = static_cast<int>(std::clamp<std::int64_t>(value, INT32_MIN, INT32_MAX));
}

void Decoder::Read(std::optional<std::int64_t>* out) {
  if (kind() == JsonKind::kNull) {
    out->reset();
    TakeToken();
    return;
  }
  const bool was_number = kind() == JsonKind::kNumber;
  std::int64_t value = 0;
  Read(&value);
  if (was_number) *out = value;
}

template <class F>
void Decoder::EachMember(F&& member) {
  ++at_;  // {
  SkipBlanks();
  while (text_[at_] != '}') {
    const std::string key = UnquoteJson(TakeToken());
    SkipBlanks();
    ++at_;  // :
    SkipBlanks();
    member(key);
    if (aborted_) return;
    SkipBlanks();
    if (text_[at_] == ',') {
      ++at_;
      SkipBlanks();
    }
  }
  ++at_;
}

void Decoder::ReadStruct(std::string_view go_type, std::span<const JsonField> fields) {
  if (kind() == JsonKind::kNull) {
    TakeToken();
    return;
  }
  if (kind() != JsonKind::kObject) {
    SkipWrongType(go_type);
    return;
  }
  if (root_.empty()) root_ = go_type.substr(go_type.rfind('.') + 1);
  EachMember([&](const std::string& key) {
    const JsonField* match = nullptr;
    for (const JsonField& field : fields) {
      if (field.name == key) {
        match = &field;
        break;
      }
      if (match == nullptr && EqualFold(field.name, key)) match = &field;
    }
    if (match == nullptr) {
      ReadRaw();
      return;
    }
    path_.push_back(match->name);
    match->read(*this);
    path_.pop_back();
  });
}

bool Decoder::ReadArray(std::string_view go_type, const std::function<void(Decoder&)>& element) {
  if (kind() == JsonKind::kNull) {
    TakeToken();
    return true;
  }
  if (kind() != JsonKind::kArray) {
    SkipWrongType(go_type);
    return false;
  }
  ++at_;  // [
  SkipBlanks();
  for (std::size_t n = 0; text_[at_] != ']'; ++n) {
    if (n == kMaxJsonElements) {
      Abort("too many elements in an array");
      return true;
    }
    element(*this);
    if (aborted_) return true;
    SkipBlanks();
    if (text_[at_] == ',') {
      ++at_;
      SkipBlanks();
    }
  }
  ++at_;
  return true;
}

bool Decoder::ReadMap(std::string_view go_type,
                      const std::function<void(std::string, Decoder&)>& member) {
  if (kind() == JsonKind::kNull) {
    TakeToken();
    return true;
  }
  if (kind() != JsonKind::kObject) {
    SkipWrongType(go_type);
    return false;
  }
  EachMember([&](const std::string& key) { member(key, *this); });
  return true;
}

}  // namespace corral::api
