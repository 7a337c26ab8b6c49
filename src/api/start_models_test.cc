#include "api/start_models.h"

#include <gmock/gmock.h>

#include <thread>

#include "api/native/handler_test.h"

namespace corral::api {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

// Pauses are recorded, and what a test wants to happen meanwhile does.
class StartModelsTest : public HandlerTest {
 protected:
  void Run(std::vector<std::string> preload, std::vector<std::string> pull = {}) {
    settings_.preload = std::move(preload);
    settings_.pull = std::move(pull);
    StartModels::Surroundings surroundings;
    surroundings.pause = [this](nanoseconds pause, const StopToken&) {
      pauses_.push_back(std::chrono::duration_cast<seconds>(pause));
      if (on_pause_) on_pause_();
    };
    surroundings.pull = [this](const models::ModelName& name, const StopToken&,
                               const std::function<void(std::string)>& say) -> Status {
      pulled_.push_back(name.Short());
      say("pulling 123: 34%");
      while_pulling_ = WhyNot();
      if (pull_error_) return Fail(*pull_error_);
      AddModel(name.Short());
      return {};
    };
    StartModels models(services(), std::move(surroundings));
    before_ = readiness_.WhyNot().value_or("ready");
    models.Run(stop_.token());
  }
  std::string WhyNot() const { return readiness_.WhyNot().value_or("ready"); }

  StopSource stop_;
  std::vector<seconds> pauses_;
  std::function<void()> on_pause_;
  std::string before_;
  std::vector<std::string> pulled_;
  std::string while_pulling_;
  std::optional<Error> pull_error_;
};

TEST_F(StartModelsTest, AServerThatIsToldNothingIsReady) {
  Run({});
  EXPECT_EQ(before_, "ready");
  EXPECT_TRUE(pauses_.empty());
}

TEST_F(StartModelsTest, LoadsTheModelsAndGivesTheLeasesBack) {
  AddModel("tiny");
  AddModel("vectors", /*is_embedding=*/true);
  Run({"tiny", "vectors"});
  EXPECT_EQ(before_, "not ready: load tiny: waiting; load vectors: waiting");
  EXPECT_EQ(WhyNot(), "ready");
  ASSERT_EQ(scheduler_.requests.size(), 2U);
  EXPECT_EQ(scheduler_.requests[0].name, "tiny:latest");
  EXPECT_TRUE(scheduler_.requests[1].is_embedding);
  EXPECT_EQ(scheduler_.n_leases, 0);
}

TEST_F(StartModelsTest, WaitsForAModelThatComesLaterAndLoadsTheOthersMeanwhile) {
  AddModel("tiny");
  std::string while_waiting;
  on_pause_ = [&] {
    while_waiting = WhyNot();
    if (pauses_.size() == 7) AddModel("late");
  };
  Run({"late", "tiny"});
  EXPECT_EQ(while_waiting, "not ready: load late: the model is not there: pull or create it");
  EXPECT_THAT(pauses_, ElementsAre(seconds(1), seconds(2), seconds(4), seconds(8), seconds(16),
                                   seconds(30), seconds(30)));
  EXPECT_EQ(WhyNot(), "ready");
}

TEST_F(StartModelsTest, TriesALoadThatFailedAgain) {
  AddModel("tiny");
  scheduler_.error = Error{Code::kNoMemory, "not enough memory"};
  on_pause_ = [&] {
    EXPECT_EQ(WhyNot(), "not ready: load tiny: not enough memory");
    scheduler_.error.reset();
  };
  Run({"tiny"});
  EXPECT_EQ(pauses_.size(), 1U);
  EXPECT_EQ(WhyNot(), "ready");
}

TEST_F(StartModelsTest, SaysEachCauseOnce) {
  on_pause_ = [&] {
    if (pauses_.size() == 3) stop_.RequestStop(StopReason::kShutdown);
  };
  ::testing::internal::CaptureStderr();
  Run({"absent"});
  const std::string log = ::testing::internal::GetCapturedStderr();
  const auto first = log.find("cannot load absent at start");
  ASSERT_NE(first, std::string::npos) << log;
  EXPECT_EQ(log.find("cannot load absent at start", first + 1), std::string::npos) << log;
}

TEST_F(StartModelsTest, RemindsOfACauseThatLasts) {
  on_pause_ = [&] {
    if (pauses_.size() == 11) stop_.RequestStop(StopReason::kShutdown);
  };
  ::testing::internal::CaptureStderr();
  Run({"absent"});
  const std::string log = ::testing::internal::GetCapturedStderr();
  const auto first = log.find("cannot load absent at start");
  ASSERT_NE(first, std::string::npos) << log;
  EXPECT_NE(log.find("cannot load absent at start", first + 1), std::string::npos) << log;
}

TEST_F(StartModelsTest, AModelThatTheRegistryDoesNotHaveIsAskedForByName) {
  pull_error_ = Error{Code::kNotFound, "pull model manifest: file does not exist"};
  on_pause_ = [&] { stop_.RequestStop(StopReason::kShutdown); };
  ::testing::internal::CaptureStderr();
  Run({}, {"lama3.2"});
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("is the name in CORRAL_PULL right?"), std::string::npos) << log;
  EXPECT_EQ(WhyNot(), "not ready: pull lama3.2: pull model manifest: file does not exist");
}

TEST_F(StartModelsTest, NeverGetsReadyForWhatIsNoName) {
  Run({"a b"});
  EXPECT_EQ(WhyNot(), "not ready: load a b: not a name of a model");
  EXPECT_TRUE(pauses_.empty());
}

TEST_F(StartModelsTest, PullsWhatIsNotThereAndThenLoadsIt) {
  AddModel("there");
  Run({"new"}, {"there", "new:latest"});
  EXPECT_EQ(before_, "not ready: load new: waiting; pull new:latest: waiting; pull there: waiting");
  EXPECT_THAT(pulled_, ElementsAre("new:latest"));
  EXPECT_EQ(while_pulling_, "not ready: load new: waiting; pull new:latest: pulling 123: 34%");
  EXPECT_TRUE(pauses_.empty());
  EXPECT_EQ(scheduler_.requests.size(), 1U);
  EXPECT_EQ(WhyNot(), "ready");
}

TEST_F(StartModelsTest, ARegistryThatIsAwayIsAskedAgain) {
  pull_error_ = Error{Code::kUpstream, "connection refused"};
  on_pause_ = [&] {
    EXPECT_EQ(WhyNot(), "not ready: pull new: connection refused");
    if (pauses_.size() == 3) pull_error_.reset();
  };
  ::testing::internal::CaptureStderr();
  Run({}, {"new"});
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("cannot pull new at start; trying again until it works"), std::string::npos)
      << log;
  EXPECT_EQ(pulled_.size(), 4U);
  EXPECT_EQ(WhyNot(), "ready");
}

TEST_F(StartModelsTest, StopsAtShutdown) {
  on_pause_ = [&] { stop_.RequestStop(StopReason::kShutdown); };
  Run({"absent"});
  EXPECT_EQ(pauses_.size(), 1U);
}

TEST_F(StartModelsTest, TheRealPauseEndsWithTheToken) {
  settings_.preload = {"absent"};
  StartModels models(services());
  const std::jthread stopper([this] { stop_.RequestStop(StopReason::kShutdown); });
  models.Run(stop_.token());
  EXPECT_NE(WhyNot(), "ready");
}

}  // namespace
}  // namespace corral::api
