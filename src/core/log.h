// Logging: slog-like text lines or JSON lines on stderr, behind a small interface (spdlog stays in
// log.cc).
//
// Thread-safe; a line is written whole. Prompts, answers and secrets never go to a log.
//   Log(LogLevel::kInfo, "model loaded", {{"model", name}, {"took", "1.2s"}});
#pragma once

#include <concepts>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/settings.h"
#include "core/timestamp.h"

namespace corral {

struct LogField {
  std::string_view key;  // outlives the call
  std::string value;
  bool is_bare = false;  // a number or a bool: no quotes in JSON

  LogField(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  LogField(std::string_view k, bool v) : key(k), value(v ? "true" : "false"), is_bare(true) {}
  LogField(std::string_view k, double v);  // the shortest text that reads back as `v`
  template <std::integral Number>
  LogField(std::string_view k, Number v) : key(k), value(std::to_string(v)), is_bare(true) {}
};

enum class LogFormat { kText, kJson };
// "json" as kJson, all else as kText: Settings::log_format.
LogFormat LogFormatFromName(std::string_view name);

// Once at start; before it, kInfo as text.
void ConfigureLog(LogLevel level, LogFormat format);
bool IsLogged(LogLevel level);
// text: time=2026-08-01T10:00:00.000Z level=INFO msg="model loaded" model=x took=1.2s
// json: {"time":"2026-08-01T10:00:00.000Z","level":"INFO","msg":"model
// loaded","model":"x","took":"1.2s"}
void Log(LogLevel level, std::string_view message, std::span<const LogField> fields);
inline void Log(LogLevel level, std::string_view message,
                std::initializer_list<LogField> fields = {}) {
  Log(level, message, std::span<const LogField>(fields.begin(), fields.size()));
}

// What Log writes, without the line's end. Quoting, levels and times are those of Go's slog
// handlers.
std::string FormatLogLine(LogFormat format, Timestamp time, TimeZone zone, LogLevel level,
                          std::string_view message, std::span<const LogField> fields);

}  // namespace corral
