#include "engine/llama/grammar.h"

#include <fmt/format.h>
#include <json-schema-to-grammar.h>
#include <llama-grammar.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <map>
#include <memory>
#include <set>

#include "core/text.h"
#include "engine/llama/grammar_ways.h"

namespace corral::engine {
namespace {

bool IsNameCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
}

// The end of the literal or the class of characters that begins at `at`, one past its last.
std::size_t SkipQuoted(std::string_view text, std::size_t at) {
  const char end = text[at] == '"' ? '"' : ']';
  for (++at; at < text.size() && text[at] != end; ++at) {
    if (text[at] == '\\') ++at;
  }
  return std::min(at + 1, text.size());
}

using Runes = std::u32string;

Runes ToRunes(std::string_view text) {
  Runes runes;
  while (!text.empty()) {
    const Rune rune = DecodeRune(text);
    runes += rune.value;
    text.remove_prefix(rune.size);
  }
  return runes;
}

// A character inside a class.
std::string ClassCharacter(char32_t rune) { return fmt::format("\\U{:08X}", std::uint32_t{rune}); }

// How much of `end` a text ends with that ends with its first n characters and then `next`.
std::size_t Matched(const Runes& end, std::size_t n, char32_t next) {
  const Runes text = end.substr(0, n) + next;
  for (std::size_t length = std::min(text.size(), end.size()); length > 0; --length) {
    if (text.ends_with(end.substr(0, length))) return length;
  }
  return 0;
}

struct GrammarDeleter {
  void operator()(llama_grammar* grammar) const { llama_grammar_free_impl(grammar); }
};
using GrammarPtr = std::unique_ptr<llama_grammar, GrammarDeleter>;

}  // namespace

Result<std::string> SchemaGrammar(const std::string& schema, std::string_view where) {
  try {
    return json_schema_to_grammar(common_json::parse(schema));
  } catch (const std::exception& error) {
    return Fail(Code::kInvalidArgument,
                fmt::format("failed to compile the JSON schema {}: {}", where, error.what()));
  }
}

std::string WithPrefix(std::string_view grammar, std::string_view prefix) {
  std::string out;
  for (std::size_t i = 0; i < grammar.size();) {
    const char c = grammar[i];
    std::size_t end = i + 1;
    if (c == '"' || c == '[') {
      end = SkipQuoted(grammar, i);
    } else if (c == '#') {
      end = std::min(grammar.find('\n', i), grammar.size());
    } else if (c == '{' || c == '<') {  // {2,3} or a token: no names of rules
      end = std::min(grammar.find(c == '{' ? '}' : '>', i), grammar.size());
    } else if (IsNameCharacter(c)) {
      while (end < grammar.size() && IsNameCharacter(grammar[end])) ++end;
      out += prefix;
    }
    out += grammar.substr(i, end - i);
    i = end;
  }
  return out;
}

std::string GrammarLiteral(std::string_view literal) {
  return gbnf_format_literal(std::string(literal));
}

// A state for each length of `end` that the text ends with.
std::string UntilGrammar(std::string_view name, std::string_view end_text) {
  const Runes end = ToRunes(end_text);
  const std::string first(name);
  const auto state = [&first](std::size_t n) { return first + "-" + std::to_string(n); };
  const std::set<char32_t> alphabet(end.begin(), end.end());
  std::string all;
  for (const char32_t rune : alphabet) all += ClassCharacter(rune);

  std::string out = first + " ::= " + state(0) + "\n";
  for (std::size_t n = 0; n < end.size(); ++n) {
    std::map<std::size_t, std::string> next_by_state;
    for (const char32_t rune : alphabet)
      next_by_state[Matched(end, n, rune)] += ClassCharacter(rune);
    out += state(n) + " ::= [^" + all + "] " + state(0);
    for (const auto& [next, characters] : next_by_state) {
      out += " | [" + characters + "]";
      if (next < end.size()) out += " " + state(next);
    }
    out += "\n";
  }
  return out;
}

std::string AfterThinking(const std::string& grammar, std::string_view open, std::string_view close,
                          bool is_inside) {
  if (close.empty() || (open.empty() && !is_inside)) return grammar;
  std::string out = WithPrefix(grammar, "answer-") + "\n" + UntilGrammar("thinking", close);
  out += "blank ::= [ \\t\\n]{0,20}\n";
  const std::string head = is_inside ? "thinking" : "(" + GrammarLiteral(open) + " thinking)?";
  out += "root ::= " + std::string(is_inside ? "" : "blank ") + head + " blank answer-root\n";
  return out;
}

Status CheckGrammar(const std::string& grammar, std::string_view source) {
  if (grammar.starts_with("%")) return Fail(Code::kInvalidArgument, "not a GBNF grammar");
  try {
    const GrammarPtr compiled(
        llama_grammar_init_impl(nullptr, grammar.c_str(), "root", false, nullptr, 0, nullptr, 0));
    if (!compiled)
      return Fail(Code::kInvalidArgument,
                  fmt::format("the grammar of {} does not compile", source));
    if (!StaysNarrow(*compiled))
      return Fail(Code::kInvalidArgument,
                  fmt::format("the grammar of {} is too ambiguous, or too large: what begins alike "
                              "should not hold itself",
                              source));
  } catch (const std::exception& error) {
    return Fail(Code::kInvalidArgument,
                fmt::format("the grammar of {} does not compile: {}", source, error.what()));
  }
  return {};
}

}  // namespace corral::engine
