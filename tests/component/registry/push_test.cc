#include <openssl/evp.h>

#include <atomic>

#include "component/registry/registry_test.h"
#include "core/text.h"

namespace corral::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

using Seen = ToyRegistry::Seen;

std::string Md5(std::string_view bytes) {
  std::string hash(16, '\0');
  EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(hash.data()), nullptr,
             EVP_md5(), nullptr);
  return hash;
}

// Models that were pulled from `toy_` go to `target_`.
class RegistryPush : public RegistryTest {
 protected:
  // A model of this one layer is in the store, under a name of the target's.
  models::Layer Have(const std::string& bytes, const std::string& from = "") {
    models::Layer layer = toy_.AddBlob(bytes, "model");
    layer.from = from;
    manifest_ = toy_.AddModel("m", {layer});
    EXPECT_EQ(Pull(Name()).back(), "success");
    EXPECT_TRUE(store_->Copy(NameAt(toy_.host()), NameAt(target_.host())));
    return layer;
  }
  static models::ModelName NameAt(const std::string& host) {
    return models::ModelName::Parse(host + "/library/m").value();
  }
  // The lines without repetitions; the last one is "error: ..." if it failed.
  std::vector<std::string> Push(std::string host = "", const StopToken& stop = {}) {
    if (host.empty()) host = target_.host();
    std::vector<std::string> lines;
    const Status status =
        Made().Push({NameAt(host), /*is_insecure=*/true}, stop, [&](registry::Progress progress) {
          if (lines.empty() || lines.back() != progress.status) lines.push_back(progress.status);
        });
    if (!status) lines.push_back("error: " + status.error().message);
    return lines;
  }
  void ExpectWhole(const models::Layer& layer, const std::string& bytes) {
    EXPECT_TRUE(target_.BlobOf(layer.digest) == bytes);
    EXPECT_EQ(target_.ManifestOf("m").value_or("") + "\n", manifest_);
  }
  std::vector<Seen> SeenOf(const std::string& method) const {
    std::vector<Seen> found;
    for (const Seen& seen : target_.seen()) {
      if (seen.method == method) found.push_back(seen);
    }
    return found;
  }
  static bool IsUpload(const http::Request& request) {
    return request.path.find("/uploads/") != std::string::npos;
  }

  ToyRegistry target_;
  std::string manifest_;
};

TEST_F(RegistryPush, BringsAModelByteForByteAndOnce) {
  const std::string bytes = SomeBytes(300'000);
  const models::Layer layer = Have(bytes);
  EXPECT_THAT(Push(),
              ElementsAre("retrieving manifest", "pushing " + layer.digest.hex().substr(0, 12),
                          StartsWith("pushing "), "pushing manifest", "success"));
  ExpectWhole(layer, bytes);
  EXPECT_THAT(SeenOf("PATCH")[0].content_range, "0-299999");
  const std::size_t n_parts = SeenOf("PATCH").size();
  EXPECT_EQ(Push().back(), "success");
  EXPECT_EQ(SeenOf("PATCH").size(), n_parts) << "all was there";
}

TEST_F(RegistryPush, AnOciManifestGoesOutAsWhatItIs) {
  const models::Layer layer = toy_.AddBlob("weights", "model");
  manifest_ = R"({"schemaVersion":2, "mediaType":"application/vnd.oci.image.manifest.v1+json",)"
              R"("layers":[{"mediaType":")" +
              layer.media_type + R"(","digest":")" + layer.digest.ToString() + R"(","size":7}]})";
  toy_.AddManifest("m", manifest_);
  EXPECT_EQ(Pull(Name()).back(), "success");
  ASSERT_TRUE(store_->Copy(NameAt(toy_.host()), NameAt(target_.host())));
  target_.SetRule([](const http::Request& request) -> std::optional<http::Response> {
    if (request.method == "PUT" && !IsUpload(request)) {
      EXPECT_EQ(request.Header("content-type"), "application/vnd.oci.image.manifest.v1+json");
    }
    return std::nullopt;
  });
  EXPECT_EQ(Push().back(), "success");
  EXPECT_EQ(target_.ManifestOf("m"), manifest_);
}

TEST_F(RegistryPush, ALayerOfAnotherModelOfTheRegistryIsMounted) {
  const models::Layer layer = Have("weights", target_.host() + "/library/base:latest");
  target_.SetRule([](const http::Request& request) -> std::optional<http::Response> {
    if (request.query.find("mount=") == std::string::npos) return std::nullopt;
    return http::Response(201);
  });
  EXPECT_EQ(Push().back(), "success");
  EXPECT_THAT(SeenOf("POST")[0].query, "from=library%2Fbase&mount=sha256%3A" + layer.digest.hex());
  EXPECT_THAT(SeenOf("PATCH"), Each(Field(&Seen::body, Not("weights"))));
}

TEST_F(RegistryPush, AMountThatIsNotPossibleBecomesAnUpload) {
  const models::Layer layer = Have("weights", target_.host() + "/library/base:latest");
  EXPECT_EQ(Push().back(), "success");
  EXPECT_THAT(SeenOf("POST")[0].query, HasSubstr("mount="));
  ExpectWhole(layer, "weights");
}

