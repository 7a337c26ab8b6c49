#include "templates/internal/format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "templates/internal/failure.h"
#include "templates/internal/number.h"
#include "templates/internal/text.h"

namespace corral::templates::internal {
namespace {

constexpr int kMaxWidth = 1'000'000;  // fmt/print.go, tooLarge

struct Flags {
  bool minus = false, plus = false, sharp = false, space = false, zero = false;
  std::optional<int> width, precision;
};

// Types with a String method in Ollama, or whose dump would help nobody, print as JSON.
std::optional<std::string> OwnText(const Value& value) {
  std::string out;
  if (const auto* list = value.AsList()) {
    if (list->type == ListType::kPropertyType && list->size <= 1) {
      return list->size == 0 ? "" : std::string(*list->items[0].AsString());
    }
    if (list->type != ListType::kTools) return std::nullopt;
  } else if (const auto* map = value.AsMap()) {
    if (map->type == MapType::kAny) return std::nullopt;
  } else if (const auto* object = value.AsObject()) {
    if (object->type <= ObjectType::kCallFunction) return std::nullopt;
  } else {
    return std::nullopt;
  }
  AppendJson(out, value);
  return out;
}

std::size_t RuneCount(std::string_view text) {
  std::size_t n = 0;
  for (; !text.empty(); ++n) text.remove_prefix(DecodeRune(text).size);
  return n;
}

void AppendPadded(std::string& out, std::string_view text, const Flags& flags,
                  bool is_number = false) {
  const std::size_t size = RuneCount(text);
  const auto width = static_cast<std::size_t>(flags.width.value_or(0));
  const std::size_t padding = width > size ? width - size : 0;
  if (flags.minus) {
    out.append(text).append(padding, ' ');
  } else if (flags.zero && is_number) {
    const std::size_t sign =
        !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ') ? 1 : 0;
    out.append(text.substr(0, sign)).append(padding, '0').append(text.substr(sign));
  } else {
    out.append(padding, flags.zero ? '0' : ' ').append(text);
  }
}

std::string Hex(std::string_view bytes, bool is_upper) {
  const std::string_view digits = is_upper ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += digits[byte >> 4U];
    out += digits[byte & 15U];
  }
  return out;
}

class Printer {
 public:
  explicit Printer(std::string& out) : out_(out) {}

  void Verb(char32_t verb, const Value& value, const Flags& flags) {
    CheckSize(out_);
    if (verb == 'T') return AppendPadded(out_, value.TypeName(), flags);
    if (value.is_nil())
      return verb == 'v' ? AppendPadded(out_, "<nil>", flags) : BadVerb(verb, value);
    const bool takes_text = verb == 'v' || verb == 's' || verb == 'q' || verb == 'x' || verb == 'X';
    if (takes_text && !flags.sharp) {
      if (const auto text = OwnText(value)) return String(verb, *text, value, flags);
    }
    if (const auto* is = value.AsBool()) {
      if (verb != 'v' && verb != 't') return BadVerb(verb, value);
      return AppendPadded(out_, *is ? "true" : "false", flags);
    }
    if (const auto* number = value.AsInt()) return Int(verb, *number, value, flags);
    if (const auto* number = value.AsFloat()) return Float(verb, *number, value, flags);
    if (const auto* text = value.AsString()) return String(verb, *text, value, flags);
    Composite(verb, value, flags);
  }

 private:
  void BadVerb(char32_t verb, const Value& value) {
    out_ += "%!";
    AppendRune(out_, verb);
    out_ += '(';
    if (value.is_nil()) {
      out_ += "<nil>";
    } else {
      out_ += value.TypeName();
      out_ += '=';
      AppendText(out_, value);
    }
    out_ += ')';
  }

  void String(char32_t verb, std::string_view text, const Value& value, const Flags& flags) {
    if (flags.precision) {
      std::size_t end = 0;
      for (int i = 0; i < *flags.precision && end < text.size(); ++i)
        end += DecodeRune(text.substr(end)).size;
      text = text.substr(0, end);
    }
    switch (verb) {
      case 'v':
      case 's':
        return AppendPadded(out_, text, flags);
      case 'q':
        return AppendPadded(out_, GoQuote(text), flags);
      case 'x':
      case 'X':
        return AppendPadded(out_, Hex(text, verb == 'X'), flags);
      default:
        return BadVerb(verb, value);
    }
  }

