# Writes OUT: a table of the files FOLDER/*.jinja, by name, for src/engine/llama/chat_templates.h. Run by the build.
file(GLOB files "${FOLDER}/*.jinja")
list(SORT files)
set(rows "")
foreach(file IN LISTS files)
  get_filename_component(name "${file}" NAME)
  file(READ "${file}" text)
  # A literal holds 64 KiB on some compilers; templates are shorter.
  string(APPEND rows "    {\"${name}\",\n     R\"JINJA(${text})JINJA\"},\n")
endforeach()
file(WRITE "${OUT}" "// Made by the build from llama.cpp's models/templates.
#include \"engine/llama/chat_templates.h\"

namespace corral::engine {
namespace {
struct File {
  std::string_view name, text;
};
constexpr File kFiles[] = {
${rows}};
}  // namespace

std::string_view EmbeddedTemplate(std::string_view file) {
  for (const File& one : kFiles) {
    if (one.name == file) return one.text;
  }
  return {};
}

}  // namespace corral::engine
")
