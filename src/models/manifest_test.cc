#include "models/manifest.h"

#include <gtest/gtest.h>

#include <limits>

#include "models/internal/go_json.h"
#include "models/internal/model_reader.h"

namespace corral::models {
namespace {

const std::string kHex(64, '1');

Layer LayerOf(std::string kind, std::int64_t size) {
  return {
      std::string(kMediaPrefix) + std::move(kind), *Digest::Parse("sha256:" + kHex), size, {}, {}};
}

std::string ManifestOf(const std::string& layers) {
  return "{\"schemaVersion\":2,\"layers\":" + layers + "}";
}
std::string LayerText(const std::string& size) {
  return R"({"mediaType":"application/vnd.ollama.image.model","digest":"sha256:)" + kHex +
         "\",\"size\":" + size + "}";
}

TEST(Manifest, EncodesInOllamasKeyOrder) {
  Layer config{std::string(kConfigMediaType), *Digest::Parse("sha256:" + kHex), 7, {}, {}};
  Layer model = LayerOf("model", 9);
  model.from = "a<b";
  EXPECT_EQ(
      EncodeManifest(config, {model, LayerOf("system", 1)}),
      "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.docker.distribution.manifest.v2+json\","
      "\"config\":{\"mediaType\":\"application/"
      "vnd.docker.container.image.v1+json\",\"digest\":\"sha256:" +
          kHex +
          "\",\"size\":7},"
          "\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:" +
          kHex +
          "\",\"size\":9,\"from\":\"a\\u003cb\"},{\"mediaType\":\"application/"
          "vnd.ollama.image.system\","
          "\"digest\":\"sha256:" +
          kHex + "\",\"size\":1}]}\n");
}

TEST(Manifest, ReadsBackWhatItWrote) {
  const Layer config{std::string(kConfigMediaType), *Digest::Parse("sha256:" + kHex), 7, {}, {}};
  const std::string text = EncodeManifest(config, {LayerOf("model", 9), LayerOf("prompt", 3)});
  const auto manifest = ParseManifest(text);
  ASSERT_TRUE(manifest) << manifest.error().message;
  EXPECT_EQ(manifest->raw, text);
  EXPECT_EQ("sha256:" + manifest->digest, Digest::OfBytes(text).ToString());
  EXPECT_EQ(manifest->config, config);
  EXPECT_EQ(manifest->TotalBytes(), 19);
  EXPECT_EQ(manifest->Find("template")->size, 3);
  EXPECT_EQ(manifest->Find("system"), nullptr);
}

TEST(Manifest, AcceptsOddOldShapes) {
  for (const char* text :
       {"{}", R"({"layers":null})", R"({"config":null,"layers":[]})",
        R"({"config":{"mediaType":"x","digest":"","size":0},"layers":[],"extra":[{}]})"}) {
    const auto manifest = ParseManifest(text);
    ASSERT_TRUE(manifest) << text;
    EXPECT_FALSE(manifest->config);
    EXPECT_TRUE(manifest->layers.empty());
  }
}

TEST(Manifest, KeepsLayersOfUnknownTypes) {
  const auto manifest = ParseManifest(
      ManifestOf(R"([{"mediaType":"application/x","digest":"sha256-)" + kHex + R"(","size":1}])"));
  ASSERT_TRUE(manifest);
  EXPECT_EQ(manifest->layers.at(0).Kind(), "");
}

TEST(Manifest, RefusesHostileShapes) {
  const std::string layer = LayerText("1");
  std::string many = "[" + layer;
  for (std::size_t i = 0; i < kMaxLayers; ++i) many += "," + layer;
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("null"), std::string("{"),
        std::string("{\"layers\":{}}"), ManifestOf("[null]"), ManifestOf("[[]]"),
        ManifestOf("[{}]"), ManifestOf("[" + LayerText("-1") + "]"),
        ManifestOf("[" + LayerText("1.5") + "]"), ManifestOf("[" + LayerText("\"1\"") + "]"),
        ManifestOf("[" + LayerText("18446744073709551615") + "]"),
        std::string(R"({"config":{"digest":"sha256:../../etc/passwd"}})"),
        std::string(R"({"config":"x"})"), ManifestOf(many + "]"),
        std::string(kMaxManifestBytes + 1, ' '), std::string(100'000, '['),
        ManifestOf(std::string(100'000, '[') + std::string(100'000, ']'))}) {
    const auto manifest = ParseManifest(text);
    ASSERT_FALSE(manifest) << text.substr(0, 100);
    EXPECT_EQ(manifest.error().code, Code::kCorrupt);
  }
}

TEST(Manifest, SumsSizesWithoutOverflow) {
  const std::string layer = LayerText("9223372036854775807");
  const auto manifest = ParseManifest(ManifestOf("[" + layer + "," + layer + "]"));
  ASSERT_TRUE(manifest);
  EXPECT_EQ(manifest->TotalBytes(), std::numeric_limits<std::int64_t>::max());
}

TEST(Config, EncodesAPlainModelAsOllamaDoes) {
  ModelConfig config;
  config.model_format = "gguf";
  config.model_family = "test";
  config.model_families = {"test"};
  config.model_type = "0";
  config.file_type = "unknown";
  const std::string text = EncodeConfig(config);
  EXPECT_EQ(text,
            "{\"model_format\":\"gguf\",\"model_family\":\"test\",\"model_families\":[\"test\"],"
            "\"model_type\":\"0\","
            "\"file_type\":\"unknown\",\"architecture\":\"amd64\",\"os\":\"linux\"}\n");
  EXPECT_EQ(Digest::OfBytes(text).hex(),
            "99759ad5b91e723db0393d698ffbb448b1b7df5ff6377a108c49254583b1bc8c");
}

TEST(Config, EncodesEveryKeyInOllamasOrder) {
  ModelConfig config;
  config.renderer = "r";
  config.parser = "p";
  config.requires_version = "0.14.0";
  config.remote_host = "h";
  config.remote_model = "m";
  config.capabilities = {"completion", "tools"};
  config.context_length = 1;
  config.embedding_length = 2;
  config.base_name = "b";
  const std::string text = EncodeConfig(config);
  EXPECT_EQ(text,
            "{\"model_format\":\"\",\"model_family\":\"\",\"model_families\":null,\"model_type\":"
            "\"\",\"file_type\":\"\","
            "\"renderer\":\"r\",\"parser\":\"p\",\"requires\":\"0.14.0\",\"remote_host\":\"h\","
            "\"remote_model\":\"m\","
            "\"capabilities\":[\"completion\",\"tools\"],\"context_length\":1,\"embedding_length\":"
            "2,\"base_name\":\"b\","
            "\"architecture\":\"amd64\",\"os\":\"linux\"}\n");
  const auto parsed = ParseConfig(text);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(EncodeConfig(*parsed), text);
}

TEST(Config, LeavesOutWhatItDoesNotKnow) {
  const auto config = ParseConfig(
      R"({"model_format":"gguf","model_families":null,"rootfs":{"type":"layers"},"model_type":7,"context_length":-1,
          "capabilities":["tools",3]})");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->model_format, "gguf");
  EXPECT_EQ(config->model_type, "");
  EXPECT_EQ(config->context_length, 0);
  EXPECT_EQ(config->capabilities, std::vector<std::string>{"tools"});
  EXPECT_FALSE(ParseConfig("[]"));
}

TEST(Params, EncodeAsOllamaDoes) {
  const Params params = {{"num_ctx", std::int64_t{4096}},
                         {"stop", std::vector<std::string>{"<|eot_id|>"}},
                         {"temperature", 0.7}};
  const std::string text = internal::EncodeParams(params);
  EXPECT_EQ(text, "{\"num_ctx\":4096,\"stop\":[\"\\u003c|eot_id|\\u003e\"],\"temperature\":0.7}\n");
  EXPECT_EQ(Digest::OfBytes(text).hex(),
            "19ef79b5c08166d8e12f089056f15790bb5c646007f27315fb2e355cf480fe4b");
  EXPECT_EQ(internal::ParseParams(text).value(), params);
}

TEST(Params, LeaveOutWhatIsNoParameter) {
  const auto params = internal::ParseParams(
      R"({"a":null,"b":{"c":1},"stop":[1,2],"seed":18446744073709551615,"use_mmap":true,"x":"y"})");
  ASSERT_TRUE(params);
  EXPECT_EQ(params->size(), 3U);
  EXPECT_EQ(params->at("use_mmap"), ParamValue(true));
  EXPECT_EQ(params->at("x"), ParamValue(std::string("y")));
  EXPECT_TRUE(std::holds_alternative<double>(params->at("seed")));
  EXPECT_FALSE(internal::ParseParams("[]"));
}

TEST(Messages, EncodeAsOllamaDoes) {
  const std::string text = internal::EncodeMessages({{"user", "Hi"}});
  EXPECT_EQ(text, "[{\"role\":\"user\",\"content\":\"Hi\"}]\n");
  EXPECT_EQ(Digest::OfBytes(text).hex(),
            "110b1ae3e7b6103dbf92d6b607f9975fb4fe060f94c0fe890799e35936056f60");
  EXPECT_EQ(internal::ParseMessages(text).value(), (std::vector<StoredMessage>{{"user", "Hi"}}));
}

TEST(GoJson, QuotesAsGoDoes) {
  EXPECT_EQ(internal::QuoteJson("a\"\\\b\f\n\r\t\x01\x7F<>&\xE2\x80\xA8\xC3\xBC\xFF"),
            "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\x7F\\u003c\\u003e\\u0026\\u2028\xC3\xBC\\ufffd\"");
}

TEST(GoJson, FormatsNumbersAsGoDoes) {
  const std::pair<double, const char*> cases[] = {{0, "0"},
                                                  {3.0, "3"},
                                                  {0.7, "0.7"},
                                                  {-1.5, "-1.5"},
                                                  {1e-6, "0.000001"},
                                                  {1e-7, "1e-7"},
                                                  {1.5e-10, "1.5e-10"},
                                                  {1e20, "100000000000000000000"},
                                                  {1e21, "1e+21"},
                                                  {12345678901.0, "12345678901"}};
  for (const auto& [value, text] : cases) EXPECT_EQ(internal::FormatNumber(value), text);
  EXPECT_EQ(internal::FormatNumberForPeople(1048576), "1048576");
  EXPECT_EQ(internal::FormatNumberForPeople(0.00001), "1e-05");
  EXPECT_EQ(internal::FormatNumberForPeople(0.0001), "0.0001");
}

}  // namespace
}  // namespace corral::models
