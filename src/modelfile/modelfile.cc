#include "modelfile/modelfile.h"

#include <algorithm>
#include <iterator>

#include "core/text.h"

namespace corral::modelfile {
namespace {

// Reads one code point after another; a byte that is not part of one is U+FFFD. The encoding is
// UTF-8, or what a byte order mark says.
class RuneReader {
 public:
  explicit RuneReader(std::string_view text) : text_(text) {
    if (text_.starts_with("\xEF\xBB\xBF")) {
      at_ = 3;
    } else if (text_.starts_with("\xFF\xFE")) {
      at_ = 2;
      encoding_ = Encoding::kUtf16Little;
    } else if (text_.starts_with("\xFE\xFF")) {
      at_ = 2;
      encoding_ = Encoding::kUtf16Big;
    }
  }

  bool Next(char32_t* rune) {
    if (at_ >= text_.size()) return false;
    *rune = encoding_ == Encoding::kUtf8 ? NextUtf8() : NextUtf16();
    return true;
  }

 private:
  enum class Encoding { kUtf8, kUtf16Little, kUtf16Big };

  unsigned Byte(std::size_t index) const { return static_cast<unsigned char>(text_[index]); }

  char32_t NextUtf8() {
    const Rune rune = DecodeRune(text_.substr(at_));
    at_ += rune.size;
    return rune.value;
  }

  char32_t NextUnit() {
    const unsigned a = Byte(at_);
    const unsigned b = Byte(at_ + 1);
    at_ += 2;
    return encoding_ == Encoding::kUtf16Little ? a | (b << 8) : (a << 8) | b;
  }

  char32_t NextUtf16() {
    if (text_.size() - at_ < 2) {
      at_ = text_.size();
      return kReplacementRune;
    }
    const char32_t high = NextUnit();
    if (high < 0xD800 || high >= 0xE000) return high;
    if (high >= 0xDC00 || text_.size() - at_ < 2) return kReplacementRune;
    const char32_t low = NextUnit();
    if (low < 0xDC00 || low >= 0xE000) {
      at_ -= 2;
      return kReplacementRune;
    }
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  Encoding encoding_ = Encoding::kUtf8;
};

bool IsBlank(char32_t rune) { return rune == ' ' || rune == '\t'; }
bool IsNewline(char32_t rune) { return rune == '\r' || rune == '\n'; }
bool IsLetter(char32_t rune) {
  return (rune >= 'a' && rune <= 'z') || (rune >= 'A' && rune <= 'Z');
}
bool IsDigit(char32_t rune) { return rune >= '0' && rune <= '9'; }

std::string Upper(std::string_view text) {
  std::string upper(text);
  for (char& c : upper) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return upper;
}

constexpr std::string_view kBadInstruction =
    R"(command must be one of "from", "license", "template", "system", "adapter", "draft", "renderer", "parser", )"
    R"("parameter", "message", or "requires")";
constexpr std::string_view kBadRole =
    R"(message role must be one of "system", "user", or "assistant")";

bool IsInstruction(std::string_view lower) {
  static constexpr std::string_view kInstructions[] = {"from",      "license", "template", "system",
                                                       "adapter",   "draft",   "renderer", "parser",
                                                       "parameter", "message", "requires"};
  return std::find(std::begin(kInstructions), std::end(kInstructions), lower) !=
         std::end(kInstructions);
}

// Quotes off. False: a quote is open.
bool Unquote(std::string_view text, std::string_view* inner) {
  for (const std::string_view quote : {std::string_view(R"(""")"), std::string_view(R"(")")}) {
    if (!text.starts_with(quote)) continue;
    if (text.size() < 2 * quote.size() || !text.ends_with(quote)) return false;
    *inner = text.substr(quote.size(), text.size() - 2 * quote.size());
    return true;
  }
  *inner = text;
  return true;
}

// The state machine of Ollama's parser/parser.go, one rune at a time.
class Parser {
 public:
  Result<Modelfile> Run(std::string_view text) {
    RuneReader reader(text);
    for (char32_t rune = 0; reader.Next(&rune);) {
      if (IsNewline(rune)) ++line_;
      CORRAL_TRY_STATUS(Take(rune));
    }
    if (state_ == State::kValue) {
      std::string_view value;
      if (!Unquote(Trimmed(), &value)) return Fail(Code::kInvalidArgument, "unexpected EOF");
      Finish(value);
    } else if (state_ != State::kComment && state_ != State::kBetween) {
      return Fail(Code::kInvalidArgument, "unexpected EOF");
    }
    const bool has_from = std::any_of(result_.commands.begin(), result_.commands.end(),
                                      [](const Command& c) { return c.name == "model"; });
    if (!has_from) return Fail(Code::kInvalidArgument, "no FROM line");
    return std::move(result_);
  }

