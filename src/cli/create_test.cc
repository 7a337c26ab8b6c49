#include "cli/create.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "core/sha256.h"

namespace corral::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

class CreateTest : public ::testing::Test {
 protected:
  CreateTest() {
    std::string name = (fs::temp_directory_path() / "corral-create-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~CreateTest() override { fs::remove_all(folder_); }

  void Write(const std::string& name, const std::string& bytes = "x") {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << bytes;
  }
  Result<CreatePlan> Plan(const std::string& text) {
    const auto parsed = modelfile::Parse(text);
    EXPECT_TRUE(parsed) << text;
    return PlanCreate(*parsed, folder_, folder_.string(), {});
  }
  std::vector<std::string> FolderFiles() {
    std::vector<std::string> names;
    const auto files = ModelFolderFiles(folder_);
    if (!files) return {files.error().message};
    for (const fs::path& file : *files) names.push_back(file.lexically_relative(folder_).string());
    return names;
  }

  fs::path folder_;
};

TEST_F(CreateTest, AFileIsUploadedUnderItsBaseName) {
  Write("sub/weights.gguf", "abc");
  const auto plan = Plan("FROM ./sub/weights.gguf");
  ASSERT_TRUE(plan);
  const std::string digest = "sha256:" + Sha256Hex("abc");
  EXPECT_THAT(plan->request.files, ElementsAre(Pair("weights.gguf", digest)));
  EXPECT_EQ(plan->request.from, "");
  ASSERT_EQ(plan->uploads.size(), 1U);
  EXPECT_EQ(plan->uploads[0].digest, digest);
  EXPECT_EQ(plan->uploads[0].size_bytes, 3U);
}

TEST_F(CreateTest, WhatIsNoFileIsAModelsName) {
  const auto plan = Plan("FROM llama3.2\nFROM qwen3");
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->request.from, "qwen3");
  EXPECT_THAT(plan->uploads, IsEmpty());
}

TEST_F(CreateTest, ReadsEveryInstruction) {
  Write("lora.gguf");
  Write("draft.gguf", "d");
  const auto plan = Plan(
      "FROM m\nTEMPLATE {{ .Prompt }}\nSYSTEM first\nSYSTEM second\nLICENSE A\nLICENSE B\nADAPTER "
      "lora.gguf\n"
      "DRAFT draft.gguf\nRENDERER qwen3\nPARSER qwen3\nREQUIRES v0.14.0\nMESSAGE user hi: "
      "there\nMESSAGE assistant yes\n"
      "PARAMETER stop a\nPARAMETER stop b\nPARAMETER top_k 3\nPARAMETER mirostat 1");
  ASSERT_TRUE(plan) << plan.error().message;
  const CreateRequest& request = plan->request;
  EXPECT_EQ(request.template_text, "{{ .Prompt }}");
  EXPECT_EQ(request.system, "second");
  EXPECT_THAT(request.licenses, ElementsAre("A", "B"));
  EXPECT_EQ(request.adapters.count("lora.gguf"), 1U);
  EXPECT_EQ(request.draft_files.count("draft.gguf"), 1U);
  EXPECT_EQ(request.renderer, "qwen3");
  EXPECT_EQ(request.parser, "qwen3");
  EXPECT_EQ(request.requires_version, "0.14.0");
  ASSERT_EQ(request.messages.size(), 2U);
  EXPECT_EQ(request.messages[0].role, "user");
  EXPECT_EQ(request.messages[0].content, "hi: there");
  ASSERT_EQ(request.parameters.size(), 2U);
  EXPECT_EQ(std::get<std::vector<std::string>>(request.parameters[0].value),
            (std::vector<std::string>{"a", "b"}));
  EXPECT_THAT(plan->warnings, ElementsAre(HasSubstr("mirostat")));
  EXPECT_EQ(plan->uploads.size(), 2U);
}

TEST_F(CreateTest, TheSameBytesAreUploadedOnce) {
  Write("a.gguf");
  Write("b.gguf");
  const auto plan = Plan("FROM a.gguf\nFROM b.gguf");
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->request.files.size(), 2U);
  EXPECT_EQ(plan->uploads.size(), 1U);
}

