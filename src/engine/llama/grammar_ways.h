// The ways through a compiled grammar that lie open at once, with a bound.
//
// llama.cpp follows all of them at each character and looks for each new one among all others: a
// schema whose alternatives begin alike and contain it again doubles them with each bracket, and a
// single step of it may take hours or all memory. Pure functions; the grammar is the caller's.
#pragma once

#include <llama-grammar.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace corral::engine {

// Open at once, at most. An enumeration of so many values has as many.
inline constexpr std::size_t kMostOpenWays = 1024;

// What llama_grammar_accept makes of `stacks`, in another order. False: there are more than
// kMostOpenWays, and `stacks` are worth nothing. `work`, if there is one, is lowered by what was
// looked at.
bool AcceptCharacter(const llama_grammar_rules& rules, std::uint32_t character,
                     llama_grammar_stacks* stacks, std::int64_t* work = nullptr);

// The same for a text, whose last character may be cut: the grammar keeps its beginning.
bool AcceptText(llama_grammar* grammar, std::string_view text);

// Whether no text leads to too many: each rule is entered, and the characters are taken that
// multiply ways most. Of a grammar that takes long to look at, the first rules.
bool StaysNarrow(const llama_grammar& grammar);

}  // namespace corral::engine
