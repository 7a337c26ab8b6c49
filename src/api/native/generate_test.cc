#include <gmock/gmock.h>

#include <thread>

#include "api/native/handler_test.h"

namespace corral::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', begin)) {
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  EXPECT_EQ(begin, text.size()) << "no line feed at the end";
  return lines;
}

// Without the time of the record, which changes.
std::string WithoutTime(std::string record) {
  const auto begin = record.find("\"created_at\":\"");
  const auto end = record.find("\",", begin);
  if (begin != std::string::npos) record.erase(begin, end + 2 - begin);
  for (const std::string_view name : {"\"total_duration\":", "\"load_duration\":"}) {
    const auto at = record.find(name);
    if (at == std::string::npos) continue;
    record.erase(at, record.find(',', at) + 1 - at);
  }
  return record;
}

using GenerateTest = HandlerTest;

TEST_F(GenerateTest, StreamsALineAPieceAndALastOne) {
  AddModel("tiny");
  Answer({Text("Hel"), Text("lo"), End()});
  const auto exchange = Ask("POST", "/api/generate", R"({"model":"TINY:latest","prompt":"Hi"})");
  EXPECT_EQ(exchange->stream_status, 200);
  EXPECT_EQ(exchange->stream_type, "application/x-ndjson");
  EXPECT_TRUE(exchange->is_finished);
  const auto lines = Lines(exchange->written);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(WithoutTime(lines[0]), R"({"model":"TINY:latest","response":"Hel","done":false})");
  EXPECT_EQ(WithoutTime(lines[1]), R"({"model":"TINY:latest","response":"lo","done":false})");
  EXPECT_EQ(
      WithoutTime(lines[2]),
      R"({"model":"TINY:latest","response":"","done":true,"done_reason":"stop","context":[5,6],)"
      R"("prompt_eval_count":7,"prompt_eval_duration":30,"eval_count":2,"eval_duration":40})");
  EXPECT_THAT(lines[2], HasSubstr("\"total_duration\":"));
  EXPECT_THAT(lines[2], HasSubstr("\"load_duration\":"));
  EXPECT_EQ(scheduler_.n_leases, 0);
}

TEST_F(GenerateTest, GathersAllForOneObject) {
  AddModel("tiny");
  Piece thinking;
  thinking.thinking = "hm";
  Finish end = End();
  end.reason = DoneReason::kLength;
  Answer({thinking, Text("a"), Text("b"), end});
  const auto exchange =
      Ask("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi","stream":false})");
  EXPECT_EQ(exchange->sent.status, 200);
  EXPECT_EQ(exchange->sent.content_type, "application/json; charset=utf-8");
  EXPECT_THAT(
      WithoutTime(exchange->sent.body),
      StartsWith(
          R"({"model":"tiny","response":"ab","thinking":"hm","done":true,"done_reason":"length")"));
}

TEST_F(GenerateTest, LoadsAndUnloadsWithoutAPrompt) {
  AddModel("tiny");
  auto exchange = Ask("POST", "/api/generate", R"({"model":"tiny"})");
  EXPECT_EQ(WithoutTime(exchange->sent.body),
            R"({"model":"tiny","response":"","done":true,"done_reason":"load"})");
  ASSERT_EQ(scheduler_.requests.size(), 1U);
  EXPECT_EQ(scheduler_.requests[0].name, "tiny:latest");
  EXPECT_EQ(scheduler_.requests[0].n_ctx_train, 2048);
  EXPECT_GT(scheduler_.requests[0].file_bytes, 0);
  EXPECT_EQ(scheduler_.n_leases, 0);

  exchange = Ask("POST", "/api/chat", R"({"model":"tiny","keep_alive":0})");
  EXPECT_EQ(
      WithoutTime(exchange->sent.body),
      R"({"model":"tiny","message":{"role":"assistant","content":""},"done":true,"done_reason":"unload"})");
  EXPECT_EQ(scheduler_.unloaded.size(), 1U);
  EXPECT_EQ(scheduler_.requests.size(), 1U);
}

