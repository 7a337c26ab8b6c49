#include <gmock/gmock.h>

#include "api/native/handler_test.h"

namespace corral::api {
namespace {

using ::testing::IsEmpty;

class AdaptersTest : public HandlerTest {
 protected:
  AdaptersTest() {
    AddModel("tiny");
    AddModel("emb", /*is_embedding=*/true);
    AddModel("one", "tiny", 1);
    AddModel("two", "tiny", 2);
    AddModel("foreign", "emb", 3);
  }
  using HandlerTest::AddModel;
  // An adapter over a model; its number makes it another one.
  void AddModel(std::string_view name, std::string_view base, std::uint32_t number) {
    gguf::Writer adapter;
    adapter.SetString("general.architecture", "llama");
    adapter.SetString("general.type", "adapter");
    adapter.SetUint32("test.number", number);
    const std::string bytes = adapter.Bytes();
    const auto digest = models::Digest::OfBytes(bytes);
    files_[std::string(name)] = "sha256-" + digest.hex();
    auto writer = store_->NewBlob();
    ASSERT_TRUE(writer);
    ASSERT_TRUE((*writer)->Append(bytes));
    ASSERT_TRUE((*writer)->Commit(digest));
    AddModel(name, false, [&](models::CreateSpec& spec) {
      spec.files.clear();
      spec.from = *models::ModelName::Parse(base);
      spec.adapters = {{"lora.gguf", digest}};
    });
  }

  // "one*0.5 two*1", by the models that brought them.
  std::string Names(const std::vector<AdapterUse>& uses) const {
    std::string names;
    for (const AdapterUse& use : uses) {
      const std::string file = std::filesystem::path(use.file).filename();
      const auto found = std::find_if(files_.begin(), files_.end(),
                                      [&](const auto& known) { return known.second == file; });
      names += names.empty() ? "" : " ";
      names += (found == files_.end() ? "?" : found->first) + "*" + std::to_string(use.scale);
      names.erase(names.find_last_not_of("0.") + 1);
    }
    return names;
  }
  std::string AdaptersOf(const std::string& path, const std::string& body) {
    const auto exchange = Ask("POST", path, body);
    EXPECT_EQ(scheduler_.n_leases, 0);
    const auto jobs = scheduler_.worker->jobs();
    if (jobs.empty()) return exchange->sent.body + exchange->written;
    const worker::Job& job = jobs.back();
    if (const auto* generate = std::get_if<GenerateJob>(&job)) return Names(generate->adapters);
    return Names(std::get<EmbedJob>(job).adapters);
  }
  std::string Refusal(const std::string& adapters) {
    const auto exchange = Ask("POST", "/api/generate",
                              R"({"model":"tiny","prompt":"x","adapters":)" + adapters + "}");
    EXPECT_TRUE(scheduler_.requests.empty()) << "refused without a load";
    return std::to_string(exchange->sent.status) + " " + exchange->sent.body;
  }