TEST_F(CreateTest, SaysWhatIsWrong) {
  Write("m.gguf");
  EXPECT_THAT(Plan("FROM m\nADAPTER nope.gguf").error().message,
              HasSubstr("No such file or directory"));
  EXPECT_EQ(Plan("FROM m\nPARAMETER x 1").error().message, "unknown parameter 'x'");
  EXPECT_EQ(Plan("FROM m\nREQUIRES new").error().message,
            "requires must be a valid semver (e.g. 0.14.0)");
  EXPECT_EQ(Plan("FROM m.gguf\nDRAFT ./m.gguf").error().message,
            "DRAFT must not reference the same local path as FROM: ./m.gguf");
}

TEST_F(CreateTest, ATildeIsTheHomeFolder) {
  Write("m.gguf");
  EXPECT_EQ(Plan("FROM ~/m.gguf")->request.files.count("m.gguf"), 1U);
}

TEST_F(CreateTest, AFolderGivesTheFirstKindOfWeightsAndItsConfiguration) {
  for (const char* name :
       {"model-00002.safetensors", "model-00001.safetensors", "config.json", "tokenizer.model",
        "chat_template.jinja", "README.md", "sub/model.safetensors", "sub/extra.json", "x.gguf"})
    Write(name);
  EXPECT_THAT(FolderFiles(), ElementsAre("model-00001.safetensors", "model-00002.safetensors",
                                         "sub/model.safetensors", "config.json", "sub/extra.json",
                                         "chat_template.jinja", "tokenizer.model"));
}

TEST_F(CreateTest, AFolderOfGgufsIsAModelToo) {
  Write("mmproj.gguf");
  Write("text.gguf", "y");
  const auto plan = Plan("FROM .");
  ASSERT_TRUE(plan);
  EXPECT_THAT(plan->request.files,
              ElementsAre(Pair("mmproj.gguf", ::testing::_), Pair("text.gguf", ::testing::_)));
}

TEST_F(CreateTest, AFolderWithoutWeightsIsAnError) {
  Write("config.json");
  EXPECT_THAT(FolderFiles(), ElementsAre("no Modelfile or safetensors files found"));
}

TEST_F(CreateTest, ALinkThatLeadsOutOfTheFolderIsRefused) {
  fs::create_symlink("/etc/hostname", folder_ / "model.safetensors");
  EXPECT_THAT(FolderFiles(), ElementsAre(HasSubstr("insecure path: ")));
}

TEST_F(CreateTest, TheModelfileIsTheOneNamedOrTheOneHereOrNone) {
  Write("Other", "FROM other");
  fs::path where;
  EXPECT_EQ(*ReadModelfile((folder_ / "Other").string(), &where), "FROM other");
  EXPECT_EQ(where, folder_);
  EXPECT_THAT(ReadModelfile((folder_ / "Nope").string(), &where).error().message,
              HasSubstr("specified Modelfile wasn't found: "));
}

TEST(WireNames, AreRelativeToTheDeepestCommonFolder) {
  EXPECT_THAT(WireNames({"/a/b/c/x.json", "/a/b/y.json", "/a/b/d/z.json"}),
              ElementsAre(Pair("c/x.json", fs::path("/a/b/c/x.json")),
                          Pair("d/z.json", fs::path("/a/b/d/z.json")),
                          Pair("y.json", fs::path("/a/b/y.json"))));
  EXPECT_THAT(WireNames({"/a/b/c/x.json"}), ElementsAre(Pair("x.json", fs::path("/a/b/c/x.json"))));
  EXPECT_THAT(WireNames({}), IsEmpty());
}

}  // namespace
}  // namespace corral::cli