TEST_F(GenerateTest, BuildsTheJobFromTheRequestAndTheModel) {
  AddModel("tiny", false, [](models::CreateSpec& spec) {
    spec.system = "S";
    spec.messages = {{"user", "u1"}, {"assistant", "a1"}};
    spec.params = {{"temperature", 0.5}, {"num_ctx", std::int64_t{100000}}};
    spec.template_text = "{{ .System }}{{ .Prompt }}";
  });
  Ask("POST", "/api/generate",
      R"({"model":"tiny","prompt":"Hi","format":"json","options":{"num_predict":50,"seed":3},"keep_alive":"1m"})");
  EXPECT_EQ(scheduler_.requests[0].num_ctx, 2048);
  EXPECT_EQ(scheduler_.requests[0].keep_alive, std::chrono::minutes(1));
  const GenerateJob& job = LastJob();
  EXPECT_EQ(job.num_ctx, 2048);
  EXPECT_EQ(job.sampling.seed, 3);
  EXPECT_EQ(job.sampling.num_predict, 50);
  EXPECT_FLOAT_EQ(job.sampling.temperature, 0.5F);
  EXPECT_EQ(job.format_json, "\"json\"");
  EXPECT_TRUE(job.want_context);
  EXPECT_EQ(job.prompt.kind, PromptSource::Kind::kMessages);
  EXPECT_EQ(job.prompt.go_template, "{{ .System }}{{ .Prompt }}");
  ASSERT_EQ(job.prompt.messages.size(), 4U);
  EXPECT_EQ(job.prompt.messages[0].role, "system");
  EXPECT_EQ(job.prompt.messages[0].content, "S");
  EXPECT_EQ(job.prompt.messages[1].content, "u1");
  EXPECT_EQ(job.prompt.messages[3].content, "Hi");
}

TEST_F(GenerateTest, LeavesHistoryOutWhenThereIsAContext) {
  AddModel("tiny", false, [](models::CreateSpec& spec) { spec.messages = {{"user", "u1"}}; });
  Ask("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi","context":[1,2],"system":"T"})");
  const GenerateJob& job = LastJob();
  EXPECT_EQ(job.prompt.context, (std::vector<Token>{1, 2}));
  ASSERT_EQ(job.prompt.messages.size(), 2U);
  EXPECT_EQ(job.prompt.messages[0].content, "T");
}

TEST_F(GenerateTest, TakesRawPromptsAsTheyAre) {
  AddModel("tiny", false, [](models::CreateSpec& spec) { spec.system = "S"; });
  Ask("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi","raw":true})");
  const GenerateJob& job = LastJob();
  EXPECT_EQ(job.prompt.kind, PromptSource::Kind::kRaw);
  EXPECT_EQ(job.prompt.text, "Hi");
  EXPECT_FALSE(job.want_context);
}

TEST_F(GenerateTest, PutsTheModelsSystemBeforeAChatWithoutOne) {
  AddModel("tiny", false, [](models::CreateSpec& spec) {
    spec.system = "S";
    spec.messages = {{"user", "u1"}};
  });
  Ask("POST", "/api/chat", R"({"model":"tiny","messages":[{"role":"user","content":"Hi"}]})");
  GenerateJob job = LastJob();
  EXPECT_TRUE(job.is_chat);
  EXPECT_FALSE(job.want_context);
  ASSERT_EQ(job.prompt.messages.size(), 3U);
  EXPECT_EQ(job.prompt.messages[0].content, "S");

  Ask("POST", "/api/chat",
      R"({"model":"tiny","messages":[{"role":"System","content":"T"},{"role":"user","content":"Hi"}]})");
  job = LastJob();
  ASSERT_EQ(job.prompt.messages.size(), 3U);
  EXPECT_EQ(job.prompt.messages[0].content, "u1");
  EXPECT_EQ(job.prompt.messages[1].content, "T");
}