  std::map<std::string, std::string> files_;  // by model
};

TEST_F(AdaptersTest, AreTheModelsOwn) {
  EXPECT_EQ(AdaptersOf("/api/generate", R"({"model":"one","prompt":"x"})"), "one*1");
  EXPECT_EQ(AdaptersOf("/api/chat", R"({"model":"two","messages":[{"content":"x"}]})"), "two*1");
  EXPECT_EQ(AdaptersOf("/api/generate", R"({"model":"tiny","prompt":"x"})"), "");
  EXPECT_EQ(AdaptersOf("/api/generate", R"({"model":"one","prompt":"x","adapters":null})"),
            "one*1");
  Answer({Embeddings{{{1}}, 1}});
  EXPECT_EQ(AdaptersOf("/api/embed", R"({"model":"one","input":"x"})"), "one*1");
  EXPECT_EQ(AdaptersOf("/api/embeddings", R"({"model":"one","prompt":"x"})"), "one*1");
}

TEST_F(AdaptersTest, AreThoseThatTheRequestNames) {
  const auto named = [&](const std::string& adapters) {
    return AdaptersOf(
        "/api/chat", R"({"model":"one","messages":[{"content":"x"}],"adapters":)" + adapters + "}");
  };
  EXPECT_EQ(named("[]"), "");
  EXPECT_EQ(named(R"(["two"])"), "two*1");
  EXPECT_EQ(named(R"([{"name":"two:latest","scale":0.5},"one"])"), "two*0.5 one*1");
  EXPECT_EQ(named(R"([{"name":"one","scale":-2}])"), "one*-2");
  EXPECT_EQ(named(R"([{"name":"one","scale":null}])"), "one*1");
}

TEST_F(AdaptersTest, AreLoadedWithTheModel) {
  Answer({Embeddings{}});
  auto exchange = Ask("POST", "/api/generate", R"({"model":"one"})");
  EXPECT_EQ(exchange->sent.status, 200);
  ASSERT_EQ(scheduler_.worker->jobs().size(), 1U);
  const auto job = std::get<EmbedJob>(scheduler_.worker->jobs().front());
  EXPECT_EQ(Names(job.adapters), "one*1");
  EXPECT_THAT(job.texts, IsEmpty());
  EXPECT_EQ(scheduler_.n_leases, 0);

  Answer({Error{Code::kCorrupt, "unable to load adapter: bad"}});
  exchange = Ask("POST", "/api/chat", R"({"model":"one"})");
  EXPECT_EQ(exchange->sent.status, 500);
  EXPECT_EQ(exchange->sent.body, R"({"error":"unable to load adapter: bad"})");
  EXPECT_EQ(scheduler_.n_leases, 0);

  Ask("POST", "/api/generate", R"({"model":"tiny"})");
  EXPECT_EQ(scheduler_.worker->jobs().size(), 1U) << "without adapters there is nothing to send";
}

TEST_F(AdaptersTest, AreRefusedWithoutALoad) {
  EXPECT_EQ(Refusal(R"(["nope"])"),
            R"(404 {"error":"adapter \"nope\" not found, try pulling it first"})");
  EXPECT_EQ(Refusal(R"(["tiny"])"), R"(400 {"error":"model \"tiny\" has no adapter"})");
  EXPECT_EQ(
      Refusal(R"(["foreign"])"),
      R"(400 {"error":"the adapter of \"foreign\" is for other weights than \"tiny:latest\" has"})");
  EXPECT_EQ(Refusal(R"([""])"), R"(400 {"error":"an adapter must have a name"})");
  EXPECT_EQ(Refusal(R"([null])"), R"(400 {"error":"an adapter must have a name"})");
  EXPECT_EQ(Refusal(R"(["a//b"])"), R"(400 {"error":"invalid adapter name \"a//b\""})");
  std::string many = R"("one")";
  for (std::size_t i = 0; i < kMostAdapters; ++i) many += R"(,"two")";
  EXPECT_EQ(Refusal("[" + many + "]"),
            R"(400 {"error":"at most 32 adapters can be used at once"})");
  EXPECT_EQ(
      Refusal(R"([{"name":"one","scale":1e39}])"),
      R"(400 {"error":"json: cannot unmarshal number 1e39 into Go struct field GenerateRequest.adapters.scale of type float32"})");
}

TEST_F(AdaptersTest, AreASmallPartOfAModelsMemoryButCounted) {
  Ask("POST", "/api/generate", R"({"model":"tiny","prompt":"x"})");
  Ask("POST", "/api/generate", R"({"model":"one","prompt":"x"})");
  ASSERT_EQ(scheduler_.requests.size(), 2U);
  EXPECT_EQ(scheduler_.requests[0].model, scheduler_.requests[1].model);
  EXPECT_GT(scheduler_.requests[1].file_bytes, scheduler_.requests[0].file_bytes);
}

}  // namespace
}  // namespace corral::api
