// FirstValue: the states of encoding/json's scanner, as a loop over tokens.

#include "api/native/go_json.h"
#include "core/text.h"

namespace corral::api {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsHexDigit(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

// scanner.go, quoteChar: a byte is shown as the Unicode character of that number.
std::string QuoteByte(char c) {
  if (c == '\'') return R"('\'')";
  if (c == '"') return R"('"')";
  const auto byte = static_cast<unsigned char>(c);
  std::string character;
  if (byte < 0x80) {
    character.push_back(c);
  } else {
    character.push_back(static_cast<char>(0xC0U | byte >> 6U));
    character.push_back(static_cast<char>(0x80U | (byte & 0x3FU)));
  }
  const std::string quoted = GoQuote(character);
  return "'" + quoted.substr(1, quoted.size() - 2) + "'";
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  Result<std::string_view> First() {
    SkipBlanks();
    if (AtEnd()) return Fail(Code::kInvalidArgument, "missing request body");
    const std::size_t begin = at_;
    if (!Value()) return Fail(Code::kInvalidArgument, std::move(error_));
    return text_.substr(begin, at_ - begin);
  }

 private:
  enum class Next : std::uint8_t { kValue, kFirstElement, kFirstKey, kKey, kAfterValue, kDone };

  bool AtEnd() const { return at_ == text_.size(); }
  void SkipBlanks() {
    while (!AtEnd() && IsBlank(text_[at_])) ++at_;
  }

  bool CutShort() {
    error_ = "unexpected EOF";
    return false;
  }
  bool Unexpected(std::string_view context) {
    if (AtEnd()) return CutShort();
    error_ = "invalid character " + QuoteByte(text_[at_]) + " ";
    error_ += context;
    return false;
  }

  bool Value() {
    std::string open;  // brackets of the containers around the cursor
    Next next = Next::kValue;
    while (next != Next::kDone) {
      SkipBlanks();
      if (AtEnd()) return CutShort();
      const char c = text_[at_];
      switch (next) {
        case Next::kFirstElement:
          if (c == ']') {
            next = CloseContainer(&open);
            break;
          }
          [[fallthrough]];
        case Next::kValue:
          if (c == '{' || c == '[') {
            if (open.size() == static_cast<std::size_t>(kMaxJsonDepth)) {
              error_ = "exceeded max depth";
              return false;
            }
            open.push_back(c);
            ++at_;
            next = c == '{' ? Next::kFirstKey : Next::kFirstElement;
          } else {
            if (!Scalar(c)) return false;
            next = open.empty() ? Next::kDone : Next::kAfterValue;
          }
          break;
        case Next::kFirstKey:
          if (c == '}') {
            next = CloseContainer(&open);
            break;
          }
          [[fallthrough]];
        case Next::kKey:
          if (c != '"') return Unexpected("looking for beginning of object key string");
          if (!String()) return false;
          SkipBlanks();
          if (AtEnd() || text_[at_] != ':') return Unexpected("after object key");
          ++at_;
          next = Next::kValue;
          break;
        case Next::kAfterValue: {
          const bool in_object = open.back() == '{';
          if (c == ',') {
            ++at_;
            next = in_object ? Next::kKey : Next::kValue;
          } else if (c == (in_object ? '}' : ']')) {
            next = CloseContainer(&open);
          } else {
            return Unexpected(in_object ? "after object key:value pair" : "after array element");
          }
          break;
        }
        case Next::kDone:
          break;
      }
    }
    return true;
  }

  Next CloseContainer(std::string* open) {
    ++at_;
    open->pop_back();
    return open->empty() ? Next::kDone : Next::kAfterValue;
  }

  bool Scalar(char c) {
    switch (c) {
      case '"':
        return String();
      case 't':
        return Literal("true");
      case 'f':
        return Literal("false");
      case 'n':
        return Literal("null");
      default:
        if (c == '-' || IsDigit(c)) return Number();
        return Unexpected("looking for beginning of value");
    }
  }

  bool Literal(std::string_view word) {
    for (const char expected : word) {
      if (AtEnd() || text_[at_] != expected) {
        return Unexpected("in literal " + std::string(word) + " (expecting '" + expected + "')");
      }
      ++at_;
    }
    return true;
  }

  bool String() {
    ++at_;
    while (true) {
      if (AtEnd()) return CutShort();
      const char c = text_[at_];
      if (static_cast<unsigned char>(c) < 0x20) return Unexpected("in string literal");
      ++at_;
      if (c == '"') return true;
      if (c != '\\') continue;
      if (AtEnd()) return CutShort();
      static constexpr std::string_view kEscapes = "bfnrt\\/\"";
      if (kEscapes.find(text_[at_]) != std::string_view::npos) {
        ++at_;
      } else if (text_[at_] == 'u') {
        ++at_;
        for (int i = 0; i < 4; ++i) {
          if (AtEnd() || !IsHexDigit(text_[at_])) {
            return Unexpected("in \\u hexadecimal character escape");
          }
          ++at_;
        }
      } else {
        return Unexpected("in string escape code");
      }
    }
  }

  bool Digits(std::string_view context) {
    if (AtEnd() || !IsDigit(text_[at_])) return Unexpected(context);
    while (!AtEnd() && IsDigit(text_[at_])) ++at_;
    return true;
  }

  bool Number() {
    if (text_[at_] == '-') {
      ++at_;
      if (AtEnd() || !IsDigit(text_[at_])) return Unexpected("in numeric literal");
    }
    if (text_[at_] == '0') {
      ++at_;
    } else {
      while (!AtEnd() && IsDigit(text_[at_])) ++at_;
    }
    if (!AtEnd() && text_[at_] == '.') {
      ++at_;
      if (!Digits("after decimal point in numeric literal")) return false;
    }
    if (!AtEnd() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      ++at_;
      if (!AtEnd() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
      if (!Digits("in exponent of numeric literal")) return false;
    }
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string error_;
};

}  // namespace

Result<std::string_view> FirstValue(std::string_view body) { return Scanner(body).First(); }

}  // namespace corral::api
