#include "models/name.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace corral::models {
namespace {

using nlohmann::json;

void ExpectName(const std::optional<ModelName>& name, const json& wanted) {
  if (!wanted.value("valid", true)) {
    EXPECT_FALSE(name) << name->Full();
    return;
  }
  ASSERT_TRUE(name);
  EXPECT_EQ(json({name->scheme(), name->host(), name->name_space(), name->model(), name->tag()}),
            wanted.at("parts"));
  EXPECT_EQ(name->Short(), wanted.at("short").get<std::string>());
  EXPECT_EQ(ModelName::FromPath(name->Path())->Full(), name->Full());
}

void ExpectReference(const Result<ModelReference>& reference, const json& wanted) {
  if (wanted.contains("error")) {
    ASSERT_FALSE(reference);
    EXPECT_EQ(reference.error().code, Code::kInvalidArgument);
    EXPECT_EQ(reference.error().message, wanted.at("error").get<std::string>());
    return;
  }
  ASSERT_TRUE(reference);
  constexpr const char* kSources[] = {"none", "local", "cloud"};
  EXPECT_EQ(reference->base, wanted.at("base").get<std::string>());
  EXPECT_EQ(kSources[static_cast<int>(reference->source)], wanted.at("source").get<std::string>());
  EXPECT_EQ(reference->PullName(), wanted.at("pull").get<std::string>());
}

TEST(ModelName, ParsesTheCases) {
  std::ifstream file(CORRAL_TEST_CASES "/names.test");
  ASSERT_TRUE(file) << CORRAL_TEST_CASES;
  int n_cases = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.front() == '#') continue;
    const json wanted = json::parse(line);
    SCOPED_TRACE(wanted.at("id").get<std::string>());
    ++n_cases;
    if (wanted.contains("in")) {
      ExpectName(ModelName::Parse(wanted.at("in").get<std::string>()), wanted);
    } else if (wanted.contains("path")) {
      ExpectName(ModelName::FromPath(wanted.at("path").get<std::string>()), wanted);
    } else {
      ExpectReference(ParseReference(wanted.at("ref").get<std::string>()), wanted);
    }
  }
  EXPECT_GE(n_cases, 59);
}

TEST(ModelName, ComparesWithoutRegardToCase) {
  const auto name = ModelName::Parse("LLaMA3:Latest");
  EXPECT_TRUE(name->EqualsIgnoringCase(*ModelName::Parse("llama3")));
  EXPECT_FALSE(name->EqualsIgnoringCase(*ModelName::Parse("llama3:1b")));
  EXPECT_NE(*name, *ModelName::Parse("llama3"));
}

TEST(ModelName, TakesAHostOf350BytesAndNoMore) {
  EXPECT_TRUE(ModelName::Parse(std::string(350, 'h') + "/n/m"));
  EXPECT_FALSE(ModelName::Parse(std::string(351, 'h') + "/n/m"));
  EXPECT_FALSE(ModelName::Parse("h/" + std::string(81, 'n') + "/m"));
}

TEST(Digest, NormalisesWhatItAccepts) {
  const std::string hex(64, 'a');
  for (const std::string& text :
       {"sha256:" + hex, "sha256-" + hex, "sha256:" + std::string(64, 'A')}) {
    const auto digest = Digest::Parse(text);
    ASSERT_TRUE(digest) << text;
    EXPECT_EQ(digest->ToString(), "sha256:" + hex);
    EXPECT_EQ(digest->FileName(), "sha256-" + hex);
  }
}

TEST(Digest, RefusesWhatIsNoDigest) {
  const std::string hex(64, 'a');
  for (const std::string& text :
       {std::string(), std::string("sha256:abc"), "md5:" + hex, "sha256:" + std::string(63, 'a'),
        "sha256:" + hex + "a", "sha256:" + std::string(63, 'a') + "g", "SHA256:" + hex,
        "sha256/" + hex, hex, "sha256:" + std::string(62, 'a') + "/a"}) {
    EXPECT_FALSE(Digest::Parse(text)) << text;
  }
}

TEST(Digest, HashesBytes) {
  EXPECT_EQ(Digest::OfBytes("").ToString(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace corral::models