  void Int(char32_t verb, std::int64_t number, const Value& value, const Flags& flags) {
    int base = 10;
    std::string_view prefix;
    const char32_t rune = number < 0 || number > 0x10FFFF ? 0xFFFD : static_cast<char32_t>(number);
    switch (verb) {
      case 'v':
      case 'd':
        break;
      case 'b':
        base = 2;
        prefix = "0b";
        break;
      case 'o':
        base = 8;
        prefix = "0";
        break;
      case 'O':
        base = 8;
        prefix = "0o";
        break;
      case 'x':
        base = 16;
        prefix = "0x";
        break;
      case 'X':
        base = 16;
        prefix = "0X";
        break;
      case 'q':
        return AppendPadded(out_, QuoteRune(rune), flags);
      case 'c': {
        std::string text;
        AppendRune(text, rune);
        return AppendPadded(out_, text, flags);
      }
      case 'U': {
        const std::string text = DescribeRune(rune);
        return AppendPadded(out_, flags.sharp ? text : text.substr(0, text.find(' ')), flags);
      }
      default:
        return BadVerb(verb, value);
    }
    std::array<char, 80> buffer{};
    const std::uint64_t magnitude =
        number < 0 ? ~static_cast<std::uint64_t>(number) + 1 : static_cast<std::uint64_t>(number);
    const auto end =
        std::to_chars(buffer.data(), buffer.data() + buffer.size(), magnitude, base).ptr;
    std::string digits(buffer.data(), end);
    if (verb == 'X') {
      for (char& c : digits) c = c >= 'a' ? static_cast<char>(c - 'a' + 'A') : c;
    }
    if (flags.precision && static_cast<int>(digits.size()) < *flags.precision) {
      digits.insert(0, static_cast<std::size_t>(*flags.precision) - digits.size(), '0');
    }
    if (verb == 'O' || (flags.sharp && base != 10)) digits.insert(0, prefix);
    AppendPadded(out_, Sign(number < 0, flags) + digits, flags, !flags.precision);
  }

  static std::string Sign(bool is_negative, const Flags& flags) {
    return is_negative ? "-" : flags.plus ? "+" : flags.space ? " " : "";
  }

  void Float(char32_t verb, double number, const Value& value, const Flags& flags) {
    const bool is_general = verb == 'v' || verb == 'g' || verb == 'G';
    if (!is_general && verb != 'e' && verb != 'E' && verb != 'f' && verb != 'F')
      return BadVerb(verb, value);
    std::string text;
    if (!std::isfinite(number) || (is_general && !flags.precision)) {
      text = FormatFloat(std::fabs(number));
    } else {
      const auto format = is_general                   ? std::chars_format::general
                          : verb == 'e' || verb == 'E' ? std::chars_format::scientific
                                                       : std::chars_format::fixed;
      const int precision = flags.precision.value_or(6);
      text.resize(static_cast<std::size_t>(precision) + 350);
      const auto end = std::to_chars(text.data(), text.data() + text.size(), std::fabs(number),
                                     format, precision)
                           .ptr;
      text.resize(static_cast<std::size_t>(end - text.data()));
    }
    if (verb == 'G' || verb == 'E') {
      for (char& c : text) c = c == 'e' ? 'E' : c;
    }
    if (text[0] == '+') text.erase(0, 1);
    AppendPadded(out_, Sign(std::signbit(number), flags) + text, flags, std::isfinite(number));
  }

  void Composite(char32_t verb, const Value& value, const Flags& flags) {
    std::string_view separator;
    const auto next = [&](const Value& part) {
      out_ += separator;
      separator = " ";
      Verb(verb, part, flags);
    };
    if (const auto* list = value.AsList()) {
      out_ += '[';
      for (std::size_t i = 0; i < list->size; ++i) next(list->items[i]);
      out_ += ']';
    } else if (const auto* map = value.AsMap()) {
      out_ += "map[";
      for (const auto& [key, part] : map->entries) {
        out_ += separator;
        separator = "";
        Verb(verb, Value(key), flags);
        out_ += ':';
        next(part);
      }
      out_ += ']';
    } else if (const auto* object = value.AsObject()) {
      out_ += '{';
      for (const Value& part : object->fields) next(part);
      out_ += '}';
    }
  }

  std::string& out_;
};

// Reads the verbs of one format string.
class FormatReader {
 public:
  FormatReader(std::string_view format, const std::vector<Value>& values)
      : rest_(format), values_(values) {}

  std::string Run() {
    while (!rest_.empty()) {
      const std::size_t text = std::min(rest_.find('%'), rest_.size());
      out_ += rest_.substr(0, text);
      rest_.remove_prefix(text);
      if (!rest_.empty()) Directive();
    }
    if (!is_reordered_ && next_ < values_.size()) Extra();
    return std::move(out_);
  }

 private:
  bool TakeChar(char c) {
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  std::optional<int> TakeNumber() {
    int number = 0;
    const auto [stop, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), number);
    if (error != std::errc{} || rest_[0] == '-' || number > kMaxWidth) return std::nullopt;
    rest_.remove_prefix(static_cast<std::size_t>(stop - rest_.data()));
    return number;
  }

