// The scheduler with a launcher, a clock and a memory of its own.
#include "scheduler/scheduler.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "core/queue.h"

namespace corral::scheduler {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

constexpr seconds kPatience{10};

// Loads nothing: the test says when a load ends. Callbacks run on the test's thread.
class FakeWorker final : public worker::Worker {
 public:
  FakeWorker(worker::Launch launched, worker::Launcher::Callbacks callbacks)
      : launch(std::move(launched)), callbacks_(std::move(callbacks)) {}

  JobId Submit(worker::Job, worker::EventSink) override { return JobId{1}; }
  void Cancel(JobId) override {}
  void AddCredit(JobId, int) override {}
  void SetSharers(Sharers told) override {
    n_computing = told.n_computing;
    n_parking = told.n_parking;
  }
  bool IsAlive() const override { return is_alive; }
  pid_t pid() const override { return 4711; }
  ModelFacts facts() const override { return {}; }
  EngineCounters counters() const override {
    EngineCounters counters;
    counters.prompt_tokens_evaluated = 10;
    return counters;
  }
  void Stop(std::chrono::milliseconds) override {
    is_alive = false;
    if (!is_gone.exchange(true)) callbacks_.on_gone();
  }

  void FinishLoad(ModelFacts loaded = {}) {
    loaded.n_ctx_seq = launch.options.num_ctx;
    loaded.size_bytes = 1000;
    callbacks_.on_loaded(loaded);
  }
  void FailLoad(Error error) {
    callbacks_.on_loaded(Fail(std::move(error)));
    is_alive = false;
    if (!is_gone.exchange(true)) callbacks_.on_gone();
  }
  void Die() {
    is_alive = false;
    if (!is_gone.exchange(true)) callbacks_.on_gone();
  }

  const worker::Launch launch;
  std::atomic<bool> is_alive{true}, is_gone{false};
  std::atomic<int> n_computing{1}, n_parking{1};

 private:
  const worker::Launcher::Callbacks callbacks_;
};

class FakeLauncher final : public worker::Launcher {
 public:
  Result<std::shared_ptr<worker::Worker>> Start(const worker::Launch& launch,
                                                std::chrono::milliseconds,
                                                Callbacks callbacks) override {
    if (must_fail) return Fail(Code::kNotFound, "no such program");
    auto worker = std::make_shared<FakeWorker>(launch, std::move(callbacks));
    ++n_started;
    if (loads_at_once) worker->FinishLoad();
    started.Push(std::shared_ptr<FakeWorker>(worker));
    return std::shared_ptr<worker::Worker>(worker);
  }
  std::shared_ptr<FakeWorker> Next() {
    auto worker = started.Pop(Clock::now() + kPatience);
    EXPECT_TRUE(worker) << "no worker was started";
    return worker.value_or(nullptr);
  }
  BoundedQueue<std::shared_ptr<FakeWorker>> started{1000};
  std::atomic<bool> loads_at_once{true}, must_fail{false};
  std::atomic<int> n_started{0};
};

ModelRequest Model(const std::string& name) {
  ModelRequest request;
  request.name = name;
  request.model = "/blobs/" + name;
  return request;
}

ModelRequest VocabularyOf(const std::string& name) {
  ModelRequest request = Model(name);
  request.is_vocab_only = true;
  return request;
}

class SchedulerTest : public testing::Test {
 protected:
  void Make(Options options = {}) {
    scheduler_ = MakeScheduler(options, launcher_,
                               {.now = [this] { return Clock::time_point(now_.load()); },
                                .free_memory_bytes = [this] { return free_memory_.load(); }});
  }
  void Advance(std::chrono::nanoseconds time) {
    now_ = now_.load() + std::chrono::duration_cast<Clock::duration>(time);
    scheduler_->Poke();
  }
  void Ask(ModelRequest request, StopToken stop = {}) {
    scheduler_->Acquire(std::move(request), std::move(stop),
                        [this](Result<Lease> lease) { answers_.Push(std::move(lease)); });
  }
  Result<Lease> Answer() {
    auto answer = answers_.Pop(Clock::now() + kPatience);
    EXPECT_TRUE(answer) << "no answer came";
    if (!answer) return Fail(Code::kInternal, "no answer");
    return std::move(*answer);
  }
  Lease Get(ModelRequest request) {
    Ask(std::move(request));
    auto lease = Answer();
    EXPECT_TRUE(lease) << lease.error().message;
    return lease ? std::move(*lease) : Lease();
  }
  std::vector<std::string> LoadedNames() {
    std::vector<std::string> names;
    for (const LoadedModel& model : scheduler_->Loaded()) names.push_back(model.name);
    return names;
  }

