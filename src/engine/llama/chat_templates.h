// The Jinja templates behind the names that a model's config may have for its prompt format and for
// the format of its answers (RENDERER and PARSER): code inside Ollama, templates here.
//
// Which name stands for which template is templates/renderers.h; the texts are llama.cpp's
// models/templates, put into the program by the build. Thread-safe (constant).
#pragma once

#include <string_view>

namespace corral::engine {

// Empty: no such name, or none that a template stands for.
std::string_view JinjaOfRenderer(std::string_view renderer);
std::string_view JinjaOfParser(std::string_view parser);

// A file of models/templates by name; empty if it is not in the program.
std::string_view EmbeddedTemplate(std::string_view file);

}  // namespace corral::engine
