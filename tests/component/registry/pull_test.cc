#include <thread>

#include "component/registry/registry_test.h"
#include "core/queue.h"

namespace corral::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

using RegistryPull = RegistryTest;

TEST_F(RegistryPull, BringsAModelByteForByte) {
  const std::string bytes = SomeBytes((3 << 20) + 17);
  const models::Layer big = toy_.AddBlob(bytes, "model");
  const models::Layer small = toy_.AddBlob("{}", "params");
  const models::Layer empty = toy_.AddBlob("", "system");
  const std::string manifest = toy_.AddModel("m", {big, small, empty});
  const auto lines = Pull(Name());
  EXPECT_EQ(lines.front(), "pulling manifest");
  EXPECT_EQ(lines[1], "pulling " + big.digest.hex().substr(0, 12));
  EXPECT_EQ(lines.back(), "success") << ::testing::PrintToString(lines);
  EXPECT_TRUE(ReadAll(Blob(big)) == bytes);
  EXPECT_EQ(ReadAll(Blob(small)), "{}");
  EXPECT_EQ(store_->Load(models::ModelName::Parse(Name()).value()).value()->manifest.raw, manifest);
  EXPECT_EQ(Blobs().size(), 4U) << "nothing else is left";
  // Each byte once, but for what the probes brought.
  EXPECT_LE(toy_.n_served(), bytes.size() + (128 << 10));
}

// As other tools put models into any registry, and hf.co answers.
TEST_F(RegistryPull, TakesOciManifestsByteForByte) {
  const std::string config = "{}";
  const models::Layer layer = toy_.AddBlob(SomeBytes(1000), "model");
  const std::string manifest =
      R"({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": ")" +
      toy_.AddBlob(config).digest.ToString() + R"(", "size": 2},
  "layers": [{"mediaType": ")" +
      layer.media_type + R"(", "digest": ")" + layer.digest.ToString() +
      R"(", "size": 1000, "annotations": {"org.opencontainers.image.title": "m.gguf"}}],
  "annotations": {"a": "b"}})";
  toy_.AddManifest("m", manifest);
  toy_.SetRule([](const http::Request& request) -> std::optional<http::Response> {
    if (request.path.find("/manifests/") == std::string::npos) return std::nullopt;
    EXPECT_THAT(std::string(request.Header("accept")),
                HasSubstr("application/vnd.oci.image.manifest.v1+json"));
    return std::nullopt;
  });
  EXPECT_EQ(Pull(Name()).back(), "success");
  EXPECT_EQ(ReadAll(folder_ / "models" / "manifests" / toy_.host() / "library" / "m" / "latest"),
            manifest);
  EXPECT_TRUE(fs::exists(Blob(layer)));
}

TEST_F(RegistryPull, SaysOllamasWordsWhenThereIsNoSuchModel) {
  EXPECT_THAT(Pull(Name("nope")),
              ElementsAre("pulling manifest", "error: pull model manifest: file does not exist"));
  toy_.SetRule([](const http::Request&) { return http::Response(500, "text/plain", "oh no\n"); });
  EXPECT_THAT(Pull(Name("nope")),
              ElementsAre("pulling manifest", "error: pull model manifest: 500: oh no"));
}

TEST_F(RegistryPull, ServesFromOneStreamIfTheRegistryKnowsNoRanges) {
  toy_.IgnoreRanges();
  const std::string bytes = SomeBytes(1 << 20);
  const models::Layer layer = toy_.AddBlob(bytes);
  toy_.AddModel("m", {layer});
  EXPECT_EQ(Pull(Name()).back(), "success");
  EXPECT_TRUE(ReadAll(Blob(layer)) == bytes);
}

