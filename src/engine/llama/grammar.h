// Grammars in llama.cpp's GBNF: of a schema, after thinking, beside tool calls.
//
// Pure. Not bounded in time: see format_processes.h. Errors: kInvalidArgument.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/result.h"

namespace corral::engine {

// A JSON Schema's grammar. Errors name what in the schema is wrong, and `where` it comes from.
Result<std::string> SchemaGrammar(const std::string& schema, std::string_view where = "in format");

// All rules of `grammar` renamed to begin with `prefix` (letters), so that grammars can be joined.
std::string WithPrefix(std::string_view grammar, std::string_view prefix);

// The text of `literal` as GBNF writes it, with quotes.
std::string GrammarLiteral(std::string_view literal);

// Rules <name>, <name>-0, ...: any text up to and with the first `end`, which is not empty.
std::string UntilGrammar(std::string_view name, std::string_view end);

// Optional white space, then what `grammar` says; in front of it the text between the marks, if
// there is any. `is_inside`: it has begun already, and the closing mark must come.
std::string AfterThinking(const std::string& grammar, std::string_view open, std::string_view close,
                          bool is_inside);

// Whether llama.cpp takes it, and would not drown in the ways that lie open at once
// (grammar_ways.h). Errors, of what `source` says: kInvalidArgument.
Status CheckGrammar(const std::string& grammar, std::string_view source);

}  // namespace corral::engine
