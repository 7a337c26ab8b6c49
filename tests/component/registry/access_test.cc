#include <openssl/evp.h>

#include "component/registry/registry_test.h"
#include "core/sha256.h"
#include "core/text.h"

namespace corral::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

using Seen = ToyRegistry::Seen;

class RegistryAccess : public RegistryTest {
 protected:
  RegistryAccess() {
    options_.key_file = folder_ / "home" / ".ollama" / "id_ed25519";
    options_.auth_file = folder_ / "home" / ".docker" / "config.json";
    fs::create_directories(options_.auth_file.parent_path());
    toy_.AddModel("m", {toy_.AddBlob(SomeBytes(200'000))});
  }

  // The toy wants this header; without it, it answers with the challenge.
  void Want(std::string authorization, std::string challenge) {
    toy_.SetRule([=](const http::Request& request) -> std::optional<http::Response> {
      if (request.path == "/token")
        return http::Response(200, "application/json", R"({"token":"t0k"})");
      if (request.Header("authorization") == authorization) return std::nullopt;
      http::Response response(401, "application/json", "{}");
      response.headers = {{"WWW-Authenticate", challenge}};
      return response;
    });
  }
  std::string Bearer(const std::string& realm) const {
    return "Bearer realm=\"" + realm + "\",service=\"reg\",scope=\"repository:library/m:pull\"";
  }
  void GivePassword(const std::string& host) {
    std::ofstream(options_.auth_file) << R"({"auths":{")" << host << R"(":{"auth":"dTpw"}}})";
  }
  // The ports whose addresses count as private; all others are public.
  void MakePrivate(std::set<std::uint16_t> ports) {
    options_.is_private = [ports = std::move(ports)](const sockaddr& address) {
      sockaddr_in v4{};
      std::memcpy(&v4, &address, sizeof(v4));
      return ports.count(ntohs(v4.sin_port)) != 0;
    };
    options_.resolve = {"+public.test:" + std::to_string(toy_.port()) + ":127.0.0.1",
                        "+inner.test:" + std::to_string(other_.port()) + ":127.0.0.1"};
  }
  std::string PublicName() const { return Name("m", "public.test:" + std::to_string(toy_.port())); }

  ToyRegistry other_;
};

TEST_F(RegistryAccess, BasicAuthenticationWithDockersFile) {
  Want("Basic dTpw", "Basic realm=\"x\"");
  EXPECT_EQ(Pull(Name()).back(), "error: pull model manifest: unauthorized: access denied");
  GivePassword(toy_.host());
  EXPECT_EQ(Pull(Name()).back(), "success");
}

TEST_F(RegistryAccess, ATokenOfTheRegistryIsAskedForWithASignature) {
  Want("Bearer t0k", Bearer("http://" + toy_.host() + "/token"));
  EXPECT_EQ(Pull(Name()).back(), "success");
  const auto seen = toy_.seen();
  ASSERT_EQ(seen[1].path, "/token");
  EXPECT_THAT(seen[1].query, StartsWith("nonce="));
  EXPECT_THAT(seen[1].query, HasSubstr("&scope=repository%3Alibrary%2Fm%3Apull&service=reg&ts="));
  // "<public key>:<signature>" of "GET,<url>,<base64 of the hex hash of nothing>".
  const std::string_view authorization = seen[1].authorization;
  const std::size_t colon = authorization.find(':');
  ASSERT_NE(colon, std::string_view::npos);
  const std::string public_blob = Base64Decode(authorization.substr(0, colon)).value();
  const std::string signature = Base64Decode(authorization.substr(colon + 1)).value();
  ASSERT_EQ(signature.size(), 64U);
  const std::string message =
      "GET,http://" + toy_.host() + "/token?" + seen[1].query +
      ",ZTNiMGM0NDI5OGZjMWMxNDlhZmJmNGM4OTk2ZmI5MjQyN2FlNDFlNDY0OWI5MzRjYTQ5NTk5MWI3ODUyYjg1NQ==";
  const auto* raw =
      reinterpret_cast<const unsigned char*>(public_blob.data() + public_blob.size() - 32);
  EVP_PKEY* key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, raw, 32);
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  EVP_DigestVerifyInit(context, nullptr, nullptr, nullptr, key);
  EXPECT_EQ(
      EVP_DigestVerify(context, reinterpret_cast<const unsigned char*>(signature.data()), 64,
                       reinterpret_cast<const unsigned char*>(message.data()), message.size()),
      1);
  EVP_MD_CTX_free(context);
  EVP_PKEY_free(key);
  EXPECT_TRUE(fs::exists(options_.key_file)) << "made on first need";
}

// CVE-2025-51471.
TEST_F(RegistryAccess, ATokenServerElsewhereGetsNothingOfOurs) {
  GivePassword(toy_.host());
  other_.SetRule([](const http::Request&) -> std::optional<http::Response> {
    return http::Response(200, "application/json", R"({"token":"t0k"})");
  });
  Want("Bearer t0k", Bearer("http://" + other_.host() + "/token"));
  EXPECT_EQ(Pull(Name()).back(), "success");
  ASSERT_EQ(other_.seen().size(), 1U);
  EXPECT_EQ(other_.seen()[0].authorization, "");
  EXPECT_FALSE(fs::exists(options_.key_file));
}

TEST_F(RegistryAccess, ATokenServerElsewhereThatWantsMoreIsRefusedInOllamasWords) {
  other_.SetRule([](const http::Request&) -> std::optional<http::Response> {
    return http::Response(401, "application/json", "{}");
  });
  Want("Bearer t0k", Bearer("http://" + other_.host() + "/token"));
  EXPECT_EQ(Pull(Name()).back(), "error: pull model manifest: realm host \"" + other_.host() +
                                     "\" does not match original host \"" + toy_.host() + "\"");
}

TEST_F(RegistryAccess, ATokenServerElsewhereGetsThePasswordThatIsForIt) {
  GivePassword(other_.host());
  other_.SetRule([](const http::Request&) -> std::optional<http::Response> {
    return http::Response(200, "application/json", R"({"access_token":"t0k"})");
  });
  Want("Bearer t0k", Bearer("http://" + other_.host() + "/token"));
  EXPECT_EQ(Pull(Name()).back(), "success");
  EXPECT_EQ(other_.seen()[0].authorization, "Basic dTpw");
}

TEST_F(RegistryAccess, ATokenThatExpiresIsReplaced) {
  std::string good = "t1";
  int n_uses = 0;
  toy_.SetRule([&](const http::Request& request) -> std::optional<http::Response> {
    if (request.path == "/token") {
      n_uses = 0;
      good += "x";
      return http::Response(200, "application/json", R"({"token":")" + good + "\"}");
    }
    if (request.Header("authorization") == "Bearer " + good && ++n_uses <= 3) return std::nullopt;
    http::Response response(401, "application/json", "{}");
    response.headers = {{"WWW-Authenticate", Bearer("http://" + toy_.host() + "/token")}};
    return response;
  });
  EXPECT_EQ(Pull(Name()).back(), "success");
}

TEST_F(RegistryAccess, BlobsElsewhereAreFetchedWithoutAuthorization) {
  GivePassword(toy_.host());
  other_.AddBlob(SomeBytes(200'000));
  other_.AddBlob("{\"model_format\":\"gguf\"}\n");
  for (const int status : {301, 302, 303, 307, 308}) {
    toy_.SetRule([&, status](const http::Request& request) -> std::optional<http::Response> {
      http::Response response;
      if (request.Header("authorization") != "Basic dTpw") {
        response.status = 401;
        response.headers = {{"WWW-Authenticate", "Basic realm=\"x\""}};
        return response;
      }
      if (request.path.find("/blobs/") == std::string::npos) return std::nullopt;
      response.status = status;
      response.headers = {{"Location", "http://" + other_.host() + request.path}};
      return response;
    });
    EXPECT_EQ(Pull(Name()).back(), "success") << status;
    for (const std::string& name : Blobs()) fs::remove(folder_ / "models" / "blobs" / name);
  }
  EXPECT_THAT(other_.seen(), Each(Field(&Seen::authorization, "")));
}

TEST_F(RegistryAccess, AChallengeOfWhereBlobsLieIsNotAnswered) {
  GivePassword(other_.host());
  other_.SetRule([](const http::Request&) -> std::optional<http::Response> {
    http::Response response(401);
    response.headers = {{"WWW-Authenticate", "Basic realm=\"x\""}};
    return response;
  });
  toy_.SetRule([&](const http::Request& request) -> std::optional<http::Response> {
    if (request.path.find("/blobs/") == std::string::npos) return std::nullopt;
    http::Response response(307);
    response.headers = {{"Location", "http://" + other_.host() + request.path}};
    return response;
  });
  EXPECT_EQ(Pull(Name()).back(), "error: unauthorized: access denied");
  EXPECT_THAT(other_.seen(), Each(Field(&Seen::authorization, "")));
}

// CVE-2026-5530.
TEST_F(RegistryAccess, APublicRegistryLeadsToNoPrivateAddress) {
  MakePrivate({other_.port()});
  for (const std::string& host :
       {other_.host(), "inner.test:" + std::to_string(other_.port()),
        "localhost:" + std::to_string(other_.port()), "0x7f.1:" + std::to_string(other_.port())}) {
    toy_.SetRule([&](const http::Request& request) -> std::optional<http::Response> {
      if (request.path.find("/blobs/") == std::string::npos) return std::nullopt;
      http::Response response(307);
      response.headers = {{"Location", "http://" + host + "/latest/meta-data"}};
      return response;
    });
    EXPECT_THAT(Pull(PublicName()).back(), HasSubstr("leads to a private address")) << host;
    Want("Bearer t0k", Bearer("http://" + host + "/token"));
    EXPECT_THAT(Pull(PublicName()).back(), HasSubstr("leads to a private address")) << host;
  }
  EXPECT_THAT(other_.seen(), IsEmpty());
}

TEST_F(RegistryAccess, APublicRegistryMayLeadToAPublicOne) {
  MakePrivate({});
  other_.AddBlob(SomeBytes(200'000));
  other_.AddBlob("{\"model_format\":\"gguf\"}\n");
  toy_.SetRule([&](const http::Request& request) -> std::optional<http::Response> {
    if (request.path.find("/blobs/") == std::string::npos) return std::nullopt;
    http::Response response(307);
    response.headers = {
        {"Location", "http://inner.test:" + std::to_string(other_.port()) + request.path}};
    return response;
  });
  EXPECT_EQ(Pull(PublicName()).back(), "success");
}

TEST_F(RegistryAccess, ThePrivateRegistryThatTheUserNamesIsReached) {
  MakePrivate({toy_.port()});
  EXPECT_EQ(Pull(PublicName()).back(), "success");
}

TEST_F(RegistryAccess, RequestsNameUsAndNothingElse) {
  options_.user_agent = "ollama/1 (amd64 linux) corral/2";
  EXPECT_EQ(Pull(Name()).back(), "success");
  EXPECT_THAT(toy_.seen(), Each(Field(&Seen::user_agent, "ollama/1 (amd64 linux) corral/2")));
  EXPECT_THAT(toy_.seen(), Each(Field(&Seen::authorization, "")));
}

}  // namespace
}  // namespace corral::testing