TEST_F(RegistryPull, StopsForItsClientAndTheNextGoesOn) {
  const std::string bytes = SomeBytes(8 << 20);
  const models::Layer layer = toy_.AddBlob(bytes);
  toy_.AddModel("m", {layer});
  StopSource stop;
  const Status stopped =
      Made().Pull(RequestFor(Name()), stop.token(), [&](registry::Progress progress) {
        if (progress.completed > 2 << 20) stop.RequestStop(StopReason::kClientGone);
      });
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Code::kCancelled);
  EXPECT_FALSE(fs::exists(Blob(layer)));
  const std::uint64_t n_before = toy_.n_served();
  std::int64_t first_completed = -1;
  ASSERT_TRUE(Made().Pull(RequestFor(Name()), {}, [&](const registry::Progress& progress) {
    if (progress.total == layer.size && first_completed < 0) first_completed = progress.completed;
  }));
  EXPECT_TRUE(ReadAll(Blob(layer)) == bytes);
  EXPECT_LT(toy_.n_served() - n_before, bytes.size() - (1 << 20))
      << "what was there is not fetched again";
}

TEST_F(RegistryPull, GoesOnWithWhatOllamaHasBegun) {
  const std::string bytes = SomeBytes(2 << 20);
  const models::Layer layer = toy_.AddBlob(bytes);
  toy_.AddModel("m", {layer});
  const std::string partial = Blob(layer).native() + "-partial";
  std::ofstream(partial, std::ios::binary)
      << bytes.substr(0, 1 << 20) << std::string(1 << 20, '\0');
  std::ofstream(partial + "-0") << R"({"N":0,"Offset":0,"Size":2097152,"Completed":1048576})"
                                << "\n";
  EXPECT_EQ(Pull(Name()).back(), "success");
  EXPECT_TRUE(ReadAll(Blob(layer)) == bytes);
  EXPECT_LE(toy_.n_served(), (1U << 20) + (128U << 10));
}

TEST_F(RegistryPull, BeginsAnewIfWhatWasThereIsWrong) {
  const std::string bytes = SomeBytes(1 << 20);
  const models::Layer layer = toy_.AddBlob(bytes);
  toy_.AddModel("m", {layer});
  const std::string partial = Blob(layer).native() + "-partial";
  std::ofstream(partial, std::ios::binary) << std::string(1 << 20, 'x');
  std::ofstream(partial + "-0") << R"({"N":0,"Offset":0,"Size":1048576,"Completed":700000})";
  EXPECT_EQ(Pull(Name()).back(), "success");
  EXPECT_TRUE(ReadAll(Blob(layer)) == bytes);
}

