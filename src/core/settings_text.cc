// What is printed from the settings table: help texts and docs/settings.md.
#include <fmt/format.h>

#include "core/settings.h"

namespace corral {
namespace {

void AppendHelpLine(std::string& text, const SettingInfo& info) {
  // Width and spaces as in Ollama's cmd.appendEnvDocs.
  text += fmt::format("      {:<27}   {}\n", info.name, info.text);
}

constexpr std::string_view kHelpTitle = "\nEnvironment Variables:\n";

void AppendRow(std::string& page, const SettingInfo& info) {
  page += fmt::format("| `{}` | {} | {} | {}.", info.name, info.type,
                      info.default_text.empty() ? "" : fmt::format("`{}`", info.default_text),
                      info.text);
  if (!info.note.empty()) page += fmt::format(" {}", info.note);
  page += " |\n";
}

template <class Predicate>
void AppendTable(std::string& page, std::string_view title, std::string_view intro,
                 Predicate is_wanted) {
  page +=
      fmt::format("\n## {}\n\n{}\n\n| Variable | Type | Default | Meaning |\n|---|---|---|---|\n",
                  title, intro);
  for (const SettingInfo& info : SettingTable()) {
    if (is_wanted(info)) AppendRow(page, info);
  }
}

}  // namespace

std::string ServeEnvironmentHelp() {
  std::string text(kHelpTitle);
  for (const SettingInfo& info : SettingTable()) {
    if (info.in_serve_help) AppendHelpLine(text, info);
  }
  return text;
}

std::string EnvironmentHelp(std::span<const std::string_view> names) {
  std::string text(kHelpTitle);
  for (const std::string_view name : names) {
    for (const SettingInfo& info : SettingTable()) {
      if (info.name == name) AppendHelpLine(text, info);
    }
  }
  return text;
}

std::string SettingsPage() {
  std::string page =
      "# Settings\n"
      "\n"
      "Corral is set up by environment variables, read once at start. How a value is read (quotes, "
      "booleans, durations, "
      "addresses)\nis in [formats/settings.md](formats/settings.md). A value that can't be read "
      "gives a warning in the log "
      "and the default is\ntaken; so does an `OLLAMA_` or `CORRAL_` name that is not on this "
      "page.\n"
      "\n"
      "This page is generated from the table in `src/core/settings_table.cc`, and a unit test "
      "compares the two. To write it "
      "anew:\n"
      "\n"
      "    CORRAL_UPDATE_DOCS=1 build/tests/core_test --gtest_filter='SettingsText.*'\n";
  AppendTable(page, "Used", "The texts of Ollama's own variables are Ollama's.",
              [](const SettingInfo& info) { return info.is_used; });
  AppendTable(page, "Known, without effect",
              "Variables of Ollama that Corral knows and does not use. Setting one gives a warning "
              "and changes nothing.",
              [](const SettingInfo& info) { return !info.is_used; });
  return page;
}

}  // namespace corral
