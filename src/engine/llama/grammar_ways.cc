#include "engine/llama/grammar_ways.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

namespace corral::engine {
namespace {

constexpr int kStretch = 12;        // steps in which the ways must grow for a walk to go on
constexpr int kCharacters = 4'000;  // of a walk
constexpr int kSeenForAWay = 16;    // a chain of optional properties passes by all that follow
constexpr std::size_t kTried = 24;  // characters in a step
constexpr std::int64_t kMostWork = 4'000'000;

using Element = llama_grammar_element;

bool IsEnd(const Element* element) {
  return element->type == LLAMA_GRETYPE_END || element->type == LLAMA_GRETYPE_ALT;
}

bool IsOfTokens(const Element* element) {
  return element->type == LLAMA_GRETYPE_TOKEN || element->type == LLAMA_GRETYPE_TOKEN_NOT;
}

// Whether the terminal at `*element` takes the character; moves it behind the terminal.
bool Takes(const Element** element, std::uint32_t character) {
  const Element* at = *element;
  const bool is_positive = at->type != LLAMA_GRETYPE_CHAR_NOT;
  bool is_found = false;
  do {
    if (at->type == LLAMA_GRETYPE_CHAR_ANY) {
      is_found = true;
    } else if (at[1].type == LLAMA_GRETYPE_CHAR_RNG_UPPER) {
      is_found = is_found || (at->value <= character && character <= at[1].value);
      ++at;
    } else {
      is_found = is_found || at->value == character;
    }
    ++at;
  } while (at->type == LLAMA_GRETYPE_CHAR_ALT);
  *element = at;
  return is_found == is_positive;
}

// Stacks whose top is a terminal, or that are empty, reached from those that are added.
class Frontier {
 public:
  explicit Frontier(const llama_grammar_rules& rules) : rules_(rules) {}

  // False: too many.
  bool Add(llama_grammar_stack stack) {
    std::vector<llama_grammar_stack> todo;
    todo.push_back(std::move(stack));
    while (!todo.empty()) {
      const auto [place, is_new] = seen_.insert(std::move(todo.back()));
      todo.pop_back();
      if (!is_new) continue;
      if (seen_.size() > kMostOpenWays * kSeenForAWay) return false;
      const llama_grammar_stack& seen = *place;
      if (seen.empty() || seen.back()->type != LLAMA_GRETYPE_RULE_REF) {
        stacks_.push_back(seen);
        if (stacks_.size() > kMostOpenWays) return false;
        continue;
      }
      const Element* reference = seen.back();
      const Element* alternative = rules_[reference->value].data();
      for (;;) {
        llama_grammar_stack next(seen.begin(), seen.end() - 1);
        if (!IsEnd(reference + 1)) next.push_back(reference + 1);
        if (!IsEnd(alternative)) next.push_back(alternative);
        todo.push_back(std::move(next));
        while (!IsEnd(alternative)) ++alternative;
        if (alternative->type != LLAMA_GRETYPE_ALT) break;
        ++alternative;
      }
    }
    return true;
  }

  std::size_t n_seen() const { return seen_.size(); }
  llama_grammar_stacks Take() { return std::move(stacks_); }

