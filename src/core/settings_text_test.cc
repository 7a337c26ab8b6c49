#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/files.h"
#include "core/settings.h"
#include "core/text.h"

namespace corral {
namespace {

TEST(SettingsText, ServeHelpBeginsWithOllamas21) {
  constexpr std::array<std::string_view, 21> kOllamas = {"OLLAMA_DEBUG",
                                                         "OLLAMA_HOST",
                                                         "OLLAMA_CONTEXT_LENGTH",
                                                         "OLLAMA_KEEP_ALIVE",
                                                         "OLLAMA_MAX_LOADED_MODELS",
                                                         "OLLAMA_MAX_TRANSFER_STREAMS",
                                                         "OLLAMA_MAX_QUEUE",
                                                         "OLLAMA_MODELS",
                                                         "OLLAMA_NUM_PARALLEL",
                                                         "OLLAMA_NO_CLOUD",
                                                         "OLLAMA_NOPRUNE",
                                                         "OLLAMA_ORIGINS",
                                                         "OLLAMA_SCHED_SPREAD",
                                                         "OLLAMA_FLASH_ATTENTION",
                                                         "OLLAMA_KV_CACHE_TYPE",
                                                         "OLLAMA_LLM_LIBRARY",
                                                         "OLLAMA_GPU_OVERHEAD",
                                                         "OLLAMA_IGPU_ENABLE",
                                                         "LLAMA_ARG_FIT",
                                                         "LLAMA_ARG_FIT_TARGET",
                                                         "OLLAMA_LOAD_TIMEOUT"};
  const std::string help = ServeEnvironmentHelp();
  const auto lines = Split(help, '\n');
  ASSERT_GT(lines.size(), kOllamas.size() + 2);
  EXPECT_EQ(lines[0], "");
  EXPECT_EQ(lines[1], "Environment Variables:");
  EXPECT_EQ(lines[2],
            "      OLLAMA_DEBUG                  Show additional debug information (e.g. "
            "OLLAMA_DEBUG=1)");
  for (std::size_t i = 0; i < kOllamas.size(); ++i) {
    EXPECT_EQ(TrimSpace(lines[i + 2].substr(0, 33)), kOllamas[i]);
  }
  EXPECT_EQ(TrimSpace(lines[kOllamas.size() + 2].substr(0, 33)), "OLLAMA_PORT");
  EXPECT_EQ(lines.back(), "");  // ends with a line's end
}

TEST(SettingsText, OtherCommandsShowTheirOwnVariables) {
  constexpr std::array<std::string_view, 2> kNames = {"OLLAMA_HOST", "OLLAMA_NOHISTORY"};
  EXPECT_EQ(EnvironmentHelp(kNames),
            "\nEnvironment Variables:\n"
            "      OLLAMA_HOST                   IP Address for the ollama server (default "
            "127.0.0.1:11434)\n"
            "      OLLAMA_NOHISTORY              Do not preserve readline history\n");
}

TEST(SettingsText, TheGeneratedPageIsUpToDate) {
  const std::filesystem::path file = std::filesystem::path(CORRAL_SOURCE_DIR) / "docs/settings.md";
  if (getenv("CORRAL_UPDATE_DOCS") != nullptr) {
    ASSERT_TRUE(RealFileSystem().WriteAtomically(file, SettingsPage()));
  }
  std::ifstream stream(file);
  const std::string page{std::istreambuf_iterator<char>(stream), {}};
  EXPECT_EQ(page, SettingsPage())
      << "docs/settings.md is out of date; its first lines say how to write it anew";
}

}  // namespace
}  // namespace corral
