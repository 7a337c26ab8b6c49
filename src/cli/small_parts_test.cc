// The room's small pure parts: model names, widths, proxies, attachments, history.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "cli/attachments.h"
#include "cli/history.h"
#include "cli/model_name.h"
#include "cli/width.h"
#include "core/proxy.h"

namespace corral::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "corral-cli-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string ReadAll(const fs::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

// ---- names ----

TEST(ModelName, AcceptsWhatOllamaAccepts) {
  for (const char* name : {"m", "llama3.2", "llama3.2:1b", "user/m:t",
                           "hf.co/user/model-GGUF:Q4_K_M", "localhost:5000/ns/m:t",
                           "https://example.com/ns/m", "_m", "registry.ollama.ai/library/m:latest"})
    EXPECT_TRUE(IsValidModelName(name)) << name;
}

TEST(ModelName, RejectsEmptyPartsAndOddCharacters) {
  for (const char* name : {"", ":", "m:", ":t", "/m", "ns/", "a//b", "m@sha256:1", "-m", ".m",
                           "m m", "n.s/m", "localhost:5000/m", "a/b/c/d", "m:t:u/"})
    EXPECT_FALSE(IsValidModelName(name)) << name;
  EXPECT_FALSE(IsValidModelName(std::string(81, 'a')));
}

// ---- widths ----

TEST(Width, CountsCellsAndNotBytes) {
  EXPECT_EQ(TextWidth("abc"), 3);
  EXPECT_EQ(TextWidth("日本"), 4);
  EXPECT_EQ(TextWidth("e\xcc\x81"), 1);
  EXPECT_EQ(TextWidth("🙂"), 2);
  EXPECT_EQ(TextWidth("▕█▏"), 3);
  EXPECT_EQ(TextWidth("한글"), 4);
  EXPECT_EQ(TextWidth("\x1b\n\t"), 0);
}

// ---- proxies ----

