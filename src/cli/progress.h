// Progress of long work on stderr: spinners and bars, redrawn ten times a second on a terminal;
// elsewhere plain lines, one a change, without escape sequences.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "cli/client.h"
#include "cli/console.h"
#include "core/stop.h"

namespace corral::cli {

// One bar: how much of how much, since when. Pure: the caller gives the time.
class Bar {
 public:
  Bar(std::string message, std::int64_t max, std::int64_t initial, Clock::time_point now);
  void Set(std::int64_t value, Clock::time_point now);
  // `pulling dde5aa3fc5ff:  45% ▕████████          ▏ 900 MB/2.0 GB   50 MB/s     22s`, `columns`
  // cells wide.
  std::string ToString(int columns) const;
  // `pulling dde5aa3fc5ff: 45% of 2.0 GB`, for what is no terminal.
  std::string PlainText() const;
  int Percent() const;
  bool is_done() const { return is_done_; }

 private:
  double RateBytesPerSecond() const;

  struct Sample {
    Clock::time_point at;
    std::int64_t value;
  };
  std::string message_;
  std::int64_t max_;
  std::int64_t initial_;
  std::int64_t current_;
  Clock::time_point started_;
  bool is_done_ = false;
  std::deque<Sample> samples_;  // at most 10, a second or more apart
};

// "22s", "1m3s", "2h5m", "99h+".
std::string RemainingText(std::chrono::nanoseconds remaining);

// What takes the place of the last frame: the cursor goes up over `n_previous` lines, each line is
// written anew. At most `rows` lines, the last ones.
std::string Frame(const std::vector<std::string>& lines, std::size_t n_previous, int rows);

// Thread-safe; draws from a thread of its own. The end of its life is Finish().
class Progress {
 public:
  explicit Progress(Console& console);
  ~Progress();
  Progress(const Progress&) = delete;  // the thread holds `this`
  Progress& operator=(const Progress&) = delete;

  // A new spinner; the one before stops and stays. The same message again: nothing.
  void Status(std::string_view message);
  // Changes the spinner's message in place; plain output keeps quiet.
  void Update(std::string_view message);
  // Stops the spinner and makes or moves the bar that `key` names.
  void SetBar(const std::string& key, const std::string& message, std::int64_t max,
              std::int64_t current);
  // A last frame and a new line.
  void Finish();
  // Takes away what was drawn. Nothing more is drawn.
  void Clear();

 private:
  struct Line {
    std::string message;  // of a spinner
    bool is_spinning = false;
    std::unique_ptr<Bar> bar;  // of a bar
    int printed_tenth = -1;    // of a bar in plain output
  };
  void Loop(const std::stop_token& stop);
  void StopSpinner();
  void Draw();

  Console& console_;
  const bool is_terminal_;
  std::mutex mutex_;
  // Guarded by mutex_.
  std::deque<Line> lines_;
  std::map<std::string, std::size_t> bars_;  // key -> line
  std::string status_;
  std::size_t n_drawn_ = 0;
  std::size_t tick_ = 0;
  bool is_over_ = false;
  std::condition_variable_any wake_;
  std::jthread thread_;  // last: uses the members above
};

// Shows the records of pull, push and create: those with a digest are bars, others spinners.
class TransferProgress {
 public:
  enum class Kind { kPull, kPush, kCreate };
  TransferProgress(Progress& progress, Kind kind) : progress_(progress), kind_(kind) {}
  void Show(const ProgressRecord& record);

 private:
  Progress& progress_;
  Kind kind_;
};

}  // namespace corral::cli