  std::shared_ptr<FakeLauncher> launcher_ = std::make_shared<FakeLauncher>();
  std::atomic<Clock::duration> now_{seconds(1000)};
  std::atomic<std::int64_t> free_memory_{1LL << 40};
  BoundedQueue<Result<Lease>> answers_{10'000};
  std::unique_ptr<Scheduler> scheduler_;  // last: its end answers
};

TEST_F(SchedulerTest, LoadsAModelOnceForManyRequests) {
  Make();
  const Lease a = Get(Model("m"));
  const Lease b = Get(Model("m"));
  EXPECT_EQ(launcher_->n_started, 1);
  ASSERT_EQ(scheduler_->Loaded().size(), 1U);
  EXPECT_EQ(scheduler_->Loaded()[0].leases, 2);
}

TEST_F(SchedulerTest, RequestsForAModelThatIsLoadingShareTheLoad) {
  launcher_->loads_at_once = false;
  Make();
  for (int i = 0; i < 3; ++i) Ask(Model("m"));
  const auto worker = launcher_->Next();
  scheduler_->Poke();
  EXPECT_EQ(scheduler_->WaitingRequests(), 3);
  worker->FinishLoad();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Answer());
  EXPECT_EQ(launcher_->n_started, 1);
}

TEST_F(SchedulerTest, ModelsThatHaveWorkAtTheSameTimeAreToldSo) {
  Make();
  const Lease a = Get(Model("a"));
  const auto first = launcher_->Next();
  EXPECT_EQ(first->n_computing, 1);
  Lease b = Get(Model("b"));
  const auto second = launcher_->Next();
  EXPECT_EQ(first->n_computing, 2);
  EXPECT_EQ(second->n_computing, 2);
  b.Release();
  scheduler_->Loaded();  // answered after the release
  EXPECT_EQ(first->n_computing, 1);
}

TEST_F(SchedulerTest, ModelsInMemoryAreToldHowManyDivideTheBudgetForParkedPrefixes) {
  launcher_->loads_at_once = false;
  Make();
  Ask(Model("a"));
  const auto first = launcher_->Next();
  first->FinishLoad();
  Answer().value().Release();  // idle ones keep what they parked, and so are told, too
  Ask(Model("b"));
  const auto second = launcher_->Next();
  scheduler_->Loaded();  // answered after the load has begun
  EXPECT_EQ(first->n_parking, 2) << "before the other one has its memory";
  EXPECT_EQ(second->n_parking, 2);
  ModelFacts embeds;
  embeds.is_embedding = true;
  second->FinishLoad(embeds);
  const auto lease = Answer();
  EXPECT_EQ(first->n_parking, 1) << "a model that embeds parks nothing";
  Ask(VocabularyOf("c"));
  launcher_->Next()->FinishLoad();
  EXPECT_TRUE(Answer());
  EXPECT_EQ(first->n_parking, 1);
  Ask(Model("d"));
  const auto third = launcher_->Next();
  scheduler_->Loaded();
  EXPECT_EQ(first->n_parking, 2);
  third->Die();
  scheduler_->Loaded();
  EXPECT_EQ(first->n_parking, 1);
}

TEST_F(SchedulerTest, UnloadsAfterTheKeepAliveOfTheLastLease) {
  Make();
  {
    const Lease lease = Get(Model("m"));
    Advance(minutes(60));
    EXPECT_EQ(LoadedNames(), std::vector<std::string>{"m"})
        << "the clock does not run while leased";
  }
  scheduler_->Poke();
  Advance(minutes(4));
  EXPECT_EQ(LoadedNames(), std::vector<std::string>{"m"});
  Advance(minutes(1));
  EXPECT_TRUE(LoadedNames().empty());
}

TEST_F(SchedulerTest, KeepsTheKeepAliveOfTheLastRequestThatGaveOne) {
  Make();
  ModelRequest request = Model("m");
  request.keep_alive = minutes(10);
  Get(request).Release();
  Get(Model("m")).Release();
  scheduler_->Poke();
  Advance(minutes(9));
  EXPECT_EQ(LoadedNames().size(), 1U);
  Advance(minutes(1));
  EXPECT_TRUE(LoadedNames().empty());
}

TEST_F(SchedulerTest, KeepsForEver) {
  Make();
  ModelRequest request = Model("m");
  request.keep_alive = kForever;
  Get(request).Release();
  scheduler_->Poke();
  Advance(std::chrono::hours(24 * 365));
  ASSERT_EQ(scheduler_->Loaded().size(), 1U);
  EXPECT_TRUE(scheduler_->Loaded()[0].is_forever);
  EXPECT_EQ(scheduler_->Loaded()[0].expires_at, std::chrono::system_clock::time_point::max());
}

TEST_F(SchedulerTest, UnloadsAtOnceWithAKeepAliveOfZero) {
  Make();
  ModelRequest request = Model("m");
  request.keep_alive = seconds(0);
  Lease lease = Get(request);
  EXPECT_EQ(LoadedNames().size(), 1U);
  lease.Release();
  scheduler_->Poke();
  EXPECT_TRUE(LoadedNames().empty());
}

TEST_F(SchedulerTest, UnloadLetsRunningRequestsEnd) {
  Make();
  Lease lease = Get(Model("m"));
  scheduler_->Unload("/blobs/m");
  scheduler_->Poke();
  EXPECT_TRUE(launcher_->Next()->is_alive);
  lease.Release();
  scheduler_->Poke();
  EXPECT_TRUE(LoadedNames().empty());
}

TEST_F(SchedulerTest, AModelThatIsBeingUnloadedIsShownAndServesUntilItIsIdle) {
  Make();
  Lease running = Get(Model("m"));
  scheduler_->Unload("/blobs/m");
  scheduler_->Poke();
  EXPECT_EQ(LoadedNames(), std::vector<std::string>{"m"});
  const auto expires_at = scheduler_->Loaded()[0].expires_at;
  EXPECT_LE(expires_at, std::chrono::system_clock::now());
  Get(Model("m")).Release();
  EXPECT_EQ(launcher_->n_started, 1);
  running.Release();
  scheduler_->Poke();
  EXPECT_TRUE(LoadedNames().empty());
}

TEST_F(SchedulerTest, EvictsTheLongestIdleModelForAnother) {
  Make({.max_loaded_models = 2});
  Get(Model("a")).Release();
  scheduler_->Poke();
  Advance(seconds(1));
  Get(Model("b")).Release();
  scheduler_->Poke();
  Advance(seconds(1));
  Get(Model("a")).Release();  // now b is idle longer
  scheduler_->Poke();
  Advance(seconds(1));
  const Lease c = Get(Model("c"));
  EXPECT_EQ(LoadedNames().size(), 2U);
  for (const std::string& name : LoadedNames()) EXPECT_NE(name, "b");
}

TEST_F(SchedulerTest, EvictsWhatIsKeptForEverLast) {
  Make({.max_loaded_models = 2});
  ModelRequest kept = Model("kept");
  kept.keep_alive = kForever;
  Get(kept).Release();
  scheduler_->Poke();
  Advance(seconds(1));
  Get(Model("b")).Release();
  scheduler_->Poke();
  const Lease c = Get(Model("c"));
  EXPECT_EQ(LoadedNames().size(), 2U);
  for (const std::string& name : LoadedNames()) EXPECT_NE(name, "b");
}

TEST_F(SchedulerTest, WaitsForABusyModelsEndWhenAllPlacesAreTaken) {
  Make({.max_loaded_models = 1});
  Lease a = Get(Model("a"));
  Ask(Model("b"));
  scheduler_->Poke();
  EXPECT_EQ(scheduler_->WaitingRequests(), 1);
  a.Release();
  EXPECT_TRUE(Answer());
  EXPECT_EQ(LoadedNames(), std::vector<std::string>{"b"});
}

TEST_F(SchedulerTest, MakesRoomInMemoryFromIdleModels) {
  Make({.max_loaded_models = 10});
  Get(Model("a")).Release();
  scheduler_->Poke();
  free_memory_ = 1LL << 30;
  ModelRequest large = Model("large");
  large.file_bytes = 2LL << 30;
  const Lease lease = Get(large);
  EXPECT_EQ(LoadedNames(), std::vector<std::string>{"large"});
}

TEST_F(SchedulerTest, RefusesWithOllamasTextWhenTheQueueIsFull) {
  launcher_->loads_at_once = false;
  Make({.max_queue = 2});
  for (int i = 0; i < 3; ++i) Ask(Model("m"));
  auto refused = Answer();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kBusy);
  EXPECT_EQ(refused.error().message,
            "server busy, please try again.  maximum pending requests exceeded");
}

