#include "bench.h"

#include <gmock/gmock.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <random>
#include <stdexcept>
#include <utility>

#include "engine/llama/llama_engine.h"
#include "support/tiny_models/tiny_models.h"

namespace corral::engine {
namespace {

std::unique_ptr<FormatProcesses> formatters;  // set by main

}  // namespace

UniqueFd FileWith(const std::string& bytes) {
  UniqueFd file(::memfd_create("model", MFD_CLOEXEC));
  if (::write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    file.Reset();
  return file;
}

Bench::Options Bench::Small(int n_slots, int num_ctx) {
  Options options;
  options.load.num_ctx = num_ctx;
  options.load.n_slots = n_slots;
  options.load.num_batch = 64;
  options.load.num_thread = 1;
  options.load.prefix_cache_bytes = 64 << 20;
  return options;
}

Result<std::unique_ptr<Engine>> Bench::Load(const std::string& model_bytes, EngineConfig config,
                                            const std::string& projector_bytes) {
  const UniqueFd model = FileWith(model_bytes);
  if (!model.is_valid()) return Fail(Code::kIo, "memfd");
  ModelFiles files;
  files.model = model.get();
  UniqueFd projector;
  if (!projector_bytes.empty()) {
    projector = FileWith(projector_bytes);
    files.projectors.push_back(projector.get());
  }
  return LlamaEngines(Formatters())(files, std::move(config));
}

FormatProcesses& Formatters() { return *formatters; }

Bench::Bench(const std::string& model_bytes, Options options) {
  EngineConfig config;
  config.options = std::move(options.load);
  config.initial_credit = options.initial_credit;
  config.sink = [this](JobId id, JobEvent event) {
    // As a worker's host asks, also while the engine ends.
    if (Engine* const engine = asked_) (void)engine->Counters();
    const std::lock_guard lock(mutex_);
    Story& story = stories_[id];
    if (IsLast(event)) {
      ++story.n_last;
      story.last = std::move(event);
    } else {
      EXPECT_EQ(story.n_last, 0) << "a piece after the end";
      auto& piece = std::get<Piece>(event);
      ++story.n_pieces;
      story.text += piece.text;
      story.thinking += piece.thinking;
      story.tool_calls.insert(story.tool_calls.end(), piece.tool_calls.begin(),
                              piece.tool_calls.end());
      story.logprobs.insert(story.logprobs.end(), piece.logprobs.begin(), piece.logprobs.end());
      story.pieces.push_back(std::move(piece));
    }
    event_.notify_all();
  };
  auto engine = Load(model_bytes, std::move(config), options.projector);
  if (!engine)
    throw std::runtime_error(engine.error().message);  // fails the test that has no engine
  engine_ = std::move(*engine);
  asked_ = engine_.get();
}

JobId Bench::NextId() {
  const std::lock_guard lock(mutex_);
  return JobId{next_id_++};
}

void Bench::AddAdapter(const std::string& file, std::string bytes) {
  adapters_[file] = std::move(bytes);
}

AdapterFiles Bench::FilesOf(const std::vector<AdapterUse>& adapters) const {
  AdapterFiles files;
  for (const AdapterUse& adapter : adapters) files.push_back(FileWith(adapters_.at(adapter.file)));
  return files;
}

JobId Bench::Submit(GenerateJob job) {
  const JobId id = NextId();
  AdapterFiles files = FilesOf(job.adapters);
  engine_->Submit(id, std::move(job), std::move(files));
  return id;
}

JobId Bench::Submit(EmbedJob job) {
  const JobId id = NextId();
  AdapterFiles files = FilesOf(job.adapters);
  engine_->Submit(id, std::move(job), std::move(files));
  return id;
}

JobId Bench::Submit(TokenJob job) {
  const JobId id = NextId();
  engine_->Submit(id, std::move(job));
  return id;
}

bool Bench::WaitUntil(std::unique_lock<std::mutex>& lock, const std::function<bool()>& condition) {
  const bool came = event_.wait_for(lock, kPatience, condition);
  EXPECT_TRUE(came) << "nothing came";
  return came;
}

Story Bench::Wait(JobId id) {
  std::unique_lock lock(mutex_);
  WaitUntil(lock, [&] { return stories_[id].n_last > 0; });
  return stories_[id];
}

void Bench::WaitForPieces(JobId id, int n_pieces) {
  std::unique_lock lock(mutex_);
  WaitUntil(lock, [&] { return stories_[id].n_last > 0 || stories_[id].n_pieces >= n_pieces; });
}

Story Bench::Now(JobId id) {
  const std::lock_guard lock(mutex_);
  return stories_[id];
}

std::map<JobId, Story> Bench::All() {
  const std::lock_guard lock(mutex_);
  return stories_;
}

void ExpectSameAnswer(const Story& a, const Story& b) {
  constexpr float kClose = 0.1F;
  ASSERT_TRUE(a.IsFinished() && b.IsFinished()) << a.error().message << b.error().message;
  ASSERT_FALSE(a.logprobs.empty());
  ASSERT_FALSE(b.logprobs.empty());
  for (std::size_t i = 0; i < std::min(a.logprobs.size(), b.logprobs.size()); ++i) {
    const TokenLogprob& left = a.logprobs[i];
    const TokenLogprob& right = b.logprobs[i];
    if (left.token != right.token) {
      EXPECT_LT(left.top.at(0).logprob - left.top.at(1).logprob, kClose)
          << "token " << i << ": " << a.text << " / " << b.text;
      return;
    }
    ASSERT_NEAR(left.logprob, right.logprob, kClose) << "token " << i << " of " << a.text;
  }
  EXPECT_EQ(a.text, b.text);
}

GenerateJob Greedy(std::string prompt, int num_predict) {
  GenerateJob job;
  job.prompt.text = std::move(prompt);
  job.sampling.temperature = 0;
  job.sampling.num_predict = num_predict;
  job.logprobs = true;
  job.top_logprobs = 2;
  return job;
}

std::string Words(int n, unsigned seed) {
  static constexpr std::array<const char*, 8> kWords = {"the",   "sky",  "hello", "world",
                                                        "about", "many", "other", "which"};
  std::mt19937 random(seed);
  std::string text;
  for (int i = 0; i < n; ++i)
    text += (i > 0 ? " " : "") + std::string(kWords[random() % kWords.size()]);
  return text;
}

const std::string& ChatModel() {
  static const std::string bytes =
      testing::TinyLlama({.has_chat_template = true, .is_endless = true}).Bytes();
  return bytes;
}

const std::string& EndlessModel() {
  static const std::string bytes =
      testing::TinyLlama({.has_chat_template = false, .is_endless = true}).Bytes();
  return bytes;
}

}  // namespace corral::engine

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  // While there is one thread.
  corral::engine::formatters = corral::engine::FormatProcesses::Start().value();
  return RUN_ALL_TESTS();
}
