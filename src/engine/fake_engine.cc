#include "engine/fake_engine.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <sstream>
#include <string_view>
#include <thread>
#include <utility>

#include "core/files.h"
#include "core/stop.h"
#include "engine/text_filter.h"

namespace corral::engine {
namespace {

constexpr int kDefaultPredict = 16;
constexpr std::size_t kEmbeddingSize = 8;
constexpr std::chrono::milliseconds kSlowPiece{20};

std::vector<std::string> Words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

bool IsGguf(int fd) {
  char magic[4] = {};
  return ::pread(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
         std::string_view(magic, sizeof(magic)) == "GGUF";
}

Status CheckAdapters(const AdapterFiles& adapters) {
  for (const UniqueFd& file : adapters) {
    if (!IsGguf(file.get())) return Fail(Code::kCorrupt, "unable to load adapter: not a GGUF file");
  }
  return {};
}

class FakeEngine final : public Engine {
 public:
  FakeEngine(EngineConfig config) : config_(std::move(config)), thread_([this] { Run(); }) {}

  ~FakeEngine() override {
    {
      const std::lock_guard lock(mutex_);
      is_stopping_ = true;
    }
    event_.notify_all();
  }

  ModelFacts facts() const override {
    ModelFacts facts;
    facts.n_ctx_train = 4096;
    facts.n_ctx_seq = std::min(config_.options.num_ctx, 4096);
    facts.n_slots = std::max(config_.options.n_slots, 4);
    facts.n_embd = kEmbeddingSize;
    facts.n_vocab = 1000;
    facts.n_threads = 1;
    facts.has_chat_template = true;
    facts.size_bytes = 1'000'000;
    return facts;
  }

  void Submit(JobId id, GenerateJob job, AdapterFiles adapters) override {
    if (const Status status = CheckAdapters(adapters); !status) {
      config_.sink(id, status.error());
      return;
    }
    std::string text;
    for (const AdapterUse& adapter : job.adapters) {
      if (adapter.scale == 0) continue;
      std::ostringstream word;
      word << adapter.file.substr(adapter.file.rfind('/') + 1) << '*' << adapter.scale << ' ';
      text += word.str();
    }
    text += job.prompt.text;
    for (const ChatMessage& message : job.prompt.messages) text += " " + message.content;
    {
      const std::lock_guard lock(mutex_);
      Running running{Words(text),
                      TextFilter(job.sampling.stop),
                      std::move(job),
                      config_.initial_credit,
                      0,
                      false,
                      {}};
      jobs_.emplace(id, std::move(running));
    }
    event_.notify_all();
  }

  void Submit(JobId id, EmbedJob job, AdapterFiles adapters) override {
    if (const Status status = CheckAdapters(adapters); !status) {
      config_.sink(id, status.error());
      return;
    }
    Embeddings result;
    if (job.rerank_query) {  // the share of the query's words that a document has
      for (const std::string& text : job.texts) {
        const std::vector<std::string> words = Words(text);
        const std::vector<std::string> wanted = Words(*job.rerank_query);
        result.prompt_tokens += static_cast<std::int64_t>(words.size() + wanted.size());
        const auto n_found = std::count_if(wanted.begin(), wanted.end(), [&](const auto& word) {
          return std::find(words.begin(), words.end(), word) != words.end();
        });
        result.vectors.push_back({static_cast<float>(n_found)});
      }
      config_.sink(id, std::move(result));
      return;
    }
    for (const std::string& text : job.texts) {
      std::vector<float> vector(kEmbeddingSize, 0.0F);
      for (const std::string& word : Words(text)) {
        vector[std::hash<std::string>{}(word) % kEmbeddingSize] += 1.0F;
        ++result.prompt_tokens;
      }
      vector[0] += 1.0F;
      result.vectors.push_back(std::move(vector));
    }
    {
      const std::lock_guard lock(mutex_);
      counters_.prompt_tokens_evaluated += result.prompt_tokens;
    }
    config_.sink(id, std::move(result));
  }

  // A token is a byte.
  void Submit(JobId id, TokenJob job) override {
    TokenText result;
    if (job.is_detokenize) {
      for (const Token token : job.tokens) {
        if (token < 0 || token > 255) {
          config_.sink(id, Error{Code::kInvalidArgument,
                                 "token " + std::to_string(token) +
                                     " is not in the model's vocabulary of 256 tokens"});
          return;
        }
        result.text.push_back(static_cast<char>(token));
      }
    } else {
      for (const char c : job.text) result.tokens.push_back(static_cast<unsigned char>(c));
    }
    config_.sink(id, std::move(result));
  }

  void Cancel(JobId id) override {
    {
      const std::lock_guard lock(mutex_);
      if (const auto job = jobs_.find(id); job != jobs_.end()) job->second.is_cancelled = true;
    }
    event_.notify_all();
  }

  void AddCredit(JobId id, int pieces) override {
    {
      const std::lock_guard lock(mutex_);
      if (const auto job = jobs_.find(id); job != jobs_.end()) job->second.credit += pieces;
    }
    event_.notify_all();
  }

  void SetSharers(Sharers) override {}

  EngineCounters Counters() const override {
    const std::lock_guard lock(mutex_);
    EngineCounters counters = counters_;
    counters.jobs_running = static_cast<std::int64_t>(jobs_.size());
    return counters;
  }

 private:
  struct Running {
    std::vector<std::string> words;
    TextFilter filter;
    GenerateJob job;
    int credit = 0;
    int n_generated = 0;
    bool is_cancelled = false;
    std::chrono::steady_clock::time_point not_before;
    bool has_prompt = false;
  };

  void Run() {
    std::unique_lock lock(mutex_);
    while (!is_stopping_) {
      auto next_look = std::chrono::steady_clock::time_point::max();
      bool has_moved = false;
      for (auto job = jobs_.begin(); job != jobs_.end();) {
        const JobId id = job->first;
        std::vector<JobEvent> events;
        has_moved |= Step(job->second, &events, &next_look);
        const bool has_ended = !events.empty() && IsLast(events.back());
        job = has_ended ? jobs_.erase(job) : std::next(job);
        lock.unlock();
        for (JobEvent& event : events) config_.sink(id, std::move(event));
        lock.lock();
        if (!has_ended) job = jobs_.upper_bound(id);  // others may have come or gone meanwhile
      }
      if (has_moved) continue;
      if (next_look == std::chrono::steady_clock::time_point::max()) {
        event_.wait(lock);
      } else {
        event_.wait_until(lock, next_look);
      }
    }
    const std::map<JobId, Running> left = std::exchange(jobs_, {});
    lock.unlock();  // the sink may ask for the counters
    for (const auto& [id, job] : left)
      config_.sink(id, Error{Code::kCancelled, "the model is being unloaded"});
  }

  // One word further. True if something happened.
  bool Step(Running& running, std::vector<JobEvent>* events,
            std::chrono::steady_clock::time_point* next_look) {
    if (running.is_cancelled) {
      events->push_back(Error{Code::kCancelled, "request canceled"});
      return true;
    }
    if (!running.has_prompt) {
      running.has_prompt = true;
      counters_.prompt_tokens_evaluated += static_cast<std::int64_t>(running.words.size());
    }
    const int asked = running.job.sampling.num_predict;
    const int most = asked < 0 ? kDefaultPredict : asked;
    if (running.words.empty() || running.n_generated >= most) {
      End(running, DoneReason::kLength, events);
      return true;
    }
    if (running.credit <= 0) return false;
    const std::string& word =
        running.words[static_cast<std::size_t>(running.n_generated) % running.words.size()];
    if (word == "#crash") std::abort();
    if (word == "#hang") return false;
    const auto now = std::chrono::steady_clock::now();
    if (now < running.not_before) {
      *next_look = std::min(*next_look, running.not_before);
      return false;
    }
    if (std::find(running.words.begin(), running.words.end(), "#slow") != running.words.end()) {
      running.not_before = now + kSlowPiece;
    }
    ++running.n_generated;
    ++counters_.tokens_generated;
    Piece piece;
    piece.text = running.filter.Add((running.n_generated > 1 ? " " : "") + word);
    if (!piece.text.empty()) {
      --running.credit;
      events->push_back(std::move(piece));
    }
    if (running.filter.HasStopped()) End(running, DoneReason::kStop, events);
    return true;
  }

  static void End(Running& running, DoneReason reason, std::vector<JobEvent>* events) {
    if (std::string rest = running.filter.Flush(); !rest.empty())
      events->push_back(Piece{std::move(rest), {}, {}, {}});
    Finish finish;
    finish.reason = reason;
    finish.prompt_tokens = static_cast<std::int64_t>(running.words.size());
    finish.eval_tokens = running.n_generated;
    finish.prompt_eval_time = std::chrono::nanoseconds(1000);
    finish.eval_time = std::chrono::nanoseconds(1000);
    if (running.job.want_context) finish.context = {1, 2, 3};
    events->push_back(std::move(finish));
  }

  const EngineConfig config_;
  mutable std::mutex mutex_;
  std::condition_variable event_;
  std::map<JobId, Running> jobs_;  // guarded by mutex_
  EngineCounters counters_;        // guarded by mutex_
  bool is_stopping_ = false;       // guarded by mutex_
  std::jthread thread_;
};

}  // namespace

Result<std::unique_ptr<Engine>> MakeFakeEngine(const ModelFiles& files, EngineConfig config) {
  if (!IsGguf(files.model)) return Fail(Code::kCorrupt, "unable to load model: not a GGUF file");
  if (config.on_progress && !config.on_progress(1.0F))
    return Fail(Code::kCancelled, "the load was ended");
  return std::make_unique<FakeEngine>(std::move(config));
}

Status FakeQuantize(const Task& task, const TaskFiles& files,
                    const std::function<void(float)>& on_progress) {
  if (task.file_type == "CRASH") std::abort();
  if (task.file_type == "REFUSE") return Fail(Code::kInvalidArgument, "refused, as asked");
  on_progress(0.0F);
  while (task.file_type == "HANG") ::pause();
  const int input = files.inputs.at(0);
  std::string buffer(1U << 16U, '\0');
  for (off_t offset = 0;;) {
    const ssize_t n = ::pread(input, buffer.data(), buffer.size(), offset);
    if (n < 0) return Fail(ErrnoError(errno, "read the model"));
    if (n == 0) break;
    CORRAL_TRY_STATUS(
        WriteAll(files.output, std::string_view(buffer.data(), static_cast<std::size_t>(n))));
    offset += n;
  }
  on_progress(1.0F);
  return {};
}

}  // namespace corral::engine