  // [n]: the next operand is the n-th.
  void TakeIndex() {
    if (!rest_.starts_with('[')) return;
    is_reordered_ = true;
    const std::size_t close = rest_.find(']');
    if (close == std::string_view::npos) {
      is_bad_index_ = true;
      rest_.remove_prefix(1);
      return;
    }
    std::size_t index = 0;
    const char* end = rest_.data() + close;
    const auto [stop, error] = std::from_chars(rest_.data() + 1, end, index);
    if (error != std::errc{} || stop != end || index < 1 || index > values_.size()) {
      is_bad_index_ = true;
    } else {
      next_ = index - 1;
    }
    rest_.remove_prefix(close + 1);
  }

  // A width or precision: digits, or * for an operand. `what` names it in the mark for a bad one.
  std::optional<int> TakeSize(const char* what) {
    TakeIndex();
    if (!TakeChar('*')) return TakeNumber();
    const std::int64_t* number = next_ < values_.size() ? values_[next_].AsInt() : nullptr;
    if (next_ < values_.size()) ++next_;
    if (number == nullptr || *number > kMaxWidth || *number < -kMaxWidth) {
      out_ += what;
      return std::nullopt;
    }
    return static_cast<int>(*number);
  }

  void Directive() {
    rest_.remove_prefix(1);
    is_bad_index_ = false;
    Flags flags;
    for (;;) {
      if (TakeChar('-')) {
        flags.minus = true;
      } else if (TakeChar('+')) {
        flags.plus = true;
      } else if (TakeChar('#')) {
        flags.sharp = true;
      } else if (TakeChar(' ')) {
        flags.space = true;
      } else if (TakeChar('0')) {
        flags.zero = true;
      } else {
        break;
      }
    }
    flags.width = TakeSize("%!(BADWIDTH)");
    if (flags.width && *flags.width < 0) {
      flags.minus = true;
      flags.width = -*flags.width;
    }
    if (TakeChar('.')) {
      flags.precision = TakeSize("%!(BADPREC)");
      if (!flags.precision) flags.precision = 0;
      if (*flags.precision < 0) flags.precision.reset();
    }
    TakeIndex();
    if (rest_.empty()) {
      out_ += "%!(NOVERB)";
      return;
    }
    const Rune verb = DecodeRune(rest_);
    rest_.remove_prefix(verb.size);
    if (verb.value == '%') {
      out_ += '%';
    } else if (is_bad_index_ || next_ >= values_.size()) {
      out_ += "%!";
      AppendRune(out_, verb.value);
      out_ += is_bad_index_ ? "(BADINDEX)" : "(MISSING)";
    } else {
      Printer(out_).Verb(verb.value, values_[next_++], flags);
    }
  }

  void Extra() {
    out_ += "%!(EXTRA ";
    for (std::size_t i = next_; i < values_.size(); ++i) {
      if (i > next_) out_ += ", ";
      out_ += values_[i].TypeName();
      if (values_[i].is_nil()) continue;
      out_ += '=';
      AppendText(out_, values_[i]);
    }
    out_ += ')';
  }

  std::string_view rest_;
  const std::vector<Value>& values_;
  std::size_t next_ = 0;
  bool is_reordered_ = false;
  bool is_bad_index_ = false;
  std::string out_;
};

}  // namespace

void CheckSize(const std::string& out) {
  if (out.size() > kMaxTextBytes) Throw(Code::kTooLarge, "the template makes too much text");
}

void AppendText(std::string& out, const Value& value) {
  CheckSize(out);
  if (const auto* text = value.AsString()) {
    out += *text;
  } else {
    Printer(out).Verb('v', value, {});
  }
}

std::string ShortText(const Value& value) {
  constexpr std::size_t kMaxBytes = 200;
  std::string out;
  AppendText(out, value);
  if (out.size() <= kMaxBytes) return out;
  std::size_t end = 0;
  while (end < kMaxBytes) end += DecodeRune(std::string_view(out).substr(end)).size;
  return out.substr(0, end) + "...";
}

std::string Print(const std::vector<Value>& values) {
  std::string out;
  bool was_string = true;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool is_string = values[i].AsString() != nullptr;
    if (i > 0 && !is_string && !was_string) out += ' ';
    AppendText(out, values[i]);
    was_string = is_string;
  }
  return out;
}

std::string PrintLine(const std::vector<Value>& values) {
  std::string out;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ' ';
    AppendText(out, values[i]);
  }
  return out += '\n';
}

std::string PrintFormat(std::string_view format, const std::vector<Value>& values) {
  return FormatReader(format, values).Run();
}

}  // namespace corral::templates::internal
