#include "cli/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/testing/fakes.h"

namespace corral::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ClientTest : public ::testing::Test {
 protected:
  testing::FakeTransport transport_;
  Client client_{transport_};
};

TEST_F(ClientTest, ARefusedHeartbeatSaysHowToStartTheServer) {
  EXPECT_EQ(client_.Heartbeat().error().message,
            "could not connect to ollama server, run 'ollama serve' to start it");
}

TEST_F(ClientTest, OtherTransportErrorsAreShownAsTheyAre) {
  transport_.On(
      "HEAD /",
      {.body = "", .failure = Code::kUpstream, .failure_text = "Head \"x\": no such host"});
  EXPECT_EQ(client_.Heartbeat().error().message, "Head \"x\": no such host");
}

TEST_F(ClientTest, ASingleReplysErrorIsItsTextAlone) {
  transport_.OnText("POST /api/show", R"({"error":"model 'x' not found"})", 404);
  const auto reply = client_.Show("x", false);
  EXPECT_EQ(reply.error().message, "model 'x' not found");
  EXPECT_EQ(reply.error().code, Code::kNotFound);
}

TEST_F(ClientTest, AnErrorThatIsNoJsonIsItsBody) {
  transport_.OnText("GET /api/tags", "gateway is tired\n", 502);
  EXPECT_EQ(client_.List().error().message, "gateway is tired");
  transport_.OnText("GET /api/ps", "", 502);
  EXPECT_EQ(client_.Running().error().message,
            "something went wrong, please see the ollama server logs for details");
}

TEST_F(ClientTest, AStreamsErrorHasTheStatusLineInFront) {
  transport_.OnText("POST /api/pull", "404 page not found", 404);
  EXPECT_EQ(client_.Pull("m", false, [](const ProgressRecord&) {}).error().message,
            "404 Not Found: 404 page not found");
  transport_.OnText("POST /api/push", "", 404);
  EXPECT_EQ(client_.Push("m", false, [](const ProgressRecord&) {}).error().message,
            "404 Not Found");
}

TEST_F(ClientTest, ARefusalToKnowTheUserIsItsStatusLine) {
  transport_.OnText("POST /api/generate", R"({"error":"secret"})", 401);
  GenerateRequest request;
  EXPECT_EQ(client_.Generate(request, [](const AnswerRecord&) {}).error().message,
            "401 Unauthorized");
}

TEST_F(ClientTest, AnErrorInMidStreamEndsItWithItsText) {
  transport_.OnText("POST /api/generate",
                    "{\"response\":\"a\",\"done\":false}\n{\"error\":\"the worker "
                    "died\"}\n{\"response\":\"b\"}\n");
  std::string text;
  GenerateRequest request;
  const Status status =
      client_.Generate(request, [&](const AnswerRecord& record) { text += record.text; });
  EXPECT_EQ(status.error().message, "the worker died");
  EXPECT_EQ(text, "a");
}

TEST_F(ClientTest, AStreamsLastLineNeedsNoLineBreak) {
  transport_.OnText(
      "POST /api/chat",
      "{\"message\":{\"role\":\"assistant\",\"content\":\"hel\"},\"done\":false}\n\n"
      "{\"message\":{\"role\":\"assistant\",\"content\":\"lo\",\"thinking\":\"t\"},\"done\":true,"
      "\"total_duration\":5,\"eval_count\":2}");
  std::vector<AnswerRecord> records;
  ASSERT_TRUE(client_.Chat({}, [&](const AnswerRecord& record) { records.push_back(record); }));
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].text, "hel");
  EXPECT_EQ(records[1].thinking, "t");
  EXPECT_TRUE(records[1].is_done);
  EXPECT_EQ(records[1].timings.total, std::chrono::nanoseconds(5));
  EXPECT_EQ(records[1].timings.eval_tokens, 2);
}

TEST_F(ClientTest, SendsOnlyWhatWasGiven) {
  transport_.OnText("POST /api/generate", "{\"done\":true}\n");
  GenerateRequest request;
  request.model = "m";
  request.prompt = "hi \xff";
  ASSERT_TRUE(client_.Generate(request, [](const AnswerRecord&) {}));
  EXPECT_EQ(transport_.seen[0].body, "{\"model\":\"m\",\"prompt\":\"hi \xef\xbf\xbd\"}");
  EXPECT_TRUE(transport_.seen[0].is_stream);
}

TEST_F(ClientTest, SendsEveryOptionInItsOwnType) {
  transport_.OnText("POST /api/generate", "{\"done\":true}\n");
  GenerateRequest request;
  request.model = "m";
  request.format = R"({"type":"object"})";
  request.keep_alive = std::chrono::minutes(90);
  request.think = Think{true, "high"};
  request.options = {{"top_k", std::int64_t{40}},
                     {"temperature", 0.5},
                     {"use_mmap", true},
                     {"stop", std::vector<std::string>{"a", "b"}}};
  request.images = {"\x01\x02"};
  ASSERT_TRUE(client_.Generate(request, [](const AnswerRecord&) {}));
  EXPECT_EQ(
      transport_.seen[0].body,
      R"({"model":"m","prompt":"","images":["AQI="],"format":{"type":"object"},"keep_alive":"1h30m0s",)"
      R"("think":"high","options":{"top_k":40,"temperature":0.5,"use_mmap":true,"stop":["a","b"]}})");
}

