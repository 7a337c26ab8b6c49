// The ways through a compiled grammar that lie open at once, with a bound.
//
// llama.cpp follows all of them at each character and looks for each new one among all others: a
// schema whose alternatives begin alike and contain it again doubles them with each bracket, and a
// single step of it may take hours or all memory. Pure functions; the grammar is the caller's.
#pragma once

#include <llama-grammar.h>

#include <cstddef>
#include <string_view>

namespace corral::engine {

// Open at once, at most. An enumeration of so many values has as many.
inline constexpr std::size_t kMostOpenWays = 4096;

// Takes a text as llama.cpp does, up to a NUL; its last character may be cut: the grammar keeps its
// beginning. False: more than kMostOpenWays, and the grammar is worth nothing.
bool AcceptText(llama_grammar* grammar, std::string_view text);

// Whether what follows can be judged by FitsText only: two ways go on with the same character.
// llama.cpp looks at each path of a token through them, of which there are as many as the ways to
// the power of its length. False where tokens are part of the grammar.
bool AreAmbiguous(const llama_grammar& grammar);

// Whether the text may come next, its last character whole. A text that ends in the middle of a
// character does not fit: others say the same in whole ones.
bool FitsText(const llama_grammar& grammar, std::string_view text);

// Whether no text leads to too many: each rule is entered, and the characters are taken that
// multiply ways most. False, too, where that takes too long.
bool StaysNarrow(const llama_grammar& grammar);

}  // namespace corral::engine
