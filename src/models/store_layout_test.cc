// A store as Ollama leaves it is read, and one that we wrote is read by somebody who knows only the
// layout.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "models/test_store.h"

namespace corral::models {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A store put together byte by byte, as docs/formats/store.md says that Ollama does.
class OllamaStore {
 public:
  explicit OllamaStore(fs::path root) : root_(std::move(root)) {}

  // A layer's JSON; its blob is written.
  std::string Layer(const std::string& kind, const std::string& bytes,
                    const std::string& more = "") {
    return LayerOf("application/vnd.ollama.image." + kind, bytes, more);
  }
  std::string LayerOf(const std::string& media_type, const std::string& bytes,
                      const std::string& more = "") {
    const std::string hex = Digest::OfBytes(bytes).hex();
    WriteAll(root_ / "blobs" / ("sha256-" + hex), bytes);
    return "{\"mediaType\":\"" + media_type + "\",\"digest\":\"sha256:" + hex +
           "\",\"size\":" + std::to_string(bytes.size()) + more + "}";
  }
  void Manifest(const std::string& path, const std::string& config,
                const std::vector<std::string>& layers) {
    std::string text =
        "{\"schemaVersion\":2,\"mediaType\":\"application/"
        "vnd.docker.distribution.manifest.v2+json\",\"config\":" +
        LayerOf("application/vnd.docker.container.image.v1+json", config) + ",\"layers\":[";
    for (const std::string& layer : layers) text += (text.back() == '[' ? "" : ",") + layer;
    WriteAll(root_ / "manifests" / path, text + "]}");
  }

 private:
  fs::path root_;
};

TEST_F(StoreTest, ReadsAStoreThatOllamaWrote) {
  OllamaStore ollama(root_);
  const std::string gguf = TinyGguf("llama").Bytes();
  ollama.Manifest(
      "registry.ollama.ai/library/llama3.2/1b",
      R"({"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"1.2B","file_type":"Q8_0",)"
      R"("architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:00"]}})",
      {ollama.Layer("model", gguf),
       ollama.Layer("template", "{{ .System }}<|eot_id|>{{ .Prompt }}"),
       ollama.Layer("license", "L1"), ollama.Layer("license", "L2"),
       ollama.Layer("embed", "ignored"),
       ollama.LayerOf("application/vnd.example.signature", "ignored"),
       ollama.Layer(
           "params",
           "{\"stop\":[\"\\u003c|eot_id|\\u003e\"],\"temperature\":0.7,\"num_ctx\":4096}\n"),
       ollama.Layer("messages", "[{\"role\":\"user\",\"content\":\"Hi\"}]\n"),
       ollama.Layer("system", "Say hi!")});
  ollama.Manifest(
      "hf.co/bartowski/Some-GGUF/Q4_K_M", R"({"model_format":"gguf","model_families":null})",
      {ollama.Layer("model", gguf, ",\"from\":\"x\""), ollama.Layer("prompt", "{{ .Prompt }}")});
  Open();
  EXPECT_THAT(Listed(),
              ::testing::UnorderedElementsAre("llama3.2:1b", "hf.co/bartowski/Some-GGUF:Q4_K_M"));
  const auto model = Load("llama3.2:1b");
  EXPECT_EQ(model->config.model_type, "1.2B");
  EXPECT_EQ(model->template_text, "{{ .System }}<|eot_id|>{{ .Prompt }}");
  EXPECT_EQ(model->system, "Say hi!");
  EXPECT_THAT(model->licenses, ElementsAre("L1", "L2"));
  EXPECT_EQ(model->params.at("stop"), ParamValue(std::vector<std::string>{"<|eot_id|>"}));
  EXPECT_EQ(model->params.at("num_ctx"), ParamValue(std::int64_t{4096}));
  EXPECT_EQ(model->messages, (std::vector<StoredMessage>{{"user", "Hi"}}));
  EXPECT_EQ(model->info->Architecture(), "llama");
  EXPECT_EQ(Load("hf.co/BARTOWSKI/some-gguf:q4_k_m")->template_text, "{{ .Prompt }}");
  ASSERT_TRUE(store_->Delete(NameOf("llama3.2:1b")));
  EXPECT_EQ(ReadAll(Load("hf.co/bartowski/Some-GGUF:Q4_K_M")->gguf), gguf);
}