TEST_F(SchedulerTest, AnswersACancelledRequestAndGoesOnLoading) {
  launcher_->loads_at_once = false;
  Make();
  StopSource source;
  Ask(Model("m"), source.token());
  const auto worker = launcher_->Next();
  source.RequestStop(StopReason::kClientGone);
  auto cancelled = Answer();
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code, Code::kCancelled);
  worker->FinishLoad();
  EXPECT_TRUE(Get(Model("m")).facts().size_bytes > 0) << "the load was not thrown away";
  EXPECT_EQ(launcher_->n_started, 1);
}

TEST_F(SchedulerTest, AnswersAllWaitersOfAFailedLoadAndTriesAgainLater) {
  launcher_->loads_at_once = false;
  Make();
  for (int i = 0; i < 2; ++i) Ask(Model("m"));
  const auto worker = launcher_->Next();
  scheduler_->Poke();
  worker->FailLoad({Code::kCorrupt, "broken"});
  for (int i = 0; i < 2; ++i) {
    auto failed = Answer();
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().message, "broken");
  }
  launcher_->loads_at_once = true;
  EXPECT_EQ(Get(Model("m")).facts().size_bytes, 1000);
}

TEST_F(SchedulerTest, SaysThatTheWorkerProgramIsMissing) {
  launcher_->must_fail = true;
  Make();
  Ask(Model("m"));
  auto failed = Answer();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kNotFound);
}

