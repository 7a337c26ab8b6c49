// The server's side against a real child process with the fake engine.
#include "worker/process_worker.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "core/queue.h"
#include "worker/client.h"

namespace corral::worker {
namespace {

constexpr std::chrono::seconds kPatience{10};

class ProcessWorkerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("corral-worker-test-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / "model.gguf") << "GGUF";
    std::ofstream(folder_ / "broken.gguf") << "nothing";
  }
  void TearDown() override {
    launcher_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::shared_ptr<Worker> Start(const std::string& file = "model.gguf") {
    Launch launch;
    launch.program = CORRAL_FAKE_WORKER;
    launch.model = folder_ / file;
    launch.model_name = "test";
    auto worker = launcher_->Start(
        launch, kPatience,
        {.on_loaded = [this](Result<ModelFacts> facts) { loaded_.Push(std::move(facts)); },
         .on_gone = [this] { gone_.Push(1); },
         .on_progress = nullptr});
    EXPECT_TRUE(worker) << worker.error().message;
    return worker.value_or(nullptr);
  }
  std::shared_ptr<Worker> StartLoaded() {
    auto worker = Start();
    const auto facts = loaded_.Pop(Clock::now() + kPatience);
    EXPECT_TRUE(facts && *facts);
    return worker;
  }

  EventSink Sink() {
    return [this](JobEvent event) { events_.Push(std::move(event)); };
  }
  JobEvent Next() {
    auto event = events_.Pop(Clock::now() + kPatience);
    EXPECT_TRUE(event) << "nothing came";
    return event ? std::move(*event) : JobEvent(Error{});
  }
  JobEvent Last() {
    for (;;) {
      JobEvent event = Next();
      if (IsLast(event)) return event;
    }
  }

  static GenerateJob Say(std::string text, int n) {
    GenerateJob job;
    job.prompt.text = std::move(text);
    job.sampling.num_predict = n;
    return job;
  }

  std::filesystem::path folder_;
  BoundedQueue<Result<ModelFacts>> loaded_{16};
  BoundedQueue<int> gone_{16};
  BoundedQueue<JobEvent> events_{10'000};
  std::unique_ptr<Launcher> launcher_ = MakeProcessLauncher();
};

TEST_F(ProcessWorkerTest, AnswersAJobPieceByPiece) {
  const auto worker = StartLoaded();
  worker->Submit(Say("a b c", 3), Sink());
  std::string text;
  for (;;) {
    JobEvent event = Next();
    if (IsLast(event)) {
      EXPECT_TRUE(std::holds_alternative<Finish>(event));
      break;
    }
    text += std::get<Piece>(event).text;
  }
  EXPECT_EQ(text, "a b c");
  EXPECT_EQ(worker->counters().tokens_generated, 3) << "counters come before the last event";
}

TEST_F(ProcessWorkerTest, EmbedsBesideARunningStream) {
  const auto worker = StartLoaded();
  worker->Submit(Say("#hang", 1), [](JobEvent) {});
  EmbedJob job;
  job.texts = {"x", "y"};
  worker->Submit(job, Sink());
  const JobEvent event = Next();
  ASSERT_TRUE(std::holds_alternative<Embeddings>(event));
  EXPECT_EQ(std::get<Embeddings>(event).vectors.size(), 2U);
}

TEST_F(ProcessWorkerTest, SaysWhyAModelDoesNotLoad) {
  const auto worker = Start("broken.gguf");
  const auto facts = loaded_.Pop(Clock::now() + kPatience);
  ASSERT_TRUE(facts);
  ASSERT_FALSE(*facts);
  EXPECT_EQ(facts->error().code, Code::kCorrupt);
  EXPECT_TRUE(gone_.Pop(Clock::now() + kPatience));
}

TEST_F(ProcessWorkerTest, RefusesAMissingProgramOrModelAtOnce) {
  Launch launch;
  launch.program = folder_ / "no-such-program";
  launch.model = folder_ / "model.gguf";
  EXPECT_EQ(launcher_->Start(launch, kPatience, {}).error().code, Code::kNotFound);
  launch.program = CORRAL_FAKE_WORKER;
  launch.model = folder_ / "no-such-model";
  EXPECT_EQ(launcher_->Start(launch, kPatience, {}).error().code, Code::kNotFound);
}

TEST_F(ProcessWorkerTest, EndsEveryJobWithOllamasTextWhenTheWorkerIsKilled) {
  const auto worker = StartLoaded();
  for (int i = 0; i < 5; ++i) worker->Submit(Say("#hang", 1), Sink());
  ASSERT_EQ(::kill(worker->pid(), SIGKILL), 0);
  for (int i = 0; i < 5; ++i) {
    const JobEvent event = Last();
    ASSERT_TRUE(std::holds_alternative<Error>(event));
    EXPECT_EQ(std::get<Error>(event).code, Code::kInternal);
    EXPECT_TRUE(
        std::get<Error>(event).message.starts_with("model runner has unexpectedly stopped"));
  }
  EXPECT_TRUE(gone_.Pop(Clock::now() + kPatience));
  EXPECT_FALSE(worker->IsAlive());
  worker->Submit(Say("a", 1), Sink());
  EXPECT_TRUE(std::holds_alternative<Error>(Last())) << "a job for a dead worker is answered, too";
}

TEST_F(ProcessWorkerTest, EndsAJobWhoseWorkerAborts) {
  const auto worker = StartLoaded();
  worker->Submit(Say("one #crash", 5), Sink());
  const JobEvent event = Last();
  ASSERT_TRUE(std::holds_alternative<Error>(event));
  EXPECT_TRUE(std::get<Error>(event).message.starts_with("model runner has unexpectedly stopped"));
}

TEST_F(ProcessWorkerTest, CancelsAJob) {
  const auto worker = StartLoaded();
  const JobId id = worker->Submit(Say("#hang", 1), Sink());
  worker->Cancel(id);
  const JobEvent event = Last();
  ASSERT_TRUE(std::holds_alternative<Error>(event));
  EXPECT_EQ(std::get<Error>(event).code, Code::kCancelled);
}

TEST_F(ProcessWorkerTest, HoldsAJobBackWithoutCredit) {
  const auto worker = StartLoaded();
  const JobId id = worker->Submit(Say("a", kInitialCredit + 10), Sink());
  for (int i = 0; i < kInitialCredit; ++i) EXPECT_FALSE(IsLast(Next()));
  BoundedQueue<JobEvent> others(100);
  worker->Submit(Say("b", 1), [&](JobEvent event) { others.Push(std::move(event)); });
  EXPECT_TRUE(others.Pop(Clock::now() + kPatience)) << "another job goes on";
  EXPECT_EQ(events_.Size(), 0U);
  worker->AddCredit(id, 100);
  EXPECT_TRUE(std::holds_alternative<Finish>(Last()));
}

TEST_F(ProcessWorkerTest, StopsGracefullyAndIsReaped) {
  const auto worker = StartLoaded();
  worker->Submit(Say("#hang", 1), Sink());
  worker->Stop(kPatience);
  const JobEvent event = Last();
  ASSERT_TRUE(std::holds_alternative<Error>(event));
  EXPECT_EQ(std::get<Error>(event).code, Code::kBusy);
  EXPECT_EQ(std::get<Error>(event).message, "the model is being unloaded")
      << "the worker's own words: it did not crash";
  EXPECT_TRUE(gone_.Pop(Clock::now() + kPatience));
  EXPECT_EQ(::kill(worker->pid(), 0), -1) << "the process is gone";
}

TEST_F(ProcessWorkerTest, KillsAWorkerThatStopsInTheMiddleOfAFrame) {
  // `sh` speaks no frames, and writes half a one to the descriptor that would be the socket.
  const std::filesystem::path script = folder_ / "half-a-frame";
  std::ofstream(script) << "#!/bin/sh\nprintf '\\100\\000\\000\\000\\007x' >&3\nexec sleep 1000\n";
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  Launch launch;
  launch.program = script;
  launch.model = folder_ / "model.gguf";
  const auto worker = launcher_->Start(
      launch, std::chrono::milliseconds(200),
      {.on_loaded = [this](Result<ModelFacts> facts) { loaded_.Push(std::move(facts)); },
       .on_gone = [this] { gone_.Push(1); },
       .on_progress = nullptr});
  ASSERT_TRUE(worker) << worker.error().message;
  const auto facts = loaded_.Pop(Clock::now() + kPatience);
  ASSERT_TRUE(facts && !*facts);
  EXPECT_EQ(facts->error().code, Code::kDeadline);
  EXPECT_TRUE(gone_.Pop(Clock::now() + kPatience));
}

TEST_F(ProcessWorkerTest, KillsAWorkerThatDoesNotStopInTime) {
  const auto worker = StartLoaded();
  ASSERT_EQ(::kill(worker->pid(), SIGSTOP), 0);
  worker->Submit(Say("a", 1), Sink());
  worker->Stop(std::chrono::milliseconds(50));
  EXPECT_TRUE(std::holds_alternative<Error>(Last()));
  EXPECT_TRUE(gone_.Pop(Clock::now() + kPatience));
}

TEST_F(ProcessWorkerTest, EndsWhenItsServerIsGone) {
  const auto worker = StartLoaded();
  const pid_t pid = worker->pid();
  launcher_.reset();  // joins: the child was killed and reaped
  EXPECT_EQ(::kill(pid, 0), -1);
}

TEST_F(ProcessWorkerTest, HandsTheFilesOfAdaptersToTheWorker) {
  std::ofstream(folder_ / "one") << "GGUF";
  std::ofstream(folder_ / "two") << "GGUF";
  const auto worker = StartLoaded();
  GenerateJob job = Say("a", 3);
  job.adapters = {{folder_ / "one", 1}, {folder_ / "two", -0.5F}};
  worker->Submit(job, Sink());
  std::string text;
  for (JobEvent event = Next(); !IsLast(event); event = Next()) text += std::get<Piece>(event).text;
  EXPECT_EQ(text, "one*1 two*-0.5 a");
  EmbedJob embed;
  embed.adapters = {{folder_ / "one", 1}};
  worker->Submit(embed, Sink());
  EXPECT_TRUE(std::holds_alternative<Embeddings>(Last()));
}

TEST_F(ProcessWorkerTest, AJobWhoseAdapterIsBadOrGoneEndsAloneWithAnError) {
  const auto worker = StartLoaded();
  GenerateJob job = Say("a", 1);
  job.adapters = {{folder_ / "gone", 1}};
  worker->Submit(job, Sink());
  EXPECT_EQ(std::get<Error>(Last()).code, Code::kNotFound);
  job.adapters = {{folder_ / "broken.gguf", 1}};
  worker->Submit(job, Sink());
  EXPECT_EQ(std::get<Error>(Last()).code, Code::kCorrupt);
  job.adapters.resize(kMostAdapters + 1);
  worker->Submit(job, Sink());
  EXPECT_EQ(std::get<Error>(Last()).code, Code::kTooLarge);
  worker->Submit(Say("a", 1), Sink());
  EXPECT_TRUE(std::holds_alternative<Finish>(Last()));
}

TEST_F(ProcessWorkerTest, AnswersEveryJobOnceWhileWorkersDieUnderLoad) {
  for (int round = 0; round < 4; ++round) {
    const auto worker = StartLoaded();
    constexpr int kThreads = 4;
    constexpr int kJobs = 25;
    std::atomic<int> n_last{0};
    {
      std::vector<std::jthread> clients;
      for (int t = 0; t < kThreads; ++t) {
        clients.emplace_back([&] {
          for (int i = 0; i < kJobs; ++i) {
            worker->Submit(Say("a b", 4), [&](JobEvent event) { n_last += IsLast(event) ? 1 : 0; });
          }
        });
      }
      ::kill(worker->pid(), SIGKILL);
    }
    EXPECT_TRUE(gone_.Pop(Clock::now() + kPatience));
    EXPECT_EQ(n_last, kThreads * kJobs);
  }
}

}  // namespace
}  // namespace corral::worker