TEST_F(RegistryPush, NothingIsMountedFromElsewhereOrFromAFile) {
  for (const std::string from : {"registry.example/library/base:latest", "model.gguf"}) {
    Have("weights" + from, from);
    EXPECT_EQ(Push().back(), "success");
  }
  EXPECT_THAT(SeenOf("POST"), Each(Field(&Seen::query, "")));
}

TEST_F(RegistryPush, AnUploadGoesOnWhereItStopped) {
  const std::string bytes = SomeBytes(300'000);
  const models::Layer layer = Have(bytes);
  std::atomic<bool> has_failed = false;
  target_.SetRule([&](const http::Request& request) -> std::optional<http::Response> {
    if (request.method != "PATCH" || has_failed.exchange(true)) return std::nullopt;
    target_.SetUploads(bytes.substr(0, 100'000));  // so much came through
    return http::Response(500);
  });
  EXPECT_EQ(Push().back(), "success");
  EXPECT_EQ(SeenOf("PATCH")[1].content_range, "100000-299999");
  EXPECT_TRUE(SeenOf("PATCH")[1].body == bytes.substr(100'000));
  ExpectWhole(layer, bytes);
}

TEST_F(RegistryPush, AnUploadThatTheRegistryHasForgottenBeginsAnew) {
  const std::string bytes = SomeBytes(300'000);
  const models::Layer layer = Have(bytes);
  std::atomic<int> n_uploads = 0;
  target_.SetRule([&](const http::Request& request) -> std::optional<http::Response> {
    if (!IsUpload(request)) return std::nullopt;
    if (request.method == "POST") ++n_uploads;
    return request.method != "POST" && n_uploads == 1 ? std::optional(http::Response(404))
                                                      : std::nullopt;
  });
  EXPECT_EQ(Push().back(), "success");
  ExpectWhole(layer, bytes);
}

TEST_F(RegistryPush, AnUploadWhoseLastAnswerWasLostIsThere) {
  const models::Layer layer = Have("weights");
  std::atomic<bool> has_failed = false;
  target_.SetRule([&](const http::Request& request) -> std::optional<http::Response> {
    if (!IsUpload(request)) return std::nullopt;
    if (request.method == "PUT" && !has_failed.exchange(true)) {
      target_.AddBlob("weights");  // it is committed, and the answer does not come
      return http::Response(502);
    }
    return request.method == "GET" ? std::optional(http::Response(404)) : std::nullopt;
  });
  EXPECT_EQ(Push().back(), "success");
  ExpectWhole(layer, "weights");
  EXPECT_THAT(SeenOf("PATCH"), ElementsAre(Field(&Seen::body, "weights"), ::testing::_))
      << "the weights once, and the config";
}

TEST_F(RegistryPush, ATokenThatExpiresInTheMiddleIsReplaced) {
  const std::string bytes = SomeBytes(300'000);
  const models::Layer layer = Have(bytes);
  std::atomic<int> n_tokens = 0;
  target_.SetRule([&](const http::Request& request) -> std::optional<http::Response> {
    if (request.path == "/token") {
      return http::Response(200, "application/json",
                            R"({"token":"t)" + std::to_string(++n_tokens) + "\"}");
    }
    // The first token is good for no part.
    const std::string wanted = "Bearer t" + std::to_string(request.method == "PATCH" ? 2 : 1);
    if (n_tokens > 0 && request.Header("authorization") >= wanted) return std::nullopt;
    http::Response response(401);
    response.headers = {{"WWW-Authenticate", "Bearer realm=\"http://" + target_.host() +
                                                 "/token\",service=\"s\",scope=\"x:y:push\""}};
    return response;
  });
  EXPECT_EQ(Push().back(), "success");
  EXPECT_EQ(n_tokens, 2);
  ExpectWhole(layer, bytes);
}

TEST_F(RegistryPush, ErrorsThatStayEndThePush) {
  Have("weights");
  target_.SetRule([](const http::Request& request) -> std::optional<http::Response> {
    if (request.method != "PATCH") return std::nullopt;
    return http::Response(500, "text/plain", "full");
  });
  EXPECT_EQ(Push().back(), "error: max retries exceeded: 500: full");
  EXPECT_EQ(SeenOf("PATCH").size(), 6U);
  target_.SetRule([](const http::Request&) { return http::Response(403, "text/plain", "no"); });
  EXPECT_EQ(Push().back(), "error: 403: ") << "a HEAD has no body";
}

TEST_F(RegistryPush, ABlobThatIsCutShortIsNotPushed) {
  const models::Layer layer = Have("weights");
  fs::resize_file(Blob(layer), 3);
  EXPECT_THAT(Push().back(), HasSubstr("is not whole"));
  EXPECT_FALSE(target_.ManifestOf("m"));
}

TEST_F(RegistryPush, StopsForItsClient) {
  Have(SomeBytes(300'000));
  StopSource stop;
  target_.SetRule([&](const http::Request& request) -> std::optional<http::Response> {
    if (request.method == "PATCH") stop.RequestStop(StopReason::kClientGone);
    return std::nullopt;
  });
  EXPECT_THAT(Push("", stop.token()).back(), StartsWith("error: "));
  EXPECT_FALSE(target_.ManifestOf("m"));
}

// Ollama's registry sends the parts to a storage.
class RegistryPushToStorage : public RegistryPush {
 protected:
  RegistryPushToStorage() {
    options_.auth_file = folder_ / "config.json";
    std::ofstream(options_.auth_file)
        << R"({"auths":{")" << target_.host() << R"(":{"auth":"dTpw"}}})";
    storage_.SetRule([](const http::Request& request) -> std::optional<http::Response> {
      if (request.method == "PUT") return http::Response(200);
      return std::nullopt;
    });
    LeadTo("http://" + storage_.host() + "/bucket/part?signature=s");
  }
  // Parts go there; the upload itself goes on at the registry, which believes what it is told.
  void LeadTo(const std::string& location) {
    target_.SetRule([location](const http::Request& request) -> std::optional<http::Response> {
      http::Response response;
      if (request.Header("authorization") != "Basic dTpw") {
        response.status = 401;
        response.headers = {{"WWW-Authenticate", "Basic realm=\"x\""}};
        return response;
      }
      if (request.method == "PATCH") {
        EXPECT_EQ(request.Header("x-redirect-uploads"), "1");
        response.status = 307;
        response.headers = {{"Location", location},
                            {"Docker-Upload-Location", request.path + "?next"}};
        return response;
      }
      if (request.method == "PUT" && IsUpload(request)) return http::Response(201);
      return std::nullopt;
    });
  }
  std::vector<Seen> Stored() const {
    std::vector<Seen> stored;
    for (const Seen& seen : storage_.seen()) {
      if (seen.method == "PUT") stored.push_back(seen);
    }
    return stored;
  }

  ToyRegistry storage_;
};

TEST_F(RegistryPushToStorage, PartsGoThereWithoutThePassword) {
  const std::string bytes = SomeBytes(300'000);
  const models::Layer layer = Have(bytes);
  EXPECT_EQ(Push().back(), "success");
  const auto stored = Stored();
  ASSERT_EQ(stored.size(), 2U) << "the weights, and the config";
  EXPECT_TRUE(stored[0].body == bytes);
  EXPECT_EQ(stored[0].query, "signature=s");
  EXPECT_THAT(stored,
              Each(AllOf(Field(&Seen::authorization, ""), Field(&Seen::content_range, ""))));
  EXPECT_THAT(SeenOf("PATCH"),
              Each(Field(&Seen::authorization, ::testing::AnyOf("", "Basic dTpw"))));
  const auto finished = SeenOf("PUT");
  EXPECT_THAT(finished[0].query, "next&digest=sha256%3A" + layer.digest.hex() +
                                     "&etag=" + HexEncode(Md5(Md5(bytes))) + "-1");
}

TEST_F(RegistryPushToStorage, TheEndNamesThePartsByTheirHashes) {
  const std::string bytes = SomeBytes(100'000'001);
  Have(bytes);
  EXPECT_EQ(Push().back(), "success");
  const std::string_view all = bytes;
  EXPECT_THAT(
      SeenOf("PUT")[0].query,
      HasSubstr("&etag=" +
                HexEncode(Md5(Md5(all.substr(0, 100'000'000)) + Md5(all.substr(100'000'000)))) +
                "-2"));
  EXPECT_EQ(Stored()[1].body.size(), 1U);
}

TEST_F(RegistryPushToStorage, AStorageThatFailsIsTriedAgain) {
  const std::string bytes = SomeBytes(300'000);
  Have(bytes);
  std::atomic<int> n_asked = 0;
  storage_.SetRule(
      [&](const http::Request&) { return http::Response(++n_asked == 1 ? 503 : 200); });
  EXPECT_EQ(Push().back(), "success");
  EXPECT_TRUE(Stored()[1].body == bytes);
}

TEST_F(RegistryPushToStorage, OnlyAddressesOfTheWebAreFollowed) {
  Have("weights");
  LeadTo("file:///etc/passwd");
  EXPECT_THAT(Push().back(), HasSubstr("unsupported address"));
}

// CVE-2026-5530, for what goes out.
TEST_F(RegistryPushToStorage, APublicRegistryLeadsToNoPrivateStorage) {
  Have("weights");
  const std::string host = "public.test:" + std::to_string(target_.port());
  options_.is_private = [port = storage_.port()](const sockaddr& address) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof(v4));
    return ntohs(v4.sin_port) == port;
  };
  options_.resolve = {"+" + host + ":127.0.0.1"};
  std::ofstream(options_.auth_file) << R"({"auths":{")" << host << R"(":{"auth":"dTpw"}}})";
  registry_.reset();  // options are read when it is made
  ASSERT_TRUE(store_->Copy(NameAt(target_.host()), NameAt(host)));
  EXPECT_THAT(Push(host).back(), HasSubstr("leads to a private address"));
  EXPECT_THAT(storage_.seen(), IsEmpty());
}

}  // namespace
}  // namespace corral::testing
