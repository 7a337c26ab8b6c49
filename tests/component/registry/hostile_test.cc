#include "component/registry/registry_test.h"

namespace corral::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class RegistryHostile : public RegistryTest {
 protected:
  std::string ErrorOf(const std::string& manifest) {
    toy_.AddManifest("m", manifest);
    const std::string last = Pull(Name()).back();
    EXPECT_THAT(last, StartsWith("error: ")) << manifest.substr(0, 200);
    EXPECT_TRUE(Blobs().empty()) << manifest.substr(0, 200);
    EXPECT_FALSE(fs::exists(folder_ / "models" / "manifests" / toy_.host()));
    return last;
  }
  static std::string ManifestWith(const std::string& digest, const std::string& size) {
    return R"({"schemaVersion":2,"layers":[{"mediaType":"x","digest":")" + digest + R"(","size":)" +
           size + "}]}";
  }
};

// CVE-2024-37032 and its like.
TEST_F(RegistryHostile, DigestsThatAreNone) {
  const std::string good(64, 'a');
  for (const std::string& digest :
       {std::string("sha256:../../../../etc/passwd"), "sha256:" + good.substr(1),
        "sha256:" + good + "a", "sha512:" + good, std::string(), "sha256:" + std::string(64, 'g'),
        "sha256:" + good.substr(0, 60) + "/../", "sha256:" + good.substr(0, 58) + "\\u0000"}) {
    EXPECT_THAT(ErrorOf(ManifestWith(digest, "1")), StartsWith("error: pull model manifest: "));
  }
}

// CVE-2025-1975 and its like.
TEST_F(RegistryHostile, ManifestsOfOddShape) {
  const std::string digest = "sha256:" + std::string(64, 'a');
  for (const std::string& text :
       {std::string(), std::string("null"), std::string("[]"), std::string("{"), std::string("{}"),
        std::string(R"({"layers":null})"), std::string(R"({"layers":[]})"),
        std::string(R"({"layers":[null]})"), std::string(R"({"layers":7})"),
        std::string(R"({"manifests":[{"digest":"x"}]})"), ManifestWith(digest, "-1"),
        ManifestWith(digest, "1e400"), ManifestWith(digest, "\"1\""),
        ManifestWith(digest, "18446744073709551615"), std::string(200'000, '['),
        std::string(5 << 20, ' ') + ManifestWith(digest, "1")}) {
    EXPECT_THAT(ErrorOf(text), StartsWith("error: pull model manifest: "));
  }
}

TEST_F(RegistryHostile, SizesThatAreNotTrue) {
  models::Layer layer = toy_.AddBlob("12345678");
  layer.size = 9;
  EXPECT_THAT(ErrorOf(models::EncodeManifest(layer, {layer})), HasSubstr("has 8 bytes"));
  layer.size = std::int64_t{1} << 61;
  EXPECT_THAT(ErrorOf(models::EncodeManifest(layer, {layer})),
              HasSubstr("the manifest has a layer of"));
  layer.size = std::int64_t{1} << 44;
  EXPECT_THAT(ErrorOf(models::EncodeManifest(layer, {layer})),
              HasSubstr("no space left on device"));
}

// CVE-2024-12886 and its like. A gzip of a manifest and megabytes behind it: never unpacked.
TEST_F(RegistryHostile, NothingIsDecompressed) {
  const std::string gzip(
      "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3"
      "\x02\x00\x00\x00",
      22);  // {}
  toy_.SetRule([&](const http::Request& request) -> std::optional<http::Response> {
    EXPECT_EQ(request.Header("accept-encoding"), "");
    http::Response response(200, std::string(models::kManifestMediaType), gzip);
    response.headers = {{"Content-Encoding", "gzip"}};
    return response;
  });
  EXPECT_THAT(ErrorOf("{}"), HasSubstr("JSON"));
}

TEST_F(RegistryHostile, ALayerThatIsThereTwiceIsFetchedOnce) {
  const models::Layer layer = toy_.AddBlob(SomeBytes(1000));
  toy_.AddManifest("m", models::EncodeManifest(layer, {layer, layer, layer}));
  EXPECT_EQ(Pull(Name()).back(), "success");
  EXPECT_EQ(toy_.n_served(), 1000U);
}

TEST_F(RegistryHostile, RedirectsWithoutEndAndToElsewhere) {
  toy_.AddModel("m", {toy_.AddBlob("x")});
  const auto redirect_to = [&](std::string location) {
    toy_.SetRule([location](const http::Request&) -> std::optional<http::Response> {
      http::Response response(302);
      response.headers = {{"Location", location}};
      return response;
    });
    return Pull(Name()).back();
  };
  EXPECT_THAT(redirect_to("/v2/"), HasSubstr("stopped after 10 redirects"));
  EXPECT_THAT(redirect_to("file:///etc/passwd"), HasSubstr("unsupported address"));
  EXPECT_THAT(redirect_to("gopher://127.0.0.1/"), HasSubstr("unsupported address"));
}

}  // namespace
}  // namespace corral::testing
