#include "api/json_writer.h"

#include <array>
#include <charconv>
#include <cmath>

#include "core/text.h"

namespace corral::api {
namespace {

template <class Float>
void AppendFloat(Float value, std::string* out) {
  if (!std::isfinite(value)) {
    *out += "null";
    return;
  }
  const Float size = std::abs(value);
  const bool has_exponent =
      size != 0 && (size < static_cast<Float>(1e-6) || size >= static_cast<Float>(1e21));
  std::array<char, 64> buffer;
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                    has_exponent ? std::chars_format::scientific : std::chars_format::fixed)
          .ptr;
  std::string_view text(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  // encoding/json writes e-9, not e-09; two-digit positive exponents stay.
  if (const auto n = text.size();
      has_exponent && n >= 4 && text[n - 4] == 'e' && text[n - 3] == '-' && text[n - 2] == '0') {
    out->append(text.substr(0, n - 2));
    out->push_back(text[n - 1]);
    return;
  }
  out->append(text);
}

}  // namespace

void AppendJsonString(std::string_view text, std::string* out) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  out->push_back('"');
  std::size_t begin = 0;  // start of the run that needs no change
  std::size_t i = 0;
  const auto flush = [&] { out->append(text.substr(begin, i - begin)); };
  while (i < text.size()) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
      ++i;
      continue;
    }
    if (c >= 0x80) {
      if (const Rune rune = DecodeRune(text.substr(i)); rune.is_valid) {
        i += rune.size;
        continue;
      }
      flush();
      out->append("\xEF\xBF\xBD");
    } else {
      flush();
      out->push_back('\\');
      switch (c) {
        case '"':
        case '\\':
          out->push_back(static_cast<char>(c));
          break;
        case '\b':
          out->push_back('b');
          break;
        case '\f':
          out->push_back('f');
          break;
        case '\n':
          out->push_back('n');
          break;
        case '\r':
          out->push_back('r');
          break;
        case '\t':
          out->push_back('t');
          break;
        default:
          out->append("u00");
          out->push_back(kHex[c >> 4U]);
          out->push_back(kHex[c & 15U]);
      }
    }
    begin = ++i;
  }
  flush();
  out->push_back('"');
}

void JsonWriter::Comma() {
  if (needs_comma_) out_.push_back(',');
  needs_comma_ = true;
}

JsonWriter& JsonWriter::Open(char bracket) {
  Comma();
  out_.push_back(bracket);
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::Close(char bracket) {
  out_.push_back(bracket);
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::Key(std::string_view key) {
  Comma();
  AppendJsonString(key, &out_);
  out_.push_back(':');
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::Value(std::string_view text) {
  Comma();
  AppendJsonString(text, &out_);
  return *this;
}

JsonWriter& JsonWriter::Value(bool value) { return Raw(value ? "true" : "false"); }

JsonWriter& JsonWriter::Value(float value) {
  Comma();
  AppendFloat(value, &out_);
  return *this;
}

JsonWriter& JsonWriter::Value(double value) {
  Comma();
  AppendFloat(value, &out_);
  return *this;
}

JsonWriter& JsonWriter::Raw(std::string_view json) {
  Comma();
  out_.append(json);
  return *this;
}

}  // namespace corral::api