TEST_F(RegistryPull, ABlobThatIsThereIsNotFetched) {
  const models::Layer layer = toy_.AddBlob(SomeBytes(100'000));
  toy_.AddModel("m", {layer});
  toy_.AddModel("other", {layer});
  EXPECT_EQ(Pull(Name()).back(), "success");
  const std::uint64_t n_before = toy_.n_served();
  std::vector<registry::Progress> records;
  ASSERT_TRUE(Made().Pull(RequestFor(Name("other")), {}, [&](registry::Progress record) {
    records.push_back(std::move(record));
  }));
  EXPECT_EQ(toy_.n_served(), n_before);
  EXPECT_EQ(records[1].completed, layer.size);
  EXPECT_EQ(records[1].total, layer.size);
  EXPECT_FALSE(records[1].is_passing);
}

// Holds all blob requests until told to go on.
class Latch {
 public:
  void Open() {
    const std::lock_guard lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = false;
};

TEST_F(RegistryPull, TwoAtOnceShareOneDownloadAndOneMayLeave) {
  const std::string bytes = SomeBytes(4 << 20);
  const models::Layer layer = toy_.AddBlob(bytes);
  toy_.AddModel("m", {layer});
  auto gate = FaultGate::Open(toy_.port());
  ASSERT_TRUE(gate);
  GateRules slow;
  slow.to_client.bytes_per_second = 4 << 20;
  gate->SetRules(slow);
  const std::string name = Name("m", "127.0.0.1:" + std::to_string(gate->port()));
  StopSource first_stop;
  BoundedQueue<std::string> ends(8);
  Latch second_is_in;
  const auto start = [&](const char* who, const StopToken& stop, std::function<void()> on_bytes) {
    return Made().StartPull(
        RequestFor(name), stop,
        [on_bytes, size = layer.size](const registry::Progress& progress) {
          if (progress.total == size && progress.completed > 0) on_bytes();
        },
        [&ends, who](Status status) {
          (void)ends.TryPush(std::string(who) +
                             (status ? " success" : " " + status.error().message));
        });
  };
  Latch first_has_bytes;
  ASSERT_TRUE(start("first", first_stop.token(), [&] { first_has_bytes.Open(); }));
  first_has_bytes.Wait();
  ASSERT_TRUE(start("second", {}, [&] { second_is_in.Open(); }));
  second_is_in.Wait();
  first_stop.RequestStop(StopReason::kClientGone);
  const Deadline deadline = Clock::now() + std::chrono::seconds(60);
  EXPECT_THAT(ends.Pop(deadline).value_or("late"), StartsWith("first "));
  EXPECT_EQ(ends.Pop(deadline).value_or("late"), "second success");
  registry_.reset();  // its threads may still be on their way out of `ends`
  EXPECT_TRUE(ReadAll(Blob(layer)) == bytes);
  EXPECT_LE(toy_.n_served(), bytes.size() + (512 << 10)) << "one download";
}

TEST_F(RegistryPull, TwoServersOnOneStoreBringABlobOnce) {
  const std::string bytes = SomeBytes(4 << 20);
  const models::Layer layer = toy_.AddBlob(bytes);
  toy_.AddModel("m", {layer});
  auto other_store = models::Store::Open(folder_ / "models", {}).value();
  registry::Registry other(*other_store, options_);
  std::vector<std::string> lines;
  Status there;
  {
    const std::jthread second(
        [&] { there = other.Pull(RequestFor(Name()), {}, [](const registry::Progress&) {}); });
    lines = Pull(Name());
  }
  EXPECT_EQ(lines.back(), "success");
  EXPECT_TRUE(there) << there.error().message;
  EXPECT_TRUE(ReadAll(Blob(layer)) == bytes);
  EXPECT_LE(toy_.n_served(), bytes.size() + (512 << 10));
  EXPECT_EQ(Blobs().size(), 2U);
}

TEST_F(RegistryPull, APullThatCannotShareAnothersRegistryUsesItsOwn) {
  // The first registry has the manifest and not the blob.
  const std::string bytes = SomeBytes(200'000);
  const models::Layer layer = toy_.AddBlob(bytes);
  toy_.AddModel("m", {layer});
  ToyRegistry broken;
  broken.AddManifest("m", models::EncodeManifest(layer, {layer}));
  EXPECT_THAT(Pull(Name("m", broken.host())).back(), HasSubstr("file does not exist"));
  EXPECT_EQ(Pull(Name()).back(), "success");
}

TEST_F(RegistryPull, TheMirrorIsAskedFirst) {
  toy_.AddModel("m", {toy_.AddBlob("x")});
  options_.mirror = "http://" + toy_.host();
  EXPECT_EQ(Pull("m").back(), "success");
  EXPECT_THAT(toy_.seen().front().path, "/v2/library/m/manifests/latest");
}

TEST_F(RegistryPull, OnlyAllowedRegistriesAreAsked) {
  options_.allowed = {"registry.ollama.ai"};
  EXPECT_THAT(Pull(Name()).back(), HasSubstr("is not allowed here"));
  EXPECT_THAT(toy_.seen(), IsEmpty());
  EXPECT_EQ(Made().CheckAllowed(RequestFor(Name()).name, false).error().code, Code::kForbidden);
  EXPECT_TRUE(Made().CheckAllowed(RequestFor("m").name, false));
}

TEST_F(RegistryPull, ShutdownEndsWhatRuns) {
  toy_.AddModel("m", {toy_.AddBlob(SomeBytes(1 << 20))});
  auto gate = FaultGate::Open(toy_.port());
  GateRules held;
  held.to_client.hold_at = 0;
  gate->SetRules(held);
  BoundedQueue<Code> ends(1);
  Latch has_begun;
  ASSERT_TRUE(Made().StartPull(
      RequestFor(Name("m", "127.0.0.1:" + std::to_string(gate->port()))), {},
      [&](const registry::Progress&) { has_begun.Open(); },
      [&](Status status) { (void)ends.TryPush(status ? Code::kInternal : status.error().code); }));
  has_begun.Wait();
  registry_.reset();
  EXPECT_EQ(ends.Pop(Clock::now()), Code::kBusy);
}

}  // namespace
}  // namespace corral::testing
