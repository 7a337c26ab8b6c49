// Several threads submit, cancel and give credit in a random order: every job ends exactly once.
#include <atomic>
#include <random>
#include <thread>

#include "bench.h"

namespace corral::engine {
namespace {

using Random = std::minstd_rand;  // 32 bits

GenerateJob RandomJob(Random& random) {
  // Few beginnings, so that jobs share them.
  GenerateJob job =
      Greedy(Words(10 + static_cast<int>(random() % 60), static_cast<unsigned>(random() % 3)),
             static_cast<int>(random() % 40));
  if (random() % 4 == 0) job.sampling.temperature = 1.0F;
  if (random() % 4 == 0) job.sampling.stop = {"the", "sky"};
  if (random() % 5 == 0) job.num_ctx = 48;
  job.shift = random() % 3 != 0;
  if (random() % 6 == 0)
    job.format_json = R"({"type":"object","properties":{"a":{"type":"boolean"}}})";
  job.logprobs = random() % 5 == 0;
  return job;
}

void Stress(bool is_cut_short) {
  constexpr int kThreads = 4, kRounds = 25;
  Bench::Options options = Bench::Small(3, 96);
  options.initial_credit = 8;
  options.load.prefix_cache_bytes = 1 << 20;
  Bench bench(EndlessModel(), options);
  std::atomic<bool> is_over{false};
  std::atomic<int> n_embedded{0};
  std::mutex mutex;
  std::vector<JobId> ids;
  const auto some_id = [&](Random& random) {
    const std::lock_guard lock(mutex);
    return ids.empty() ? JobId{0} : ids[random() % ids.size()];
  };
  {
    std::vector<std::jthread> clients;
    for (unsigned t = 0; t < kThreads; ++t) {
      clients.emplace_back([&, t] {
        Random random(t);
        for (int i = 0; i < kRounds; ++i) {
          JobId id{};
          if (random() % 6 == 0) {
            EmbedJob embed;
            embed.texts = {Words(20, static_cast<unsigned>(random() % 5)), Words(5, 1)};
            id = bench.Submit(embed);
            ++n_embedded;
          } else {
            id = bench.Submit(RandomJob(random));
          }
          const std::lock_guard lock(mutex);
          ids.push_back(id);
        }
      });
    }
    clients.emplace_back([&] {
      Random random(99);
      for (int i = 0; i < kThreads * kRounds / 4; ++i) {
        bench.engine().Cancel(some_id(random));
        std::this_thread::yield();
      }
    });
  }
  if (is_cut_short) {
    bench.Destroy();
  } else {
    std::jthread creditor([&] {
      Random random(7);
      while (!is_over) {
        bench.engine().AddCredit(some_id(random), 50);
        std::this_thread::yield();
      }
    });
    for (const JobId id : ids) bench.Wait(id);
    is_over = true;
  }
  const auto stories = bench.All();
  for (const JobId id : ids) EXPECT_EQ(stories.at(id).n_last, 1) << static_cast<std::uint64_t>(id);
  if (!is_cut_short) {
    const EngineCounters counters = bench.engine().Counters();
    EXPECT_EQ(counters.jobs_waiting, 0);
    EXPECT_TRUE(bench.Run(Greedy("hello", 2)).IsFinished()) << "the engine is as good as new";
  }
}

TEST(EngineStress, EndsEveryJobOnceWhateverTheOrder) { Stress(false); }
TEST(EngineStress, EndsEveryJobOnceWhenItIsDestroyedInTheMiddle) { Stress(true); }

}  // namespace
}  // namespace corral::engine
