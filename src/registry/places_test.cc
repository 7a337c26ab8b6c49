#include "registry/internal/places.h"

#include <gtest/gtest.h>

namespace corral::registry::internal {
namespace {

std::vector<std::string> Places(const char* name, bool is_insecure,
                                const std::string& mirror = "") {
  Options options;
  options.mirror = mirror;
  const auto places = PlacesOf(models::ModelName::Parse(name).value(), is_insecure, options);
  std::vector<std::string> texts;
  if (!places) return {"error: " + places.error().message};
  for (const Url& url : *places) texts.push_back(url.text);
  return texts;
}

using Texts = std::vector<std::string>;

TEST(Places, AreTheHostOfTheNameByHttpsUnlessInsecure) {
  EXPECT_EQ(Places("m", false), Texts{"https://registry.ollama.ai/"});
  EXPECT_EQ(Places("localhost:5000/a/b", true), Texts{"http://localhost:5000/"});
  EXPECT_EQ(Places("http://h:1/a/b", false), Texts{"https://h:1/"});
  EXPECT_EQ(Places("hf.co/u/m:Q4", false), Texts{"https://hf.co/"});
}

TEST(Places, BeginWithTheMirrorOfTheDefaultRegistry) {
  EXPECT_EQ(Places("m", false, "http://mirror:5000"),
            (Texts{"http://mirror:5000/", "https://registry.ollama.ai/"}));
  EXPECT_EQ(Places("hf.co/u/m", false, "http://mirror:5000"), Texts{"https://hf.co/"});
}

TEST(Places, RefuseAHostThatIsNoAddress) {
  EXPECT_EQ(Places("h:x:y/a/b", false).front().substr(0, 7), "error: ");
}

}  // namespace
}  // namespace corral::registry::internal
