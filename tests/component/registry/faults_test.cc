#include "component/registry/registry_test.h"

namespace corral::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class RegistryFaults : public RegistryTest {
 protected:
  RegistryFaults() : bytes_(SomeBytes((2 << 20) + 5)), layer_(toy_.AddBlob(bytes_, "model")) {
    toy_.AddModel("m", {layer_});
    gate_ = FaultGate::Open(toy_.port());
  }
  std::string ThroughGate() const {
    return Name("m", "127.0.0.1:" + std::to_string(gate_->port()));
  }
  void ExpectWhole() {
    EXPECT_TRUE(ReadAll(Blob(layer_)) == bytes_);
    EXPECT_EQ(Blobs().size(), 2U);
  }

  const std::string bytes_;
  const models::Layer layer_;
  std::unique_ptr<FaultGate> gate_;
};

TEST_F(RegistryFaults, ConnectionsThatAreCutAreGoneOnWith) {
  for (const bool with_reset : {true, false}) {
    GateRules rules;
    rules.to_client.cut_at = 150'000;
    rules.cuts_with_reset = with_reset;
    gate_->SetRules(rules);
    EXPECT_EQ(Pull(ThroughGate()).back(), "success");
    ExpectWhole();
    ASSERT_TRUE(store_->Delete(models::ModelName::Parse(ThroughGate()).value()));
    for (const std::string& name : Blobs()) fs::remove(folder_ / "models" / "blobs" / name);
  }
}

TEST_F(RegistryFaults, ConnectionsThatGoSilentAreGivenUp) {
  options_.stall = std::chrono::milliseconds(150);
  GateRules rules;
  rules.to_client.hold_at = 200'000;
  gate_->SetRules(rules);
  EXPECT_EQ(Pull(ThroughGate()).back(), "success");
  ExpectWhole();
}

TEST_F(RegistryFaults, ARegistryThatNeverSpeaksIsGivenUp) {
  options_.stall = std::chrono::milliseconds(50);
  GateRules rules;
  rules.to_client.hold_at = 0;
  gate_->SetRules(rules);
  EXPECT_THAT(Pull(ThroughGate()).back(), HasSubstr("no data received"));
}

TEST_F(RegistryFaults, PiecesOfAnySizeMakeTheSameBlob) {
  GateRules rules;
  rules.to_client.split_bytes = 1000;
  gate_->SetRules(rules);
  EXPECT_EQ(Pull(ThroughGate()).back(), "success");
  ExpectWhole();
}

TEST_F(RegistryFaults, AWrongByteIsFoundAndNothingIsKept) {
  const models::Layer wrong = toy_.AddBlob("what was meant", "license", "what was sent.");
  toy_.AddModel("wrong", {wrong});
  EXPECT_EQ(Pull(Name("wrong")).back(),
            "error: digest mismatch, file must be downloaded again: want " +
                wrong.digest.ToString() + ", got " +
                models::Digest::OfBytes("what was sent.").ToString());
  EXPECT_TRUE(Blobs().empty());
  EXPECT_FALSE(store_->Load(models::ModelName::Parse(Name("wrong")).value()));
}

TEST_F(RegistryFaults, AByteThatChangesOnTheWayIsFoundAndTheNextPullEndsWell) {
  options_.n_streams = 1;
  GateRules rules;
  rules.to_client.corrupt_at = 300'000;  // in the middle of a chunk
  gate_->SetRules(rules);
  EXPECT_THAT(Pull(ThroughGate()).back(), StartsWith("error: digest mismatch, file must be"));
  EXPECT_TRUE(Blobs().empty());
  gate_->SetRules({});
  EXPECT_EQ(Pull(ThroughGate()).back(), "success");
  ExpectWhole();
}

TEST_F(RegistryFaults, ErrorsThatPassAreWaitedOut) {
  int n_errors = 4;  // under the toy's lock
  toy_.SetRule([&](const http::Request& request) -> std::optional<http::Response> {
    if (request.path.find("/blobs/") == std::string::npos || n_errors == 0) return std::nullopt;
    --n_errors;
    return http::Response(503, "text/plain", "later");
  });
  EXPECT_EQ(Pull(Name()).back(), "success");
  ExpectWhole();
}

TEST_F(RegistryFaults, ErrorsThatStayEndThePull) {
  toy_.SetRule([&](const http::Request& request) -> std::optional<http::Response> {
    if (request.path.find("/blobs/") == std::string::npos) return std::nullopt;
    return http::Response(503, "text/plain", "later");
  });
  EXPECT_EQ(Pull(Name()).back(), "error: max retries exceeded: 503: later");
  EXPECT_TRUE(Blobs().empty()) << "no partial file of nothing";
}

TEST_F(RegistryFaults, AnAddressThatExpiresIsAskedForAnew) {
  // Blobs lie at an address that is good for three requests.
  int n_uses = 0;
  int generation = 0;
  toy_.SetRule([&](const http::Request& request) -> std::optional<http::Response> {
    if (request.path.find("/blobs/") == std::string::npos) return std::nullopt;
    if (request.query.empty()) {
      n_uses = 0;
      http::Response response(307);
      response.headers = {{"Location", request.path + "?g=" + std::to_string(++generation)}};
      return response;
    }
    if (request.query != "g=" + std::to_string(generation) || ++n_uses > 3)
      return http::Response(403, "text/plain", "expired");
    return std::nullopt;
  });
  EXPECT_EQ(Pull(Name()).back(), "success");
  ExpectWhole();
}

TEST_F(RegistryFaults, AServerThatSendsAnotherRangeIsNotBelieved) {
  toy_.SetRule([&](const http::Request& request) -> std::optional<http::Response> {
    if (request.path.find("/blobs/") == std::string::npos) return std::nullopt;
    if (request.Header("range").starts_with("bytes=0-")) return std::nullopt;
    http::Response response(206, "application/octet-stream", std::string(64 << 10, 'x'));
    response.headers = {{"Content-Range", "bytes 0-65535/" + std::to_string(bytes_.size())}};
    return response;
  });
  EXPECT_THAT(Pull(Name()).back(), StartsWith("error: max retries exceeded: "));
  EXPECT_FALSE(fs::exists(Blob(layer_)));
}

}  // namespace
}  // namespace corral::testing