TEST_F(GenerateTest, WritesToolCallsAndLogprobs) {
  AddModel("tiny");
  Piece piece;
  piece.tool_calls = {
      ToolCall{.id = "call_1", .name = "f", .arguments_json = R"({"a":1})", .index = 0}};
  piece.logprobs = {TokenLogprob{"\xC3", -0.5F, {TokenLogprob{"b", -1.0F, {}}}}};
  Answer({piece, Finish{}});
  const auto exchange =
      Ask("POST", "/api/chat", R"({"model":"tiny","messages":[{"role":"user","content":"Hi"}]})");
  EXPECT_EQ(
      WithoutTime(Lines(exchange->written)[0]),
      R"({"model":"tiny","message":{"role":"assistant","content":"",)"
      R"("tool_calls":[{"id":"call_1","function":{"index":0,"name":"f","arguments":{"a":1}}}]},"done":false,)"
      "\"logprobs\":[{\"token\":\"\uFFFD\",\"logprob\":-0.5,\"bytes\":[195],"
      "\"top_logprobs\":[{\"token\":\"b\",\"logprob\":-1,\"bytes\":[98]}]}]}");
}

TEST_F(GenerateTest, ShowsTheRenderedPromptWhenAsked) {
  AddModel("tiny");
  Finish rendered;
  rendered.rendered_prompt = "<Hi>";
  Answer({rendered});
  const auto exchange =
      Ask("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi","_debug_render_only":true})");
  EXPECT_TRUE(LastJob().render_only);
  EXPECT_EQ(
      WithoutTime(exchange->sent.body),
      R"({"model":"tiny","response":"","done":false,"_debug_info":{"rendered_template":"<Hi>"}})");
}

TEST_F(GenerateTest, RefusesInOllamasOrder) {
  AddModel("tiny");
  AddModel("emb", true);
  const auto error = [&](const char* path, const char* body) {
    const auto exchange = Ask("POST", path, body);
    return std::to_string(exchange->sent.status) + " " + exchange->sent.body;
  };
  EXPECT_EQ(error("/api/generate", R"({"model":"","top_logprobs":21})"),
            R"(400 {"error":"top_logprobs must be between 0 and 20"})");
  EXPECT_EQ(error("/api/generate", R"({"model":"nope","options":{"temperature":"hot"}})"),
            R"(404 {"error":"model 'nope' not found"})");
  EXPECT_EQ(error("/api/generate",
                  R"({"model":"tiny","prompt":"x","raw":true,"system":"x","think":true})"),
            R"(400 {"error":"raw mode does not support template, system, or context"})");
  EXPECT_EQ(error("/api/generate", R"({"model":"tiny","think":true,"suffix":"x"})"),
            R"(400 {"error":"\"tiny\" does not support thinking"})");
  EXPECT_EQ(
      error("/api/generate", R"({"model":"tiny","prompt":"x","suffix":"x","options":{"stop":1}})"),
      R"(400 {"error":"registry.ollama.ai/library/tiny:latest does not support insert"})");
  EXPECT_EQ(error("/api/generate",
                  R"({"model":"tiny","prompt":"x","options":{"stop":1},"format":"yaml"})"),
            R"(400 {"error":"option \"stop\" must be of type array"})");
  EXPECT_EQ(
      error("/api/generate", R"({"model":"tiny","prompt":"x","format":[1, 2]})"),
      R"(400 {"error":"invalid format: \"[1,2]\"; expected \"json\" or a valid JSON Schema object"})");
  EXPECT_EQ(error("/api/generate", R"({"model":"emb","prompt":"x"})"),
            R"(400 {"error":"\"emb\" does not support generate"})");
  EXPECT_EQ(error("/api/chat", R"({"model":"emb","messages":[{}]})"),
            R"(400 {"error":"\"emb\" does not support chat"})");
  EXPECT_EQ(error("/api/chat", R"({"model":"tiny","messages":[{}],"tools":[{}]})"),
            R"(400 {"error":"registry.ollama.ai/library/tiny:latest does not support tools"})");
  EXPECT_TRUE(scheduler_.requests.empty()) << "refused without a load";
  // A load does not look at the format.
  EXPECT_THAT(error("/api/generate", R"({"model":"tiny","format":"yaml"})"), StartsWith("200 "));
}

TEST_F(GenerateTest, SaysBusyWithRetryAfter) {
  AddModel("tiny");
  scheduler_.error =
      Error{Code::kBusy, "server busy, please try again.  maximum pending requests exceeded"};
  const auto exchange = Ask("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi"})");
  EXPECT_EQ(exchange->sent.status, 503);
  EXPECT_EQ(exchange->sent.body,
            R"({"error":"server busy, please try again.  maximum pending requests exceeded"})");
  EXPECT_THAT(exchange->sent.headers,
              ElementsAre(std::pair<std::string, std::string>("Retry-After", "1")));
}

