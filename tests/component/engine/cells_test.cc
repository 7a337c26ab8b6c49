// How far up in the cells a running stream stands: attention works through all below, so idle cells
// there would slow it down. Looked at in llama.cpp's own books, on the engine's thread.
#include <llama-kv-cache.h>
#include <llama.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <vector>

#include "bench.h"
#include "engine/llama/generator.h"

namespace corral::engine {
namespace {

class EngineCells : public ::testing::Test {
 protected:
  static constexpr int kCredit = 4;

  EngineCells() : file_(FileWith(EndlessModel())), cores_(1, true) {
    config_.options = Bench::Small(2, 2048).load;
    config_.initial_credit = kCredit;
    config_.sink = [this](JobId id, JobEvent event) {
      const std::lock_guard lock(mutex_);
      Seen& seen = seen_[id];
      if (IsLast(event)) {
        seen.is_finished = std::holds_alternative<Finish>(event);
        seen.has_ended = true;
      } else {
        seen.highest.push_back(HighestCell());
      }
      event_.notify_all();
    };
    InstallLlamaLog();
    model_ = LoadedModel::Load(file_.get(), config_.options, [](float) { return true; }).value();
    generator_ = Generator::Create(*model_, nullptr, config_, cores_).value();
  }

  JobId Submit(const std::string& text, int num_predict) {
    auto prepared = std::make_unique<PreparedJob>();
    prepared->id = JobId{++n_jobs_};
    prepared->job = Greedy(text, num_predict);
    prepared->job.num_ctx = 2048;
    prepared->prompt.tokens = model_->Tokenize(text, true, false).value();
    prepared->sampler =
        Sampler::Create(*model_, prepared->job.sampling, prepared->prompt, 2048).value();
    const JobId id = prepared->id;
    generator_->Submit(std::move(prepared));
    return id;
  }
  void WaitForPieces(JobId id, std::size_t n) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(event_.wait_for(lock, kPatience, [&] { return seen_[id].highest.size() >= n; }));
  }
  void GoOnToTheEnd(JobId id) {
    generator_->AddCredit(id, 1'000);
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(event_.wait_for(lock, kPatience, [&] { return seen_[id].has_ended; }));
    EXPECT_TRUE(seen_[id].is_finished);
  }
  // Cells up to the highest that was used when the job's piece came.
  std::size_t HighestAt(JobId id, std::size_t piece) {
    const std::lock_guard lock(mutex_);
    return seen_[id].highest.at(piece);
  }

 private:
  struct Seen {
    std::vector<std::size_t> highest;
    bool has_ended = false, is_finished = false;
  };

  std::size_t HighestCell() const {
    const auto* cache =
        dynamic_cast<const llama_kv_cache*>(llama_get_memory(generator_->context()));
    return cache == nullptr ? 0 : cache->get_cells(0).used_max_p1();
  }

  std::mutex mutex_;
  std::condition_variable event_;
  std::map<JobId, Seen> seen_;  // guarded by mutex_
  std::uint64_t n_jobs_ = 0;
  UniqueFd file_;
  EngineConfig config_;
  Cores cores_;
  std::unique_ptr<LoadedModel> model_;
  std::unique_ptr<Generator> generator_;  // last: its thread uses all of these
};

TEST_F(EngineCells, AFinishedConversationIsParkedWhenAnotherBegins) {
  const JobId idle = Submit(Words(1'500, 1), 2);
  GoOnToTheEnd(idle);
  EXPECT_GT(HighestAt(idle, 1), 1'500U) << "else the test could not fail";
  const JobId stream = Submit(Words(20, 2), 4);
  GoOnToTheEnd(stream);
  for (std::size_t piece = 0; piece < 4; ++piece) EXPECT_LT(HighestAt(stream, piece), 64U);
}

TEST_F(EngineCells, AStreamComesDownWhenALongOneBelowItHasEnded) {
  const JobId below = Submit(Words(1'500, 1), 8);
  WaitForPieces(below, kCredit);
  const JobId stream = Submit(Words(20, 2), 16);
  WaitForPieces(stream, kCredit);
  EXPECT_GT(HighestAt(stream, kCredit - 1), 1'500U) << "else the test could not fail";
  GoOnToTheEnd(below);
  GoOnToTheEnd(stream);
  EXPECT_LT(HighestAt(stream, 15), 64U);
}

}  // namespace
}  // namespace corral::engine
