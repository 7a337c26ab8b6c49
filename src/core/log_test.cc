#include "core/log.h"

#include <gtest/gtest.h>

#include <limits>
#include <thread>
#include <vector>

#include "core/text.h"

namespace corral {
namespace {

constexpr Timestamp kTime{1'785'578'400, 1'999'999};

std::string Text(std::string_view message, std::initializer_list<LogField> fields = {},
                 LogLevel level = LogLevel::kInfo) {
  return FormatLogLine(LogFormat::kText, kTime, TimeZone::kUtc, level, message,
                       {fields.begin(), fields.size()});
}
std::string Json(std::string_view message, std::initializer_list<LogField> fields = {}) {
  return FormatLogLine(LogFormat::kJson, kTime, TimeZone::kUtc, LogLevel::kWarn, message,
                       {fields.begin(), fields.size()});
}
// The text of one value, as it stands behind "k=".
std::string Value(std::string_view value) {
  const std::string line = Text("m", {{"k", value}});
  return line.substr(line.find("k=") + 2);
}

TEST(LogText, LooksLikeGosSlog) {
  EXPECT_EQ(Text("model loaded", {{"model", "x"}, {"took", "1.2s"}}),
            "time=2026-08-01T10:00:00.001Z level=INFO msg=\"model loaded\" model=x took=1.2s");
  EXPECT_EQ(Text("ready"), "time=2026-08-01T10:00:00.001Z level=INFO msg=ready");
}

TEST(LogText, NamesTheLevels) {
  const auto level = [](LogLevel l) {
    const std::string line = Text("m", {}, l);
    const std::size_t start = line.find("level=") + 6;
    return line.substr(start, line.find(' ', start) - start);
  };
  EXPECT_EQ(level(LogLevel::kTrace), "TRACE");
  EXPECT_EQ(level(LogLevel::kDebug), "DEBUG");
  EXPECT_EQ(level(LogLevel::kInfo), "INFO");
  EXPECT_EQ(level(LogLevel::kWarn), "WARN");
  EXPECT_EQ(level(LogLevel::kError), "ERROR");
}

TEST(LogText, QuotesWhereSlogQuotes) {
  EXPECT_EQ(Value("plain/path:1-2_3"), "plain/path:1-2_3");
  EXPECT_EQ(Value(""), "\"\"");
  EXPECT_EQ(Value("a b"), "\"a b\"");
  EXPECT_EQ(Value("a=b"), "\"a=b\"");
  EXPECT_EQ(Value("say \"hi\""), R"("say \"hi\"")");
  EXPECT_EQ(Value("C:\\dir"), "C:\\dir");  // a backslash alone needs none
  EXPECT_EQ(Value("caf\u00e9"), "caf\u00e9");
  EXPECT_EQ(Value("a\u00a0b"), R"("a\u00a0b")");
}

TEST(LogText, AValueCannotStartANewLine) {
  EXPECT_EQ(Value("a\nlevel=ERROR msg=forged"), R"("a\nlevel=ERROR msg=forged")");
  EXPECT_EQ(Value("\x1b[2J"), R"("\x1b[2J")");
  EXPECT_EQ(Value("\xff"), R"("\xff")");
}

TEST(LogJson, IsOneObject) {
  EXPECT_EQ(
      Json("model loaded", {{"model", "x"}, {"bytes", 12}, {"is_gpu", false}, {"share", 0.5}}),
      R"({"time":"2026-08-01T10:00:00.001Z","level":"WARN","msg":"model loaded","model":"x","bytes":12,"is_gpu":false,"share":0.5})");
}

TEST(LogJson, EscapesWhatMustBeEscaped) {
  EXPECT_EQ(Json("\"\\\n\r\t\x01"),
            R"({"time":"2026-08-01T10:00:00.001Z","level":"WARN","msg":"\"\\\n\r\t\u0001"})");
  EXPECT_NE(Json("\xff").find("\uFFFD"), std::string::npos);
}

TEST(LogJson, HasNoNumberThatJsonLacks) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_NE(Json("m", {{"k", nan}}).find(R"("k":"nan")"), std::string::npos);
}

TEST(Log, WritesWholeLinesFromTheLevelOn) {
  ConfigureLog(LogLevel::kWarn, LogFormat::kText);
  testing::internal::CaptureStderr();
  Log(LogLevel::kInfo, "too low");
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < 100; ++i) Log(LogLevel::kWarn, "a {} line", {{"n", 1}});
      });
    }
  }
  const std::string text = testing::internal::GetCapturedStderr();
  ConfigureLog(LogLevel::kInfo, LogFormat::kText);
  const auto lines = Split(text, '\n');
  ASSERT_EQ(lines.size(), 401U);
  EXPECT_EQ(lines.back(), "");
  for (std::size_t i = 0; i < 400; ++i) {
    EXPECT_TRUE(lines[i].starts_with("time=2")) << lines[i];
    EXPECT_TRUE(lines[i].ends_with(" level=WARN msg=\"a {} line\" n=1")) << lines[i];
  }
}

TEST(Log, LevelsAreOrdered) {
  ConfigureLog(LogLevel::kDebug, LogFormat::kJson);
  EXPECT_TRUE(IsLogged(LogLevel::kDebug));
  EXPECT_FALSE(IsLogged(LogLevel::kTrace));
  ConfigureLog(LogLevel::kInfo, LogFormat::kText);
  EXPECT_FALSE(IsLogged(LogLevel::kDebug));
  EXPECT_TRUE(IsLogged(LogLevel::kError));
  EXPECT_EQ(LogFormatFromName("json"), LogFormat::kJson);
  EXPECT_EQ(LogFormatFromName("text"), LogFormat::kText);
}

}  // namespace
}  // namespace corral