TEST_F(GenerateTest, HasAStatusForAnErrorBeforeTheFirstRecord) {
  AddModel("tiny");
  Answer({Error{Code::kInvalidArgument, "the prompt is longer"}});
  auto exchange = Ask("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi"})");
  EXPECT_EQ(exchange->sent.status, 400);
  EXPECT_EQ(exchange->sent.content_type, "application/json");
  EXPECT_EQ(exchange->n_answers, 1);
  exchange = Ask("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi","stream":false})");
  EXPECT_EQ(exchange->sent.content_type, "application/json; charset=utf-8");
}

TEST_F(GenerateTest, EndsAStreamWithAnErrorLine) {
  AddModel("tiny");
  Answer({Text("a"), Error{Code::kInternal, "model runner has unexpectedly stopped"}});
  const auto exchange = Ask("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi"})");
  EXPECT_EQ(exchange->stream_status, 200);
  EXPECT_EQ(Lines(exchange->written).back(),
            R"({"error":"model runner has unexpectedly stopped"})");
  EXPECT_TRUE(exchange->is_finished);
  EXPECT_EQ(scheduler_.n_leases, 0);
}

TEST_F(GenerateTest, CancelsTheJobOfALostClientAndKeepsTheLeaseUntilItEnded) {
  AddModel("tiny");
  auto exchange = Exchange("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi"})");
  int n_leases_at_end = -1;
  OnSubmit([&](FakeWorker& worker, JobId, worker::Job&, worker::EventSink sink) {
    worker.OnCancel([&, sink] {
      n_leases_at_end = scheduler_.n_leases;
      sink(Text("late"));
      sink(Error{Code::kCancelled, "cancelled"});
    });
    exchange->on_write = [sink] { sink(Text("next")); };
    sink(Text("first"));
  });
  exchange->n_writes_until_gone = 1;
  Run(*exchange);
  EXPECT_EQ(exchange->n_writes, 1);
  EXPECT_FALSE(exchange->is_finished);
  EXPECT_GE(scheduler_.worker->n_cancels(), 1);
  EXPECT_EQ(n_leases_at_end, 1);
  EXPECT_EQ(scheduler_.n_leases, 0);
}

TEST_F(GenerateTest, KeepsTheUsersOfDifferentKeysApartWhereAskedTo) {
  AddModel("tiny");
  Answer({Finish{}});
  const auto salt_of = [this](const std::string& authorization) {
    auto exchange = Exchange("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi"})");
    if (!authorization.empty())
      exchange->mutable_request().headers = {{"authorization", authorization}};
    Run(*exchange);
    return LastJob().prefix_salt;
  };
  EXPECT_EQ(salt_of("Bearer alice"), "");
  settings_.prefix_salt_per_key = true;
  EXPECT_EQ(salt_of(""), "");
  const std::string alice = salt_of("Bearer alice");
  EXPECT_FALSE(alice.empty());
  EXPECT_EQ(alice.find("alice"), std::string::npos) << "a key never reaches a worker";
  EXPECT_EQ(salt_of("bearer  alice"), alice);
  EXPECT_NE(salt_of("Bearer bob"), alice);
}

TEST_F(GenerateTest, SendsLinesThatWaitTogether) {
  AddModel("tiny");
  Answer({Text("a"), Text("b"), Text("c"), Finish{}});
  const auto exchange = Ask("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi"})");
  EXPECT_EQ(Lines(exchange->written).size(), 4U);
  EXPECT_EQ(exchange->n_writes, 2);
}

TEST_F(GenerateTest, SendsNothingToAClientThatLeftWhileItWaited) {
  AddModel("tiny");
  OnSubmit([](FakeWorker& worker, JobId, worker::Job&, worker::EventSink sink) {
    worker.OnCancel([sink] { sink(Error{Code::kCancelled, "cancelled"}); });
  });
  auto exchange =
      Exchange("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi","stream":false})");
  scheduler_.on_acquire = [&] { exchange->stop_source().RequestStop(StopReason::kClientGone); };
  Run(*exchange);
  EXPECT_EQ(exchange->n_answers, 0);
  EXPECT_EQ(scheduler_.n_leases, 0);

  exchange = Exchange("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi"})");
  scheduler_.error = Error{Code::kCancelled, "cancelled"};
  Run(*exchange);
  EXPECT_EQ(exchange->n_answers, 0);
}