TEST_F(SchedulerTest, StartsANewWorkerAfterOneDied) {
  Make();
  const Lease lease = Get(Model("m"));
  launcher_->Next()->Die();
  const Lease next = Get(Model("m"));
  EXPECT_EQ(launcher_->n_started, 2);
  EXPECT_TRUE(next.worker().IsAlive());
  EXPECT_EQ(scheduler_->TotalCounters().prompt_tokens_evaluated, 20)
      << "the dead one's counters stay in the sum";
}

TEST_F(SchedulerTest, ServesASmallerContextWithoutAReload) {
  Make({.default_num_ctx = 4096});
  EXPECT_EQ(Get(Model("m")).num_ctx(), 4096);
  ModelRequest small = Model("m");
  small.num_ctx = 256;
  EXPECT_EQ(Get(small).num_ctx(), 256);
  EXPECT_EQ(scheduler_->Loaded()[0].num_ctx, 256);
  EXPECT_EQ(launcher_->n_started, 1);
}

// The options of one request are no one else's: what is not named is the default again.
TEST_F(SchedulerTest, OptionsThatShowInTheAnswerOrItsSpeedDoNotOutliveTheirRequest) {
  const std::vector<std::pair<std::string, std::function<void(ModelRequest&)>>> named = {
      {"a smaller num_ctx", [](ModelRequest& r) { r.num_ctx = 256; }},
      {"num_thread", [](ModelRequest& r) { r.num_thread = 1; }},
      {"flash_attention", [](ModelRequest& r) { r.flash_attention = false; }},
      {"kv_cache_type", [](ModelRequest& r) { r.kv_cache_type = "q4_0"; }}};
  for (const auto& [what, name] : named) {
    Make({.default_num_ctx = 4096});
    launcher_->n_started = 0;
    ModelRequest request = Model("m");
    name(request);
    Get(request).Release();
    Get(request).Release();
    EXPECT_EQ(launcher_->n_started, 1) << what << ": the same again reloads nothing";
    EXPECT_EQ(Get(Model("m")).num_ctx(), 4096) << what;
    EXPECT_EQ(launcher_->n_started, 2) << what;
  }
}

