#include "engine/fake_engine.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <future>
#include <mutex>

#include "core/files.h"
#include "core/queue.h"

namespace corral::engine {
namespace {

UniqueFd FileWith(std::string_view bytes) {
  UniqueFd fd(::memfd_create("model", MFD_CLOEXEC));
  EXPECT_EQ(::write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  return fd;
}

struct Heard {
  JobId id;
  JobEvent event;
};

class FakeEngineTest : public testing::Test {
 protected:
  void SetUp() override {
    const UniqueFd model = FileWith("GGUF");
    EngineConfig config;
    config.sink = [this](JobId id, JobEvent event) { heard_.Push(Heard{id, std::move(event)}); };
    config.initial_credit = 4;
    auto engine = MakeFakeEngine({.model = model.get(), .projectors = {}}, std::move(config));
    ASSERT_TRUE(engine) << engine.error().message;
    engine_ = std::move(*engine);
  }

  Heard Next() {
    auto heard = heard_.Pop(Clock::now() + std::chrono::seconds(10));
    EXPECT_TRUE(heard) << "nothing came";
    return heard.value_or(Heard{JobId{}, Error{}});
  }

  BoundedQueue<Heard> heard_{1000};
  std::unique_ptr<Engine> engine_;
};

GenerateJob Say(std::string text, int n) {
  GenerateJob job;
  job.prompt.text = std::move(text);
  job.sampling.num_predict = n;
  return job;
}

TEST_F(FakeEngineTest, SaysWhichAdaptersAJobHas) {
  GenerateJob job = Say("one two", 3);
  job.adapters = {{"a", 0.5F}, {"b", 0}, {"c", 1}};
  AdapterFiles files;
  for (int i = 0; i < 3; ++i) files.push_back(FileWith("GGUF"));
  engine_->Submit(JobId{1}, job, std::move(files));
  std::string text;
  for (Heard heard = Next(); !IsLast(heard.event); heard = Next())
    text += std::get<Piece>(heard.event).text;
  EXPECT_EQ(text, "a*0.5 c*1 one");

  files.clear();
  for (int i = 0; i < 3; ++i) files.push_back(FileWith("none"));
  engine_->Submit(JobId{2}, job, std::move(files));
  EXPECT_EQ(std::get<Error>(Next().event).code, Code::kCorrupt);
}

TEST_F(FakeEngineTest, RepeatsTheWordsOfThePrompt) {
  engine_->Submit(JobId{1}, Say("one two", 3), {});
  std::string text;
  for (;;) {
    Heard heard = Next();
    if (auto* piece = std::get_if<Piece>(&heard.event)) {
      text += piece->text;
      continue;
    }
    ASSERT_TRUE(std::holds_alternative<Finish>(heard.event));
    EXPECT_EQ(std::get<Finish>(heard.event).reason, DoneReason::kLength);
    EXPECT_EQ(std::get<Finish>(heard.event).eval_tokens, 3);
    break;
  }
  EXPECT_EQ(text, "one two one");
}

TEST_F(FakeEngineTest, StopsSayingAnythingWithoutCredit) {
  engine_->Submit(JobId{1}, Say("a", 6), {});
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(std::holds_alternative<Piece>(Next().event));
  engine_->Submit(JobId{2}, Say("", 1), {});
  EXPECT_EQ(Next().id, JobId{2}) << "job 1 has no credit left";
  engine_->AddCredit(JobId{1}, 10);
  EXPECT_EQ(Next().id, JobId{1});
}

TEST_F(FakeEngineTest, EndsACancelledJobOnce) {
  engine_->Submit(JobId{1}, Say("#hang", 1), {});
  engine_->Cancel(JobId{1});
  const Heard heard = Next();
  ASSERT_TRUE(std::holds_alternative<Error>(heard.event));
  EXPECT_EQ(std::get<Error>(heard.event).code, Code::kCancelled);
  engine_.reset();
  EXPECT_EQ(heard_.Size(), 0U);
}

TEST(FakeEngine, RefusesAFileThatIsNoModel) {
  const UniqueFd model = FileWith("GGML");
  const auto engine = MakeFakeEngine({.model = model.get(), .projectors = {}}, {});
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace corral::engine