 private:
  enum class State {
    kBetween,      // blanks and newlines between instructions
    kComment,      // to the end of the line
    kInstruction,  // its word
    kParameter,    // the name after PARAMETER
    kRole,         // the role after MESSAGE
    kValue,        // to the end of the line, or of the quote
  };

  Status Take(char32_t rune) {
    switch (state_) {
      case State::kBetween:
        if (rune == '#') {
          state_ = State::kComment;
        } else if (!IsBlank(rune) && !IsNewline(rune)) {
          Enter(State::kInstruction);
          Append(rune);
        }
        return {};
      case State::kComment:
        if (IsNewline(rune)) state_ = State::kBetween;
        return {};
      case State::kInstruction:
        if (IsLetter(rune)) {
          Append(rune);
          return {};
        }
        return IsBlank(rune) ? EndInstruction() : AtLine(kBadInstruction);
      case State::kParameter:
        if (IsLetter(rune) || IsDigit(rune) || rune == '_') {
          Append(rune);
          return {};
        }
        if (!IsBlank(rune)) return Cut();
        command_.name = buffer_;
        Enter(State::kValue);
        return {};
      case State::kRole:
        if (IsLetter(rune)) {
          Append(rune);
          return {};
        }
        if (!IsBlank(rune)) return Cut();
        if (buffer_ != "system" && buffer_ != "user" && buffer_ != "assistant")
          return AtLine(kBadRole);
        role_ = buffer_;
        Enter(State::kValue);
        return {};
      case State::kValue:
        TakeValue(rune);
        return {};
    }
    return {};
  }

  Status EndInstruction() {
    std::string word = ToLowerAscii(buffer_);
    if (!IsInstruction(word)) return AtLine(kBadInstruction);
    State next = State::kValue;
    if (word == "parameter") {
      next = State::kParameter;
    } else if (word == "message") {
      next = State::kRole;
      command_.name = std::move(word);
    } else {
      command_.name = word == "from" ? "model" : std::move(word);
    }
    Enter(next);
    return {};
  }

  void TakeValue(char32_t rune) {
    if (IsNewline(rune)) {
      std::string_view value;
      if (Unquote(Trimmed(), &value)) {
        Finish(value);
        Enter(State::kBetween);
      } else {
        buffer_.push_back(static_cast<char>(rune));
      }
    } else if (IsBlank(rune)) {
      buffer_.push_back(static_cast<char>(rune));
    } else {
      Append(rune);
    }
  }

  void Enter(State next) {
    state_ = next;
    buffer_.clear();
    text_begin_ = text_end_ = 0;
  }

  void Append(char32_t rune) {
    if (!IsPrintable(rune)) return;
    if (text_end_ == 0) text_begin_ = buffer_.size();
    AppendRune(buffer_, rune);
    text_end_ = buffer_.size();
  }

  // The buffer without white space at its ends. Kept as positions, not searched: a quote that never
  // closes would otherwise cost the square of its length.
  std::string_view Trimmed() const {
    return std::string_view(buffer_).substr(text_begin_, text_end_ - text_begin_);
  }

  void Finish(std::string_view value) {
    command_.args.clear();
    if (!role_.empty()) command_.args.append(role_).append(": ");
    role_.clear();
    command_.args.append(value);
    result_.commands.push_back(command_);
  }