TEST_F(SchedulerTest, WhatIsLoadedServesWhoeverNamesNoOtherPlaceOrBatch) {
  const std::vector<std::pair<std::string, std::function<void(ModelRequest&)>>> named = {
      {"a larger num_ctx", [](ModelRequest& r) { r.num_ctx = 8192; }},
      {"num_gpu", [](ModelRequest& r) { r.num_gpu = 0; }},
      {"main_gpu", [](ModelRequest& r) { r.main_gpu = 1; }},
      {"num_batch", [](ModelRequest& r) { r.num_batch = 64; }},
      {"use_mmap", [](ModelRequest& r) { r.use_mmap = false; }}};
  for (const auto& [what, name] : named) {
    Make({.default_num_ctx = 4096});
    launcher_->n_started = 0;
    ModelRequest request = Model("m");
    name(request);
    Get(request).Release();
    Get(Model("m")).Release();
    EXPECT_EQ(launcher_->n_started, 1) << what;
    scheduler_->Unload("/blobs/m");
    scheduler_->Loaded();
    Get(Model("m")).Release();
    Get(request).Release();
    EXPECT_EQ(launcher_->n_started, 3) << what << ": named, it is what is loaded";
  }
}

TEST_F(SchedulerTest, NamingTheDefaultReloadsNothing) {
  Make({.default_num_ctx = 4096, .flash_attention = true});
  Get(Model("m")).Release();
  ModelRequest request = Model("m");
  request.num_ctx = 4096;
  request.num_batch = 512;
  request.num_gpu = -1;
  request.main_gpu = -7;
  request.num_thread = 0;
  request.flash_attention = true;
  request.kv_cache_type = "f16";
  Get(request).Release();
  EXPECT_EQ(launcher_->n_started, 1);
}

TEST_F(SchedulerTest, ReloadsForALargerContextOnceIdle) {
  Make({.default_num_ctx = 1024});
  Lease old = Get(Model("m"));
  ModelRequest large = Model("m");
  large.num_ctx = 2048;
  Ask(large);
  scheduler_->Poke();
  EXPECT_EQ(launcher_->n_started, 1) << "the old one still answers";
  old.Release();
  auto lease = Answer();
  ASSERT_TRUE(lease);
  EXPECT_EQ(lease->num_ctx(), 2048);
  EXPECT_EQ(launcher_->n_started, 2);
}

TEST_F(SchedulerTest, ClampsTheContextToWhatTheModelWasTrainedFor) {
  Make();
  ModelRequest request = Model("m");
  request.num_ctx = 100'000;
  request.n_ctx_train = 512;
  EXPECT_EQ(Get(request).num_ctx(), 512);
  request.num_ctx = 1;
  EXPECT_EQ(Get(request).num_ctx(), 4);
}