TEST_F(GenerateTest, TellsClientsOfAShutdown) {
  AddModel("tiny");
  auto exchange = Exchange("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi"})");
  OnSubmit([&](FakeWorker& worker, JobId, worker::Job&, worker::EventSink sink) {
    worker.OnCancel([sink] { sink(Error{Code::kCancelled, "cancelled"}); });
    sink(Text("a"));
  });
  exchange->on_write = [&] { exchange->stop_source().RequestStop(StopReason::kShutdown); };
  Run(*exchange);
  const auto lines = Lines(exchange->written);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_THAT(lines[1], StartsWith(R"({"error":")"));
  EXPECT_TRUE(exchange->is_finished);

  exchange = Exchange("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi"})");
  exchange->stop_source().RequestStop(StopReason::kShutdown);
  scheduler_.error = Error{Code::kCancelled, "cancelled"};
  Run(*exchange);
  EXPECT_EQ(exchange->sent.status, 503);
}

TEST_F(GenerateTest, AnswersWhenTheJobWasCancelledByTheServer) {
  AddModel("tiny");
  Answer({Error{Code::kCancelled, "the model was unloaded"}});
  const auto exchange = Ask("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi"})");
  EXPECT_EQ(exchange->sent.status, 500);
  EXPECT_EQ(exchange->sent.body, R"({"error":"the model was unloaded"})");
}

TEST_F(GenerateTest, GivesCreditBackAsPiecesAreTaken) {
  AddModel("tiny");
  OnSubmit([](FakeWorker&, JobId, worker::Job&, worker::EventSink sink) {
    for (int i = 0; i < worker::kInitialCredit; ++i) sink(Text("a"));
    sink(Finish{});
  });
  const auto exchange = Ask("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi"})");
  EXPECT_EQ(Lines(exchange->written).size(), worker::kInitialCredit + 1U);
  EXPECT_EQ(scheduler_.worker->credit(), worker::kInitialCredit);
}

TEST_F(GenerateTest, HearsAWorkerOnAnotherThread) {
  AddModel("tiny");
  std::vector<std::jthread> threads;
  OnSubmit([&](FakeWorker&, JobId, worker::Job&, worker::EventSink sink) {
    threads.emplace_back([sink] {
      for (int i = 0; i < 500; ++i) sink(Text("a"));
      sink(Finish{});
    });
  });
  auto exchange = Exchange("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi"})");
  const auto work = boost::asio::make_work_guard(io_);
  // The thread outlives io_.run() returning for want of work only with the guard; the end of the
  // handler stops the loop.
  bool has_ended = false;
  for (const auto& route : router_.routes()) {
    if (route.parts != std::vector<std::string>{"api", "generate"}) continue;
    boost::asio::co_spawn(io_, route.handler(*exchange), [&](std::exception_ptr) {
      has_ended = true;
      io_.stop();
    });
  }
  io_.run();
  EXPECT_TRUE(has_ended);
  EXPECT_EQ(Lines(exchange->written).size(), 501U);
}

TEST_F(GenerateTest, ParsesLargeBodiesOnThePool) {
  AddModel("tiny");
  auto exchange = Exchange("POST", "/api/generate",
                           R"({"model":"nope","prompt":")" + std::string(70'000, 'x') + "\"}");
  exchange->is_pool_full = true;
  Run(*exchange);
  EXPECT_EQ(exchange->sent.status, 503);
  exchange = Exchange("POST", "/api/generate",
                      R"({"model":"tiny","prompt":")" + std::string(70'000, 'x') + "\"}");
  Run(*exchange);
  EXPECT_EQ(exchange->stream_status, 200);
}

