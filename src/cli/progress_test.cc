#include "cli/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/testing/fakes.h"
#include "cli/testing/screen.h"

namespace corral::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;

constexpr Clock::time_point kStart{};

Bar HalfwayBar() {
  Bar bar("pulling dde5aa3fc5ff:", 2019377376, 0, kStart);
  bar.Set(800'000'000, kStart + 1s);
  bar.Set(900'000'000, kStart + 3s);
  return bar;
}

// Expected lines: Ollama's own, at 80 columns.
TEST(Bar, ShowsShareSizeRateAndTimeLeft) {
  EXPECT_EQ(HalfwayBar().ToString(80),
            "pulling dde5aa3fc5ff:  45% ▕████████          ▏ 900 MB/2.0 GB   50 MB/s     22s");
}

TEST(Bar, KeepsItsSizeOnlyWhenItIsDone) {
  Bar bar = HalfwayBar();
  bar.Set(3'000'000'000, kStart + 9s);
  EXPECT_TRUE(bar.is_done());
  EXPECT_EQ(bar.ToString(80),
            "pulling dde5aa3fc5ff: 100% ▕██████████████████▏ 2.0 GB" + std::string(25, ' '));
}

TEST(Bar, HasNoRateAtFirst) {
  EXPECT_EQ(Bar("x:", 1000, 0, kStart).ToString(60),
            "x:   0% ▕                 ▏    0 B/  1 KB" + std::string(18, ' '));
}

TEST(Bar, LivesOnANarrowScreenAndWithNothingToDo) {
  EXPECT_THAT(HalfwayBar().ToString(10), HasSubstr("45% ▕▏"));
  EXPECT_THAT(Bar("x:", 0, 0, kStart).ToString(80), HasSubstr("0%"));
}

TEST(RemainingText, IsShortForLongTimes) {
  EXPECT_EQ(RemainingText(22s), "22s");
  EXPECT_EQ(RemainingText(63s), "1m3s");
  EXPECT_EQ(RemainingText(2h + 5min + 30s), "2h5m");
  EXPECT_EQ(RemainingText(100h), "99h+");
}

TEST(Frame, GoesUpOverTheFormerOne) {
  EXPECT_EQ(Frame({"a", "b"}, 0, 24),
            "\x1b[?2026h\x1b[?25l\x1b[1Ga\x1b[K\nb\x1b[K\x1b[?25h\x1b[?2026l");
  EXPECT_THAT(Frame({"a", "b"}, 2, 24), HasSubstr("\x1b[?25l\x1b[1A\x1b[1G"));
}

TEST(Frame, DrawsNoMoreLinesThanTheScreenHas) {
  EXPECT_THAT(Frame({"a", "b", "c"}, 0, 2), Not(HasSubstr("a")));
}

TEST(Progress, WritesOnePlainLineAChangeWhereThereIsNoTerminal) {
  testing::FakeConsole console;
  {
    Progress progress(console);
    TransferProgress transfer(progress, TransferProgress::Kind::kPull);
    const std::string digest =
        "sha256:dde5aa3fc5ffc17176b5e8bdc82f587b24b2678c6c66101bf7da77af9f7ccdff";
    transfer.Show({"pulling manifest", "", 0, 0});
    transfer.Show({"pulling manifest", "", 0, 0});
    for (const std::int64_t completed : {0, 100, 140, 1000, 2000})
      transfer.Show({"pulling dde5aa3fc5ff", digest, 2000, completed});
    transfer.Show({"verifying sha256 digest", "", 0, 0});
    transfer.Show({"success", "", 0, 0});
  }
  EXPECT_EQ(console.err,
            "pulling manifest\n"
            "pulling dde5aa3fc5ff: 5% of 2 KB\n"
            "pulling dde5aa3fc5ff: 50% of 2 KB\n"
            "pulling dde5aa3fc5ff: 100% of 2 KB\n"
            "verifying sha256 digest\n"
            "success\n");
  EXPECT_EQ(console.out, "");
}

TEST(Progress, StaysOnTheTerminalWhenItIsFinished) {
  testing::FakeConsole console;
  console.is_error_terminal = true;
  testing::Screen screen(80);
  {
    Progress progress(console);
    progress.Status("pulling manifest");
    progress.SetBar("key", "pulling abc:", 1000, 1000);
    progress.Status("success");
  }
  screen.WriteCooked(console.err);
  const std::vector<std::string> rows = screen.Rows();
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0], "pulling manifest");
  EXPECT_THAT(rows[1], HasSubstr("pulling abc: 100% ▕"));
  EXPECT_EQ(rows[2], "success");
}

TEST(Progress, IsGoneAfterClear) {
  testing::FakeConsole console;
  console.is_error_terminal = true;
  Progress progress(console);
  progress.Status("working");
  progress.Clear();
  progress.Status("more");
  progress.Finish();
  testing::Screen screen(80);
  screen.Write(console.err);
  EXPECT_THAT(screen.Rows(), ElementsAre(""));
}

}  // namespace
}  // namespace corral::cli