TEST_F(ClientTest, AForeverKeepAliveIsMinusOne) {
  transport_.OnText("POST /api/generate", "{\"done\":true}\n");
  GenerateRequest request;
  request.keep_alive = std::chrono::seconds(-7);
  request.think = Think{false, ""};
  request.format = "json";
  ASSERT_TRUE(client_.Generate(request, [](const AnswerRecord&) {}));
  EXPECT_EQ(transport_.seen[0].body,
            R"({"model":"","prompt":"","format":"json","keep_alive":-1,"think":false})");
}

TEST_F(ClientTest, AFormatThatIsNoJsonNeverLeaves) {
  GenerateRequest request;
  request.format = "yaml";
  EXPECT_EQ(client_.Generate(request, [](const AnswerRecord&) {}).error().code,
            Code::kInvalidArgument);
  EXPECT_TRUE(transport_.seen.empty());
}

TEST_F(ClientTest, ReadsWhatShowSays) {
  transport_.OnText("POST /api/show",
                    R"({"license":"L","details":{"parent_model":"p","family":"llama"},
    "model_info":{"general.architecture":"llama","n":3,"list":[1,"a",null,true],"none":null},
    "tensors":[{"name":"t","type":"F16","shape":[1,2]}],"capabilities":["completion","tools"],
    "messages":[{"role":"user","content":"hi"}]})");
  const Result<ShowReply> reply = client_.Show("m", true);
  ASSERT_TRUE(reply);
  EXPECT_EQ(transport_.seen[0].body, R"({"model":"m","verbose":true})");
  EXPECT_EQ(reply->parent_model, "p");
  EXPECT_TRUE(reply->Can("tools"));
  EXPECT_FALSE(reply->Can("vision"));
  EXPECT_EQ(std::get<double>(reply->model_info->at("n")), 3);
  EXPECT_THAT(std::get<InfoArray>(reply->model_info->at("list")).items,
              ElementsAre("1", "a", "<nil>", "true"));
  EXPECT_THAT(reply->tensors[0].shape, ElementsAre(1, 2));
  EXPECT_FALSE(reply->projector_info);
}

TEST_F(ClientTest, ARepliesOfAnotherShapeAreErrors) {
  transport_.OnText("GET /api/tags", "[]");
  transport_.OnText("GET /api/version", "<html>");
  transport_.OnText("POST /api/show", std::string(100'000, '['));
  EXPECT_FALSE(client_.List());
  EXPECT_FALSE(client_.Version());
  EXPECT_FALSE(client_.Show("m", false));
}

TEST_F(ClientTest, FieldsOfAnotherTypeAreAsGoodAsAbsent) {
  transport_.OnText("GET /api/tags", R"({"models":[{"name":7,"size":"big","digest":null},5]})");
  const auto models = client_.List();
  ASSERT_TRUE(models);
  EXPECT_EQ(models->size(), 2U);
  EXPECT_EQ((*models)[0].name, "");
}

TEST_F(ClientTest, AStoppedCallIsCancelled) {
  transport_.OnText("POST /api/generate",
                    "{\"response\":\"aaaaaaaaaaaaaaaaaaaaaa\",\"done\":false}\n");
  StopSource stop;
  transport_.on_piece = [&] { stop.RequestStop(StopReason::kUser); };
  EXPECT_EQ(client_
                .Generate(
                    {}, [](const AnswerRecord&) {}, stop.token())
                .error()
                .code,
            Code::kCancelled);
}

TEST_F(ClientTest, PrintsTheFirstVector) {
  transport_.OnText("POST /api/embed", R"({"embeddings":[[0.1,-2,3.5e-7],[9]]})");
  EXPECT_EQ(*client_.Embed({.model = "m", .input = "x", .truncate = false, .dimensions = 3}),
            "[0.1,-2,3.5e-07]");
  EXPECT_EQ(transport_.seen[0].body,
            R"({"model":"m","input":"x","truncate":false,"dimensions":3})");
  transport_.OnText("POST /api/embed", R"({"embeddings":[]})");
  transport_.OnText("POST /api/embed", R"({"embeddings":[]})");
  EXPECT_EQ(client_.Embed({.model = "m", .input = "x"})->size() > 0, true);
  EXPECT_THAT(client_.Embed({.model = "m", .input = "x"}).error().message,
              HasSubstr("no embeddings"));
}

TEST_F(ClientTest, AsksForHealthWithoutAHeartbeat) {
  transport_.OnText("GET /healthz", "ok");
  transport_.OnText("GET /readyz", R"({"error":"loading"})", 503);
  EXPECT_TRUE(client_.Health(false, std::chrono::seconds(1)));
  EXPECT_EQ(client_.Health(true, std::chrono::seconds(1)).error().message, "loading");
}

TEST_F(ClientTest, CreateSendsOnlyTheFieldsThatAreSet) {
  transport_.OnText("POST /api/create", "{\"status\":\"success\"}\n");
  CreateRequest request;
  request.model = "m";
  request.files = {{"a.gguf", "sha256:1"}};
  request.licenses = {"MIT"};
  request.parameters = {{"num_ctx", std::int64_t{4096}}};
  ChatMessage message;
  message.role = "user";
  message.content = "hi";
  request.messages = {message};
  std::vector<std::string> statuses;
  ASSERT_TRUE(client_.Create(
      request, [&](const ProgressRecord& record) { statuses.push_back(record.status); }));
  EXPECT_THAT(statuses, ElementsAre("success"));
  EXPECT_EQ(
      transport_.seen[0].body,
      R"({"model":"m","files":{"a.gguf":"sha256:1"},"license":["MIT"],"parameters":{"num_ctx":4096},)"
      R"("messages":[{"role":"user","content":"hi"}]})");
}

}  // namespace
}  // namespace corral::cli