TEST_F(GenerateTest, AdvisesWhenAModelDoesNotLoad) {
  AddModel("tiny");
  scheduler_.error = Error{Code::kCorrupt, "unknown architecture"};
  auto exchange = Ask("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi"})");
  EXPECT_EQ(exchange->sent.status, 500);
  EXPECT_THAT(exchange->sent.body,
              HasSubstr("unknown architecture: this model may be incompatible"));
  EXPECT_THAT(exchange->sent.body, HasSubstr("`ollama pull tiny:latest`"));
  scheduler_.error = Error{Code::kNotFound, "no such file"};
  exchange = Ask("POST", "/api/generate", R"({"model":"tiny","prompt":"Hi"})");
  EXPECT_EQ(exchange->sent.status, 404);
}

using EmbedTest = HandlerTest;

TEST_F(EmbedTest, WritesVectorsAsShortFloats) {
  AddModel("emb", true);
  Answer({Embeddings{{{0.6F, 0.8F}, {0.1F, 0.0F}}, 5}});
  const auto exchange = Ask("POST", "/api/embed", R"({"model":"emb","input":["a","b"]})");
  EXPECT_EQ(WithoutTime(exchange->sent.body),
            R"({"model":"emb","embeddings":[[0.6,0.8],[0.1,0]],"prompt_eval_count":5})");
  jobs_ = scheduler_.worker->jobs();
  const auto& job = std::get<EmbedJob>(jobs_.at(0));
  EXPECT_EQ(job.texts, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(job.truncate);
  EXPECT_TRUE(job.normalize);
  EXPECT_TRUE(scheduler_.requests[0].is_embedding);
  EXPECT_EQ(scheduler_.n_leases, 0);
}

TEST_F(EmbedTest, CutsAndRenormalizes) {
  AddModel("emb", true);
  Answer({Embeddings{{{3.0F, 4.0F, 12.0F}}, 1}});
  const auto exchange = Ask("POST", "/api/embed", R"({"model":"emb","input":"a","dimensions":2})");
  EXPECT_THAT(exchange->sent.body, HasSubstr(R"("embeddings":[[0.6,0.8]])"));
}

TEST_F(EmbedTest, RefusesVectorsThatAreNoNumbers) {
  AddModel("emb", true);
  Answer({Embeddings{{{1.0F, std::numeric_limits<float>::quiet_NaN()}}, 1}});
  const auto exchange = Ask("POST", "/api/embed", R"({"model":"emb","input":"a"})");
  EXPECT_EQ(exchange->sent.status, 400);
  EXPECT_EQ(exchange->sent.body, R"({"error":"embedding contains NaN or Inf values"})");
}

TEST_F(EmbedTest, LoadsOnlyWhenThereIsNothingToEmbed) {
  AddModel("emb", true);
  auto exchange = Ask("POST", "/api/embed", R"({"model":"emb"})");
  EXPECT_EQ(exchange->sent.body, R"({"model":"emb","embeddings":[]})");
  exchange = Ask("POST", "/api/embeddings", R"({"model":"emb","prompt":""})");
  EXPECT_EQ(exchange->sent.body, R"({"embedding":[]})");
  EXPECT_EQ(scheduler_.requests.size(), 2U);
  EXPECT_TRUE(scheduler_.worker->jobs().empty());
  EXPECT_EQ(scheduler_.n_leases, 0);
}

TEST_F(EmbedTest, WidensForTheOlderRoute) {
  AddModel("tiny");
  Answer({Embeddings{{{0.1F, 1.0F}}, 1}});
  const auto exchange = Ask("POST", "/api/embeddings", R"({"model":"tiny","prompt":"a"})");
  EXPECT_EQ(exchange->sent.body, R"({"embedding":[0.10000000149011612,1]})");
}

TEST_F(EmbedTest, HasDifferentStatusesForATextThatIsTooLong) {
  AddModel("emb", true);
  Answer({Error{Code::kInvalidArgument, "the input length exceeds the context length"}});
  EXPECT_EQ(
      Ask("POST", "/api/embed", R"({"model":"emb","input":"a","truncate":false})")->sent.status,
      400);
  EXPECT_EQ(Ask("POST", "/api/embeddings", R"({"model":"emb","prompt":"a"})")->sent.status, 500);
}

}  // namespace
}  // namespace corral::api
