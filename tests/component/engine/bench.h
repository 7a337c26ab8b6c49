// A work bench for tests: an engine on a model from memory, and its events, by job.
//
// Thread-safe. Everything waits with a bound and fails the test when it passes.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/files.h"
#include "engine/engine.h"
#include "engine/llama/format_processes.h"

namespace corral::engine {

inline constexpr std::chrono::seconds kPatience{60};

// All that a job was told.
struct Story {
  std::string text, thinking;
  std::vector<ToolCall> tool_calls;
  std::vector<TokenLogprob> logprobs;
  std::vector<Piece> pieces;  // as they came
  int n_pieces = 0;
  int n_last = 0;  // must be 1
  JobEvent last = Error{Code::kInternal, "no last event came"};

  bool IsFinished() const { return std::holds_alternative<Finish>(last); }
  Finish finish() const { return IsFinished() ? std::get<Finish>(last) : Finish{}; }
  Error error() const {
    return std::holds_alternative<Error>(last) ? std::get<Error>(last) : Error{};
  }
};

class Bench {
 public:
  struct Options {
    LoadOptions load;
    int initial_credit = 1 << 20;
    std::string projector = {};  // its bytes; empty: none
  };
  static Options Small(int n_slots = 4, int num_ctx = 512);
  explicit Bench(const std::string& model_bytes, Options options = Small());
  ~Bench() { engine_.reset(); }

  static Result<std::unique_ptr<Engine>> Load(const std::string& model_bytes, EngineConfig config,
                                              const std::string& projector_bytes = {});

  Engine& engine() { return *engine_; }
  void Destroy() { engine_.reset(); }

  // The file of an adapter that jobs may name from now on.
  void AddAdapter(const std::string& file, std::string bytes);

  JobId Submit(GenerateJob job);
  JobId Submit(EmbedJob job);
  JobId Submit(TokenJob job);
  // Blocks until the job has ended.
  Story Wait(JobId id);
  Story Run(GenerateJob job) { return Wait(Submit(std::move(job))); }
  // Blocks until the job has had so many pieces, or has ended.
  void WaitForPieces(JobId id, int n_pieces);
  Story Now(JobId id);
  std::map<JobId, Story> All();

 private:
  JobId NextId();
  AdapterFiles FilesOf(const std::vector<AdapterUse>& adapters) const;
  bool WaitUntil(std::unique_lock<std::mutex>& lock, const std::function<bool()>& condition);

  std::mutex mutex_;
  std::condition_variable event_;
  std::map<JobId, Story> stories_;               // guarded by mutex_
  std::uint64_t next_id_ = 1;                    // guarded by mutex_
  std::map<std::string, std::string> adapters_;  // set before the jobs that name them
  std::atomic<Engine*> asked_{nullptr};          // engine_, also while it is being destroyed
  std::unique_ptr<Engine> engine_;               // last: its threads tell stories until it is gone
};

// A file in memory. Invalid if there is none.
UniqueFd FileWith(const std::string& bytes);

// The processes of all benches.
FormatProcesses& Formatters();

// Whether two greedy answers are the same, as far as arithmetic can be: the sums of a batch depend
// on what else is in it, so where the best two tokens are about equal either may win, and the rest
// is another story.
void ExpectSameAnswer(const Story& a, const Story& b);

// A greedy job, with the two best scores of each token.
GenerateJob Greedy(std::string prompt, int num_predict);
// So many words, the same for the same seed, about a token each.
std::string Words(int n, unsigned seed);

const std::string& ChatModel();     // tiny llama with ChatML that never ends by itself
const std::string& EndlessModel();  // tiny llama that never ends by itself

}  // namespace corral::engine