struct ReaderResult {
  int exit_status = -1;
  std::string output;
};
ReaderResult RunReader(const fs::path& root) {
  const std::string command = "python3 '" CORRAL_TEST_SUPPORT "/store_reader/read_store.py' '" +
                              root.native() + "' --as-created 2>&1";
  ReaderResult result;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return result;
  char buffer[4096];
  for (std::size_t n = 0; (n = ::fread(buffer, 1, sizeof(buffer), pipe)) > 0;)
    result.output.append(buffer, n);
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) result.exit_status = WEXITSTATUS(status);
  return result;
}

class ReaderTest : public StoreTest {
 protected:
  void SetUp() override {
    if (std::system("python3 -c '' >/dev/null 2>&1") != 0)
      GTEST_SKIP() << "python3 is not installed";
    Open();
    CreateSpec spec{NameOf("base")};
    spec.template_text = "<s>{{ .Prompt }}</s>";
    spec.system = "Gr\xC3\xBC\xC3\x9F Gott & <hi>\xE2\x80\xA8";
    spec.licenses = {"MIT", "BSD"};
    spec.params = {{"temperature", 0.7},
                   {"num_ctx", std::int64_t{4096}},
                   {"use_mmap", true},
                   {"stop", std::vector<std::string>{"<|a|>", "\"\\\n"}},
                   {"top_p", 1e-10}};
    spec.messages = {{"user", "<Hi> & \xE2\x80\xA8"}, {"assistant", "\t\"Yo\""}};
    spec.capabilities = {"completion"};
    CreateFrom("user/Base:v1", TinyGguf().Bytes(), spec);
    CreateSpec derived{NameOf("derived")};
    derived.from = NameOf("user/base:V1");
    derived.system = "other";
    ASSERT_EQ(Create(derived).back(), "writing manifest");
    ASSERT_TRUE(store_->Copy(NameOf("derived"), NameOf("host:5000/ns/copy:t")));
  }
};

TEST_F(ReaderTest, AnIndependentReaderUnderstandsWhatWeWrite) {
  const ReaderResult result = RunReader(root_);
  ASSERT_EQ(result.exit_status, 0) << result.output;
  const json report = json::parse(result.output);
  EXPECT_EQ(report.at("orphans").size(), 0U) << result.output;
  const json& models = report.at("models");
  ASSERT_EQ(models.size(), 3U);
  for (const ModelSummary& summary : ListAll()) {
    const json& read = models.at(summary.name.Full());
    const auto model = Load(summary.name.Full());
    EXPECT_EQ(read.at("digest"), summary.digest);
    EXPECT_EQ(read.at("size"), summary.size_bytes);
    EXPECT_EQ(read.at("system"), model->system);
    EXPECT_EQ(read.at("template"), *model->template_text);
    EXPECT_EQ(read.at("licenses"), json(model->licenses));
    EXPECT_EQ(read.at("params").at("stop"), json({"<|a|>", "\"\\\n"}));
    EXPECT_EQ(read.at("params").at("top_p"), 1e-10);
    EXPECT_EQ(read.at("messages").at(0).at("content"), "<Hi> & \xE2\x80\xA8");
    EXPECT_EQ(read.at("config").at("model_family"), "test");
  }
}

TEST_F(ReaderTest, TheReaderSeesWhatIsWrong) {
  const Digest system = Digest::OfBytes("other");
  WriteAll(Blob(system), "wrong");
  EXPECT_THAT(RunReader(root_).output, HasSubstr("does not hold what its name says"));
  fs::remove(Blob(system));
  EXPECT_THAT(RunReader(root_).output, HasSubstr("No such file"));
  WriteAll(root_ / "manifests" / "stray", "{}");
  WriteAll(root_ / "blobs" / "stray", "");
  const ReaderResult result = RunReader(root_);
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.output, HasSubstr("manifests/stray: not host/namespace/model/tag"));
  EXPECT_THAT(result.output, HasSubstr("blobs/stray: not a blob"));
}

}  // namespace
}  // namespace corral::models
