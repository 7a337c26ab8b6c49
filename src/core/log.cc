#include "core/log.h"

#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <atomic>
#include <cmath>
#include <memory>

#include "core/text.h"

namespace corral {
namespace {

std::atomic<LogLevel> configured_level = LogLevel::kInfo;
std::atomic<LogFormat> configured_format = LogFormat::kText;

// Never destroyed: threads may log while the process ends.
spdlog::logger& StderrLogger() {
  static spdlog::logger* const kLogger = [] {
    auto* made = new spdlog::logger("corral", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_formatter(std::make_unique<spdlog::pattern_formatter>("%v"));  // the line is ready
    made->set_level(spdlog::level::trace);  // Log() has looked at the level
    return made;
  }();
  return *kLogger;
}

std::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return "TRACE";
    case LogLevel::kDebug:
      return "DEBUG";
    case LogLevel::kInfo:
      return "INFO";
    case LogLevel::kWarn:
      return "WARN";
    case LogLevel::kError:
      return "ERROR";
  }
  return "ERROR";
}

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return spdlog::level::trace;
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

// slog's needsQuoting (log/slog/text_handler.go).
bool NeedsQuoting(std::string_view text) {
  if (text.empty()) return true;
  while (!text.empty()) {
    const Rune rune = DecodeRune(text);
    if (!rune.is_valid || rune.value == kReplacementRune) return true;
    const bool is_safe_ascii =
        rune.value > 0x20 && rune.value < 0x80 && rune.value != '"' && rune.value != '=';
    if (rune.value < 0x80 ? !is_safe_ascii : !IsPrintable(rune.value)) return true;
    text.remove_prefix(rune.size);
  }
  return false;
}

void AppendText(std::string& line, std::string_view value) {
  if (NeedsQuoting(value)) {
    line += GoQuote(value);
  } else {
    line += value;
  }
}

void AppendJson(std::string& line, std::string_view value) {
  line += '"';
  for (std::string_view rest = value; !rest.empty();) {
    const Rune rune = DecodeRune(rest);
    const std::string_view bytes = rest.substr(0, rune.size);
    rest.remove_prefix(rune.size);
    switch (rune.value) {
      case '"':
        line += "\\\"";
        continue;
      case '\\':
        line += "\\\\";
        continue;
      case '\n':
        line += "\\n";
        continue;
      case '\r':
        line += "\\r";
        continue;
      case '\t':
        line += "\\t";
        continue;
      case 0x2028:
        line += "\\u2028";
        continue;
      case 0x2029:
        line += "\\u2029";
        continue;
      default:
        break;
    }
    if (!rune.is_valid) {
      AppendRune(line, kReplacementRune);
    } else if (rune.value < 0x20) {
      line += fmt::format("\\u{:04x}", static_cast<unsigned>(rune.value));
    } else {
      line += bytes;
    }
  }
  line += '"';
}

}  // namespace

LogField::LogField(std::string_view k, double v)
    : key(k), value(fmt::format("{}", v)), is_bare(std::isfinite(v)) {}

LogFormat LogFormatFromName(std::string_view name) {
  return name == "json" ? LogFormat::kJson : LogFormat::kText;
}

std::string FormatLogLine(LogFormat format, Timestamp time, TimeZone zone, LogLevel level,
                          std::string_view message, std::span<const LogField> fields) {
  std::string line;
  if (format == LogFormat::kText) {
    line += "time=" + FormatRfc3339Millis(time, zone) + " level=";
    line += LevelName(level);
    line += " msg=";
    AppendText(line, message);
    for (const LogField& field : fields) {
      line += ' ';
      AppendText(line, field.key);
      line += '=';
      AppendText(line, field.value);
    }
    return line;
  }
  line += "{\"time\":\"" + FormatRfc3339Millis(time, zone) + "\",\"level\":\"";
  line += LevelName(level);
  line += "\",\"msg\":";
  AppendJson(line, message);
  for (const LogField& field : fields) {
    line += ',';
    AppendJson(line, field.key);
    line += ':';
    if (field.is_bare) {
      line += field.value;
    } else {
      AppendJson(line, field.value);
    }
  }
  return line + "}";
}

void ConfigureLog(LogLevel level, LogFormat format) {
  configured_level = level;
  configured_format = format;
}

bool IsLogged(LogLevel level) { return level >= configured_level.load(); }

void Log(LogLevel level, std::string_view message, std::span<const LogField> fields) {
  if (!IsLogged(level)) return;
  const std::string line =
      FormatLogLine(configured_format, Timestamp::Now(), TimeZone::kLocal, level, message, fields);
  // The string_view overload: braces in the line are not placeholders.
  StderrLogger().log(SpdlogLevel(level), spdlog::string_view_t(line));
}

}  // namespace corral
