// Which template stands for the names that a model's config has in place of one: `renderer`, its
// prompt format, and `parser`, the format of its answers. Inside Ollama these are code.
//
// Here a name is a file of llama.cpp's models/templates, whose text and parser `engine` has. Only
// names whose format is certain are in the table: the same model family and version. The others
// are refused when the model brings no template of its own, rather than rendered wrongly.
// Thread-safe (constant).
#pragma once

#include <span>
#include <string_view>

namespace corral::templates {

// The file; empty for a name that has none.
std::string_view RendererTemplate(std::string_view renderer);
std::string_view ParserTemplate(std::string_view parser);

// All files of both tables, sorted, each once.
std::span<const std::string_view> NamedTemplates();

}  // namespace corral::templates