  Status AtLine(std::string_view what) const {
    return Fail(Code::kInvalidArgument,
                "(line " + std::to_string(line_) + "): " + std::string(what));
  }
  Status Cut() const { return Fail(Code::kInvalidArgument, "unexpected EOF: " + buffer_); }

  State state_ = State::kBetween;
  std::size_t line_ = 1;
  std::string buffer_;
  std::size_t text_begin_ = 0,
              text_end_ = 0;  // in buffer_: first byte that is not white space, and behind the last
  std::string role_;
  Command command_;
  Modelfile result_;
};

// Digits without a leading zero, or "0".
bool TakeNumber(std::string_view* text) {
  std::size_t n = 0;
  while (n < text->size() && IsDigit(static_cast<unsigned char>((*text)[n]))) ++n;
  if (n == 0 || (n > 1 && text->front() == '0')) return false;
  text->remove_prefix(n);
  return true;
}

// Identifiers of letters, digits and '-', with dots between them; up to `end` (a character or
// none).
bool TakeIdentifiers(std::string_view* text, char end, bool refuses_leading_zero) {
  while (true) {
    std::size_t n = 0;
    bool is_number = true;
    while (n < text->size()) {
      const auto c = static_cast<unsigned char>((*text)[n]);
      if (!IsLetter(c) && !IsDigit(c) && c != '-') break;
      is_number = is_number && IsDigit(c);
      ++n;
    }
    if (n == 0 || (refuses_leading_zero && is_number && n > 1 && text->front() == '0'))
      return false;
    text->remove_prefix(n);
    if (text->empty() || text->front() == end) return true;
    if (text->front() != '.') return false;
    text->remove_prefix(1);
  }
}

// As golang.org/x/mod/semver, without its "v": MAJOR[.MINOR[.PATCH[-PRERELEASE][+BUILD]]].
bool IsSemanticVersion(std::string_view text) {
  for (int part = 0; part < 3; ++part) {
    if (part > 0) {
      if (text.empty()) return true;
      if (text.front() != '.') return false;
      text.remove_prefix(1);
    }
    if (!TakeNumber(&text)) return false;
  }
  if (text.starts_with('-')) {
    text.remove_prefix(1);
    if (!TakeIdentifiers(&text, '+', true)) return false;
  }
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (!TakeIdentifiers(&text, '\0', false)) return false;
  }
  return text.empty();
}

}  // namespace

Result<Modelfile> Parse(std::string_view text) { return Parser().Run(text); }

std::string Quote(std::string_view value) {
  const bool needs_quotes =
      value.find('\n') != std::string_view::npos || value.starts_with(' ') || value.ends_with(' ');
  if (!needs_quotes) return std::string(value);
  const std::string_view quote = value.find('"') != std::string_view::npos ? R"(""")" : R"(")";
  std::string quoted(quote);
  return quoted.append(value).append(quote);
}

std::string Command::ToString() const {
  if (name == "model") return "FROM " + args;
  if (name == "message") {
    const std::size_t colon = args.find(": ");
    const std::string_view role = std::string_view(args).substr(0, colon);
    const std::string_view content =
        colon == std::string::npos ? std::string_view() : std::string_view(args).substr(colon + 2);
    return "MESSAGE " + std::string(role) + " " + Quote(content);
  }
  if (name != "parameter" && IsInstruction(name)) return Upper(name) + " " + Quote(args);
  return "PARAMETER " + name + " " + Quote(args);
}

std::string Modelfile::ToString() const {
  std::string text;
  for (const Command& command : commands) text.append(command.ToString()).append("\n");
  return text;
}

Result<std::string> ParseRequires(std::string_view value) {
  if (value.starts_with('v')) value.remove_prefix(1);
  if (!IsSemanticVersion(value)) {
    return Fail(Code::kInvalidArgument, "requires must be a valid semver (e.g. 0.14.0)");
  }
  return std::string(value);
}

}  // namespace corral::modelfile