TEST_F(SchedulerTest, ShutdownAnswersWhatWaitsAndStopsWorkers) {
  launcher_->loads_at_once = false;
  Make();
  Ask(Model("m"));
  launcher_->Next();
  scheduler_->Shutdown(seconds(1));
  auto refused = Answer();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kBusy);
  EXPECT_TRUE(scheduler_->Loaded().empty());
  Ask(Model("m"));
  EXPECT_FALSE(Answer());
}

TEST_F(SchedulerTest, AnswersEveryRequestOnceUnderLoad) {
  Make({.max_loaded_models = 2, .max_queue = 10'000});
  constexpr int kThreads = 4;
  constexpr int kRequests = 200;
  std::atomic<int> n_answers{0};
  {
    std::vector<std::jthread> clients;
    for (int t = 0; t < kThreads; ++t) {
      clients.emplace_back([&, t] {
        for (int i = 0; i < kRequests; ++i) {
          StopSource source;
          ModelRequest request = Model("m" + std::to_string((t + i) % 4));
          request.keep_alive = seconds(i % 3);
          scheduler_->Acquire(request, source.token(), [&](Result<Lease> lease) {
            ++n_answers;
            if (lease) lease->Release();
          });
          if (i % 5 == 0) source.RequestStop(StopReason::kClientGone);
        }
      });
    }
  }
  for (int i = 0; i < 1000 && n_answers < kThreads * kRequests; ++i) scheduler_->Poke();
  EXPECT_EQ(n_answers, kThreads * kRequests);
}

TEST_F(SchedulerTest, AVocabularyIsReadWithoutTheWeightsAndMakesNoModelGo) {
  Options options;
  options.max_loaded_models = 1;
  Make(options);
  { const Lease model = Get(Model("a")); }
  const auto loaded = launcher_->Next();
  const Lease vocabulary = Get(VocabularyOf("b"));
  EXPECT_TRUE(launcher_->Next()->launch.options.is_vocab_only);
  EXPECT_TRUE(loaded->is_alive);
  EXPECT_EQ(LoadedNames(), std::vector<std::string>{"a"});
}

TEST_F(SchedulerTest, ALoadedModelLendsItsVocabulary) {
  Make();
  { const Lease model = Get(Model("a")); }
  { const Lease vocabulary = Get(VocabularyOf("a")); }
  EXPECT_EQ(launcher_->n_started, 1);
}

TEST_F(SchedulerTest, AWorkerWithTheVocabularyAloneServesNoOtherRequest) {
  Make();
  const Lease vocabulary = Get(VocabularyOf("a"));
  const Lease model = Get(Model("a"));
  EXPECT_EQ(launcher_->n_started, 2);
  launcher_->Next();
  EXPECT_FALSE(launcher_->Next()->launch.options.is_vocab_only);
  EXPECT_EQ(LoadedNames(), std::vector<std::string>{"a"});
}

TEST_F(SchedulerTest, AsManyVocabulariesAsModelsMayBeLoaded) {
  Options options;
  options.max_loaded_models = 1;
  Make(options);
  { const Lease first = Get(VocabularyOf("a")); }
  const auto first = launcher_->Next();
  { const Lease second = Get(VocabularyOf("b")); }
  EXPECT_FALSE(first->is_alive);
  EXPECT_EQ(launcher_->n_started, 2);
}

TEST_F(SchedulerTest, UnloadTakesTheVocabularyToo) {
  Make();
  { const Lease vocabulary = Get(VocabularyOf("a")); }
  const auto worker = launcher_->Next();
  scheduler_->Unload("/blobs/a");
  scheduler_->Poke();
  EXPECT_FALSE(worker->is_alive);
}

}  // namespace
}  // namespace corral::scheduler
