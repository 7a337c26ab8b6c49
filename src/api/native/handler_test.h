// For tests of the handlers: a real store in a folder of its own with small models in it, fakes for
// the rest.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <exception>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/native/fakes.h"
#include "api/routes.h"
#include "core/metrics.h"
#include "core/settings.h"
#include "gguf/writer.h"
#include "models/store.h"
#include "registry/registry.h"

namespace corral::api {

class HandlerTest : public ::testing::Test {
 protected:
  HandlerTest() {
    std::string pattern = ::testing::TempDir() + "corral-api-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    folder_ = pattern;
    auto opened = models::Store::Open(folder_ / "models", {});
    if (!opened) std::abort();
    store_ = *std::move(opened);
    registry_ = std::make_unique<registry::Registry>(*store_, Offline());
    AddRoutes(router_, services());
    Answer({Finish{}});
  }
  ~HandlerTest() override {
    registry_.reset();
    store_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  Services services() {
    return {*store_, scheduler_, *registry_, settings_, metrics_, readiness_, tasks_, n_creates_};
  }

  // Nothing may be pulled.
  static registry::Options Offline() {
    registry::Options options;
    options.allowed = {"no.registry.test"};
    return options;
  }

  static gguf::Writer SmallGguf(bool is_embedding) {
    gguf::Writer writer;
    const std::string architecture = is_embedding ? "bert" : "llama";
    writer.SetString("general.architecture", architecture);
    writer.SetString("general.name", "small");
    writer.SetUint32(architecture + ".context_length", 2048);
    writer.SetUint32(architecture + ".embedding_length", 64);
    writer.SetUint32(architecture + ".block_count", 1);
    writer.SetFloat32(architecture + ".epsilon", 1e-5F);
    if (is_embedding) writer.SetUint32(architecture + ".pooling_type", 1);
    writer.SetString("tokenizer.ggml.model", "llama");
    const std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
    writer.SetStrings("tokenizer.ggml.tokens", tokens);
    return writer;
  }

  // Puts a model into the store. `change` edits what create is asked for.
  void AddModel(std::string_view name, bool is_embedding = false,
                const std::function<void(models::CreateSpec&)>& change = nullptr) {
    const std::string bytes = SmallGguf(is_embedding).Bytes();
    const auto digest = models::Digest::OfBytes(bytes);
    auto writer = store_->NewBlob();
    ASSERT_TRUE(writer);
    ASSERT_TRUE((*writer)->Append(bytes));
    ASSERT_TRUE((*writer)->Commit(digest));
    models::CreateSpec spec = {*models::ModelName::Parse(name)};
    spec.files = {{"small.gguf", digest}};
    if (change) change(spec);
    const Status created = store_->Create(
        spec, [](std::string) {}, StopToken());
    ASSERT_TRUE(created) << created.error().message;
  }

  // Every job from now on hears these events, at once.
  void Answer(std::vector<JobEvent> events) {
    OnSubmit(
        [events = std::move(events)](FakeWorker&, JobId, worker::Job&, worker::EventSink sink) {
          for (const JobEvent& event : events) sink(event);
        });
  }
  void OnSubmit(FakeWorker::OnSubmit on_submit) {
    scheduler_.worker = std::make_shared<FakeWorker>(std::move(on_submit));
  }

  std::unique_ptr<FakeExchange> Exchange(std::string method, std::string path,
                                         std::string body = "") {
    return std::make_unique<FakeExchange>(io_, std::move(method), std::move(path), std::move(body));
  }
  // Runs the route's handler until it ends.
  void Run(FakeExchange& exchange) {
    for (const auto& route : router_.routes()) {
      std::string pattern;
      for (const std::string& part : route.parts) pattern += "/" + part;
      if (pattern.empty()) pattern = "/";
      const bool is_blob =
          pattern == "/api/blobs/{digest}" && exchange.request().path.starts_with("/api/blobs/");
      if (pattern != exchange.request().path && !is_blob) continue;
      if (is_blob)
        exchange.mutable_request().params = {{"digest", exchange.request().path.substr(11)}};
      bool has_ended = false;
      boost::asio::co_spawn(io_, route.handler(exchange), [&has_ended](std::exception_ptr failure) {
        EXPECT_FALSE(failure);
        has_ended = true;
      });
      io_.restart();
      io_.run();
      EXPECT_TRUE(has_ended) << "the handler waits for something that does not come";
      return;
    }
    FAIL() << "no route " << exchange.request().path;
  }
  // Method, path, body; the answer.
  std::unique_ptr<FakeExchange> Ask(std::string method, std::string path, std::string body = "") {
    auto exchange = Exchange(std::move(method), std::move(path), std::move(body));
    Run(*exchange);
    return exchange;
  }

  static Piece Text(std::string text) {
    Piece piece;
    piece.text = std::move(text);
    return piece;
  }
  static Finish End() {
    Finish finish;
    finish.prompt_tokens = 7;
    finish.eval_tokens = 2;
    finish.prompt_eval_time = std::chrono::nanoseconds(30);
    finish.eval_time = std::chrono::nanoseconds(40);
    finish.context = {5, 6};
    return finish;
  }
  const GenerateJob& LastJob() {
    jobs_ = scheduler_.worker->jobs();
    return std::get<GenerateJob>(jobs_.back());
  }

  std::filesystem::path folder_;
  boost::asio::io_context io_;
  std::unique_ptr<models::Store> store_;
  std::unique_ptr<registry::Registry> registry_;
  FakeScheduler scheduler_;
  FakeTasks tasks_;
  std::shared_ptr<std::atomic<int>> n_creates_ = std::make_shared<std::atomic<int>>(0);
  Settings settings_;
  Metrics metrics_;
  http::Router router_;
  Readiness readiness_;
  std::vector<worker::Job> jobs_;
};

}  // namespace corral::api