std::string Proxy(const std::string& host, const std::map<std::string, std::string>& variables,
                  const std::string& scheme = "http", std::uint16_t port = 11434) {
  Host server;
  server.scheme = scheme;
  server.host = host;
  server.port = port;
  return ProxyFor(server, [&](std::string_view name) -> std::optional<std::string> {
    const auto found = variables.find(std::string(name));
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

TEST(Proxy, FollowsTheScheme) {
  const std::map<std::string, std::string> both = {{"HTTP_PROXY", "http://p:1"},
                                                   {"https_proxy", "s:2"}};
  EXPECT_EQ(Proxy("example.com", both), "http://p:1");
  EXPECT_EQ(Proxy("example.com", both, "https"), "http://s:2");
  EXPECT_EQ(Proxy("example.com", {}), "");
}

TEST(Proxy, IsNeverUsedForThisMachine) {
  for (const char* host :
       {"", "localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "0.0.0.0", "::"})
    EXPECT_EQ(Proxy(host, {{"HTTP_PROXY", "http://p:1"}}), "") << host;
}

TEST(Proxy, NoProxyNamesDomainsAddressesNetworksAndPorts) {
  const auto is_direct = [](const std::string& host, const std::string& list) {
    return Proxy(host, {{"HTTP_PROXY", "http://p:1"}, {"NO_PROXY", list}}).empty();
  };
  EXPECT_TRUE(is_direct("a.example.com", "other, Example.com"));
  EXPECT_TRUE(is_direct("example.com", "example.com"));
  EXPECT_FALSE(is_direct("badexample.com", "example.com"));
  EXPECT_TRUE(is_direct("a.example.com", ".example.com"));
  EXPECT_FALSE(is_direct("example.com", ".example.com"));
  EXPECT_TRUE(is_direct("a.example.com", "*.example.com"));
  EXPECT_TRUE(is_direct("10.1.2.3", "10.0.0.0/8"));
  EXPECT_FALSE(is_direct("11.1.2.3", "10.0.0.0/8"));
  EXPECT_TRUE(is_direct("10.1.2.3", "10.1.2.3"));
  EXPECT_TRUE(is_direct("example.com", "example.com:11434"));
  EXPECT_FALSE(is_direct("example.com", "example.com:80"));
  EXPECT_TRUE(is_direct("[fd00::5]", "fd00::/8"));
  EXPECT_TRUE(is_direct("anything", "*"));
  EXPECT_FALSE(is_direct("example.com", ",, :80,/8,[]"));
}

// ---- attachments ----

TEST(Attachments, FindsPathsWithBlanksAndEscapes) {
  EXPECT_THAT(FindPaths("look at './a b.png' now"), ElementsAre("./a b.png"));
  EXPECT_THAT(FindPaths("/x/a\\ b.JPG and C:/y/z.webp."),
              ElementsAre("/x/a\\ b.JPG", "C:/y/z.webp"));
  EXPECT_THAT(FindPaths("/a.pngx /b.wav"), ElementsAre("/a.pngx /b.wav"));
  EXPECT_THAT(FindPaths("pic.png and /etc/passwd"), IsEmpty());
  EXPECT_THAT(FindPaths("/one\n/two.png"), ElementsAre("/two.png"));
}

TEST(Attachments, ReadsWhatIsThereAndLeavesTheRestInTheText) {
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "a b.png").string();
  std::ofstream(path) << "\x89PNG\r\n\x1a\n...";
  const auto taken = TakeAttachments("look at '" + path + "' now, not /nope.png");
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->text, "look at  now, not /nope.png");
  EXPECT_EQ(taken->files.size(), 1U);
  EXPECT_THAT(taken->notes, ElementsAre("Added image '" + path + "'"));
}

TEST(Attachments, RefusesAFileThatIsSomethingElse) {
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "a.png").string();
  std::ofstream(path) << "just text";
  EXPECT_EQ(TakeAttachments(path).error().message, "invalid file type: text/plain; charset=utf-8");
}

// ---- history ----

TEST(History, ComesBackWithItsLineBreaks) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / ".ollama" / "history";
  History first(RealFileSystem(), file);
  ASSERT_TRUE(first.Load());
  ASSERT_TRUE(first.Add("one"));
  ASSERT_TRUE(first.Add("two\nlines"));
  struct stat facts {};
  ASSERT_EQ(stat(file.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0600U);
  History second(RealFileSystem(), file);
  ASSERT_TRUE(second.Load());
  EXPECT_THAT(second.entries(), ElementsAre("one", "two\nlines"));
}

TEST(History, OfTwoSessionsIsKept) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "history";
  History a(RealFileSystem(), file);
  History b(RealFileSystem(), file);
  ASSERT_TRUE(a.Load());
  ASSERT_TRUE(b.Load());
  ASSERT_TRUE(a.Add("from a"));
  ASSERT_TRUE(b.Add("from b"));
  EXPECT_EQ(ReadAll(file), "from a\nfrom b\n");
}

TEST(History, KeepsTheLastHundredAndOllamasFilesAreRead) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "history";
  {
    std::ofstream old(file);
    for (int i = 0; i < 150; ++i) old << "entry " << i << "\n\n";
  }
  History history(RealFileSystem(), file);
  ASSERT_TRUE(history.Load());
  EXPECT_EQ(history.entries().size(), 100U);
  EXPECT_EQ(history.entries().front(), "entry 50");
  ASSERT_TRUE(history.Add("new"));
  EXPECT_EQ(history.entries().front(), "entry 51");
  EXPECT_EQ(history.entries().back(), "new");
}

TEST(History, IsNotTouchedWhenItIsOff) {
  const TemporaryFolder folder;
  History off(RealFileSystem(), {});
  EXPECT_TRUE(off.Load());
  EXPECT_TRUE(off.Add("secret"));
  EXPECT_THAT(off.entries(), ElementsAre("secret"));
  const fs::path file = folder.path() / "history";
  History paused(RealFileSystem(), file);
  paused.SetSaving(false);
  EXPECT_TRUE(paused.Add("secret"));
  EXPECT_FALSE(fs::exists(file));
}

}  // namespace
}  // namespace corral::cli
