#include "cli/progress.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "cli/width.h"
#include "core/settings.h"
#include "core/text.h"

namespace corral::cli {
namespace {

constexpr std::size_t kMostSamples = 10;
constexpr std::chrono::milliseconds kFrameTime{100};
constexpr std::array<std::string_view, 10> kSpinner = {"⠋", "⠙", "⠹", "⠸", "⠼",
                                                       "⠴", "⠦", "⠧", "⠇", "⠏"};

std::string Repeated(std::string_view text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

std::string RightAligned(const std::string& text, int width) {
  return Repeated(" ", width - TextWidth(text)) + text;
}

double Seconds(Clock::duration time) {
  return std::round(std::chrono::duration<double>(time).count());
}

}  // namespace

// ---- a bar ----

Bar::Bar(std::string message, std::int64_t max, std::int64_t initial, Clock::time_point now)
    : message_(std::move(message)), max_(max), initial_(initial), current_(initial), started_(now) {
  is_done_ = current_ >= max_;
}

void Bar::Set(std::int64_t value, Clock::time_point now) {
  current_ = std::min(value, max_);
  is_done_ = current_ >= max_;
  if (samples_.empty() || now - samples_.back().at > std::chrono::seconds(1)) {
    samples_.push_back({now, current_});
    if (samples_.size() > kMostSamples) samples_.pop_front();
  }
}

int Bar::Percent() const {
  return max_ > 0 ? static_cast<int>(
                        std::round(static_cast<double>(current_) / static_cast<double>(max_) * 100))
                  : 0;
}

double Bar::RateBytesPerSecond() const {
  if (samples_.empty()) return 0;
  const bool is_single = samples_.size() == 1;
  const std::int64_t n_bytes =
      samples_.back().value - (is_single ? initial_ : samples_.front().value);
  const double seconds = Seconds(samples_.back().at - (is_single ? started_ : samples_.front().at));
  return seconds > 0 ? static_cast<double>(n_bytes) / seconds : 0;
}

std::string Bar::ToString(int columns) const {
  constexpr int kSizeWidth = 6;
  constexpr int kEdges =
      5;  // two borders, a blank on either side of them and one at the line's end
  std::string left = message_.empty() ? "" : message_ + " ";
  left += RightAligned(std::to_string(Percent()), 3) + "%";

  const double rate = is_done_ ? 0 : RateBytesPerSecond();
  std::string right;
  if (is_done_) {
    right = RightAligned(HumanBytes(max_), kSizeWidth) + Repeated(" ", kSizeWidth + 1);
  } else {
    right = RightAligned(HumanBytes(current_), kSizeWidth) + "/" +
            RightAligned(HumanBytes(max_), kSizeWidth);
  }
  if (rate > 0) {
    const auto seconds = static_cast<std::int64_t>(static_cast<double>(max_ - current_) / rate);
    right += "  " + RightAligned(HumanBytes(static_cast<std::int64_t>(rate)), kSizeWidth) + "/s";
    right += "  " + RightAligned(RemainingText(std::chrono::seconds(seconds)), kSizeWidth);
  } else {
    right += Repeated(" ", 2 + kSizeWidth + 2 + 2 + kSizeWidth);
  }

  const int cells = columns - TextWidth(left) - TextWidth(right) - kEdges;
  const double share = max_ > 0 ? static_cast<double>(current_) / static_cast<double>(max_) : 0;
  const int filled = static_cast<int>(cells * share);
  return left + " ▕" + Repeated("█", filled) + Repeated(" ", cells - filled) + "▏ " + right;
}

std::string Bar::PlainText() const {
  return (message_.empty() ? "" : message_ + " ") + std::to_string(Percent()) + "% of " +
         HumanBytes(max_);
}

std::string RemainingText(std::chrono::nanoseconds remaining) {
  using std::chrono::hours;
  if (remaining >= hours(100)) return "99h+";
  if (remaining >= hours(1)) {
    const auto minutes = std::chrono::duration_cast<std::chrono::minutes>(remaining).count();
    return std::to_string(minutes / 60) + "h" + std::to_string(minutes % 60) + "m";
  }
  return FormatGoDuration(std::chrono::round<std::chrono::seconds>(remaining));
}

// ---- the screen ----

std::string Frame(const std::vector<std::string>& lines, std::size_t n_previous, int rows) {
  std::string out = "\x1b[?2026h\x1b[?25l";
  const std::size_t most = static_cast<std::size_t>(std::max(rows, 1));
  if (n_previous > 1) out += "\x1b[" + std::to_string(n_previous - 1) + "A";
  out += "\x1b[1G";
  const std::size_t first = lines.size() > most ? lines.size() - most : 0;
  for (std::size_t i = first; i < lines.size(); ++i) {
    if (i > first) out += "\n";
    out += lines[i] + "\x1b[K";
  }
  return out + "\x1b[?25h\x1b[?2026l";
}

Progress::Progress(Console& console)
    : console_(console), is_terminal_(console.IsTerminal(Stream::kError)) {
  if (is_terminal_) thread_ = std::jthread([this](const std::stop_token& stop) { Loop(stop); });
}

Progress::~Progress() { Finish(); }

void Progress::Loop(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested() && !is_over_) {
    wake_.wait_for(lock, stop, kFrameTime, [this] { return is_over_; });
    if (stop.stop_requested() || is_over_) return;
    ++tick_;
    Draw();
  }
}

void Progress::StopSpinner() {
  for (Line& line : lines_) line.is_spinning = false;
}

void Progress::Draw() {
  if (lines_.empty()) return;
  const ScreenSize size = console_.Size(Stream::kError).value_or(ScreenSize{});
  std::vector<std::string> texts;
  for (const Line& line : lines_) {
    std::string text;
    if (line.bar) {
      text = line.bar->ToString(size.columns);
    } else {
      if (!line.message.empty()) text = line.message + " ";
      if (line.is_spinning) text += std::string(kSpinner[tick_ % kSpinner.size()]) + " ";
    }
    texts.push_back(std::move(text));
  }
  console_.Err(Frame(texts, n_drawn_, size.rows));
  n_drawn_ = std::min(texts.size(), static_cast<std::size_t>(std::max(size.rows, 1)));
}

void Progress::Status(std::string_view message) {
  const std::lock_guard lock(mutex_);
  const bool is_same = status_ == message && !lines_.empty();
  if (is_over_ || is_same) return;
  status_ = message;
  StopSpinner();
  Line line;
  line.message = message;
  line.is_spinning = true;
  lines_.push_back(std::move(line));
  if (is_terminal_) {
    Draw();
  } else if (!message.empty()) {
    console_.Err(std::string(message) + "\n");
  }
}

void Progress::Update(std::string_view message) {
  const std::lock_guard lock(mutex_);
  if (!lines_.empty() && lines_.back().is_spinning) lines_.back().message = message;
}

void Progress::SetBar(const std::string& key, const std::string& message, std::int64_t max,
                      std::int64_t current) {
  const std::lock_guard lock(mutex_);
  if (is_over_) return;
  StopSpinner();
  status_.clear();
  if (!bars_.contains(key)) {
    bars_[key] = lines_.size();
    Line made;
    made.bar = std::make_unique<Bar>(message, max, current, Clock::now());
    lines_.push_back(std::move(made));
  }
  Line& line = lines_[bars_[key]];
  line.bar->Set(current, Clock::now());
  if (is_terminal_) return;  // the thread draws
  const int tenth = line.bar->Percent() / 10;
  if (tenth == line.printed_tenth) return;
  line.printed_tenth = tenth;
  console_.Err(line.bar->PlainText() + "\n");
}

void Progress::Finish() {
  {
    const std::lock_guard lock(mutex_);
    if (is_over_) return;
    is_over_ = true;
    StopSpinner();
    if (is_terminal_ && !lines_.empty()) {
      Draw();
      console_.Err("\n");
    }
  }
  thread_.request_stop();
}

void Progress::Clear() {
  {
    const std::lock_guard lock(mutex_);
    if (is_over_) return;
    is_over_ = true;
    std::string out;
    for (std::size_t i = 0; i < n_drawn_; ++i)
      out += (i > 0 ? "\x1b[A" : "") + std::string("\x1b[2K\x1b[1G");
    if (!out.empty()) console_.Err(out);
  }
  thread_.request_stop();
}

void TransferProgress::Show(const ProgressRecord& record) {
  if (record.digest.empty()) {
    progress_.Status(record.status);
    return;
  }
  if (kind_ == Kind::kPull && record.completed == 0) return;  // nothing to show yet
  std::string message = record.status;
  if (kind_ == Kind::kPull) {
    constexpr std::size_t kPrefix = 7;  // "sha256:"
    constexpr std::size_t kShown = 12;
    const std::string hex =
        record.digest.size() > kPrefix ? record.digest.substr(kPrefix, kShown) : record.digest;
    message = "pulling " + hex + ":";
  }
  progress_.SetBar(record.digest, message, record.total, record.completed);
}

}  // namespace corral::cli
