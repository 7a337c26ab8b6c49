#include "engine/llama/chat_templates.h"

#include "templates/renderers.h"

namespace corral::engine {

std::string_view JinjaOfRenderer(std::string_view renderer) {
  return EmbeddedTemplate(templates::RendererTemplate(renderer));
}

std::string_view JinjaOfParser(std::string_view parser) {
  return EmbeddedTemplate(templates::ParserTemplate(parser));
}

}  // namespace corral::engine
