// Tasks in real processes, done by the fake worker.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/files.h"
#include "worker/task.h"

namespace corral::worker {
namespace {

class ProcessTaskTest : public testing::Test {
 protected:
  ProcessTaskTest() {
    char name[] = "/tmp/corral-task-XXXXXX";
    folder_ = ::mkdtemp(name);
    std::ofstream(folder_ / "in.gguf") << "GGUF, more or less";
    output_.Reset(::open((folder_ / "out.gguf").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  }
  ~ProcessTaskTest() override { std::filesystem::remove_all(folder_); }

  Status Quantize(const std::string& file_type, StopToken stop = {}) {
    TaskLaunch launch;
    launch.task.kind = Task::Kind::kQuantize;
    launch.task.file_type = file_type;
    launch.inputs = {folder_ / "in.gguf"};
    launch.output_fd = output_.get();
    return runner_->Run(
        launch,
        [this](float fraction) {
          progress_.push_back(fraction);
          if (on_progress_) on_progress_();
        },
        std::move(stop));
  }

  std::filesystem::path folder_;
  UniqueFd output_;
  std::vector<float> progress_;
  std::function<void()> on_progress_;
  const std::unique_ptr<TaskRunner> runner_ = MakeProcessTaskRunner(CORRAL_FAKE_WORKER);
};

TEST_F(ProcessTaskTest, FillsTheOutputAndTellsOfItsProgress) {
  const Status done = Quantize("Q8_0");
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(progress_, (std::vector<float>{0.0F, 1.0F}));
  std::ifstream file(folder_ / "out.gguf");
  std::string text;
  std::getline(file, text);
  EXPECT_EQ(text, "GGUF, more or less");
}

TEST_F(ProcessTaskTest, SaysWhyATaskWasRefused) {
  const Status done = Quantize("REFUSE");
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kInvalidArgument);
  EXPECT_EQ(done.error().message, "refused, as asked");
}

TEST_F(ProcessTaskTest, SurvivesAWorkerThatAborts) {
  const Status done = Quantize("CRASH");
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kInternal);
}

TEST_F(ProcessTaskTest, EndsAWorkerWhoseTaskNobodyWantsAnyMore) {
  StopSource stop;
  on_progress_ = [&stop] { stop.RequestStop(StopReason::kClientGone); };
  const Status done = Quantize("HANG", stop.token());
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kCancelled);
}

TEST_F(ProcessTaskTest, SaysThatAnInputIsNotThere) {
  std::filesystem::remove(folder_ / "in.gguf");
  const Status done = Quantize("Q8_0");
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Code::kNotFound);
}

}  // namespace
}  // namespace corral::worker