 private:
  const llama_grammar_rules& rules_;
  std::set<llama_grammar_stack> seen_;
  llama_grammar_stacks stacks_;
};

// A character that the terminal at `element` takes; 0: none that is tried.
std::uint32_t CharacterFor(const Element* element) {
  if (element->type == LLAMA_GRETYPE_CHAR) return element->value;
  if (element->type == LLAMA_GRETYPE_CHAR_ANY) return 'a';
  if (element->type != LLAMA_GRETYPE_CHAR_NOT) return 0;
  for (const std::uint32_t tried : {U'a', U'1', U'~', U' ', U'\u2603'}) {
    const Element* at = element;
    if (Takes(&at, tried)) return tried;
  }
  return 0;
}

bool IsBlank(std::uint32_t character) {
  return character == ' ' || character == '\n' || character == '\t' || character == '\r';
}

// What any of the stacks takes next, and not only as white space if there is more.
std::set<std::uint32_t> NextCharacters(const llama_grammar_stacks& stacks) {
  std::set<std::uint32_t> next;
  for (const llama_grammar_stack& stack : stacks) {
    const std::uint32_t character = stack.empty() ? 0 : CharacterFor(stack.back());
    if (character != 0) next.insert(character);
    if (next.size() >= kTried) break;
  }
  if (!std::all_of(next.begin(), next.end(), IsBlank)) std::erase_if(next, IsBlank);
  return next;
}

// The stacks after `character`; false: too many.
bool Step(const llama_grammar_rules& rules, const llama_grammar_stacks& stacks,
          std::uint32_t character, llama_grammar_stacks* after, std::int64_t* work = nullptr) {
  Frontier next(rules);
  bool is_narrow = true;
  for (const llama_grammar_stack& stack : stacks) {
    if (stack.empty() || IsOfTokens(stack.back())) continue;
    const Element* behind = stack.back();
    if (!Takes(&behind, character)) continue;
    llama_grammar_stack rest(stack.begin(), stack.end() - 1);
    if (!IsEnd(behind)) rest.push_back(behind);
    is_narrow = next.Add(std::move(rest));
    if (!is_narrow) break;
  }
  if (work != nullptr) *work -= static_cast<std::int64_t>(stacks.size() + next.n_seen());
  *after = next.Take();
  return is_narrow;
}

// Takes the characters that leave most ways open, as long as these become more.
bool WalkStaysNarrow(const llama_grammar_rules& rules, llama_grammar_stacks stacks,
                     std::int64_t* work) {
  std::size_t n_before = 0, n_most = 0;
  int n_steps = 0;
  for (int i = 0; i<kCharacters&& * work> 0; ++i) {
    const std::set<std::uint32_t> characters = NextCharacters(stacks);
    llama_grammar_stacks most;
    for (const std::uint32_t character : characters) {
      llama_grammar_stacks after;
      if (!Step(rules, stacks, character, &after, work)) return false;
      if (after.size() > most.size()) most = std::move(after);
    }
    if (most.empty()) return true;
    n_most = std::max(n_most, most.size());
    // A word that all ways have in common is one step, however long it is.
    n_steps += characters.size() == 1 && most.size() == stacks.size() ? 0 : 1;
    if (n_steps == kStretch) {
      if (n_most <= n_before) return true;
      n_before = n_most;
      n_steps = 0;
    }
    stacks = std::move(most);
  }
  return true;
}

// Hands on each whole character; what is cut stays in `partial`, as with decode_utf8 of llama.cpp.
// False: `take` gave false.
template <class Take>
bool Read(std::string_view text, llama_partial_utf8* partial, const Take& take) {
  for (const char c : text.substr(0, text.find('\0'))) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (partial->n_remain <= 0) {
      constexpr int kLengths[] = {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 2, 2, 3, 4};
      const int length = kLengths[byte >> 4];
      partial->n_remain = std::max(length, 1) - 1;
      partial->value = length <= 1 ? byte : byte & ((1U << (7 - length)) - 1);
    } else {
      partial->value = (partial->value << 6) + (byte & 0x3F);
      --partial->n_remain;
    }
    if (partial->n_remain == 0 && !take(partial->value)) return false;
  }
  return true;
}

}  // namespace

bool AcceptText(llama_grammar* grammar, std::string_view text) {
  return Read(text, &grammar->partial_utf8, [&](std::uint32_t character) {
    llama_grammar_stacks after;
    const bool is_narrow = Step(grammar->rules, grammar->stacks, character, &after);
    grammar->stacks = std::move(after);
    return is_narrow;
  });
}

bool AreAmbiguous(const llama_grammar& grammar) {
  const auto is_of_tokens = [](const llama_grammar_stack& stack) {
    return !stack.empty() && IsOfTokens(stack.back());
  };
  if (std::any_of(grammar.stacks.begin(), grammar.stacks.end(), is_of_tokens)) return false;
  std::set<std::uint32_t> seen;
  for (const llama_grammar_stack& stack : grammar.stacks) {
    const std::uint32_t character = stack.empty() ? 0 : CharacterFor(stack.back());
    if (character == 0 || !seen.insert(character).second) continue;
    const auto takes_it = [character](const llama_grammar_stack& other) {
      const Element* top = other.empty() ? nullptr : other.back();
      return top != nullptr && Takes(&top, character);
    };
    if (std::count_if(grammar.stacks.begin(), grammar.stacks.end(), takes_it) > 1) return true;
  }
  return false;
}

bool FitsText(const llama_grammar& grammar, std::string_view text) {
  if (text.empty() || text.front() == '\0') return false;
  llama_grammar_stacks stacks;
  bool has_begun = false;
  llama_partial_utf8 partial = grammar.partial_utf8;
  const auto take = [&](std::uint32_t character) {
    llama_grammar_stacks after;
    const bool is_narrow =
        Step(grammar.rules, has_begun ? stacks : grammar.stacks, character, &after);
    stacks = std::move(after);
    has_begun = true;
    return is_narrow && !stacks.empty();
  };
  return Read(text, &partial, take) && partial.n_remain <= 0;
}

bool StaysNarrow(const llama_grammar& grammar) {
  std::int64_t work = kMostWork;
  if (grammar.stacks.size() > kMostOpenWays ||
      !WalkStaysNarrow(grammar.rules, grammar.stacks, &work)) {
    return false;
  }
  for (const llama_grammar_rule& rule : grammar.rules) {
    if (work <= 0) return false;
    Frontier begin(grammar.rules);
    const Element* alternative = rule.data();
    for (bool has_more = !rule.empty(); has_more;) {
      if (!begin.Add(IsEnd(alternative) ? llama_grammar_stack() : llama_grammar_stack{alternative}))
        return false;
      while (!IsEnd(alternative)) ++alternative;
      has_more = alternative->type == LLAMA_GRETYPE_ALT;
      if (has_more) ++alternative;
    }
    work -= static_cast<std::int64_t>(begin.n_seen());
    if (!WalkStaysNarrow(grammar.rules, begin.Take(), &work)) return false;
  }
  return true;
}

}  // namespace corral::engine
