// Logging: slog-like text lines or JSON lines on stderr, behind a small interface (spdlog stays in log.cc).
//
// Thread-safe. Prompts, answers and secrets never go to a log.
//   Log(LogLevel::kInfo, "model loaded", {{"model", name}, {"took", "1.2s"}});
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "core/settings.h"

namespace corral {

struct LogField {
  std::string_view key;
  std::string value;
  LogField(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  template <class Number>
    requires std::is_arithmetic_v<Number>
  LogField(std::string_view k, Number v) : key(k), value(std::to_string(v)) {}
};

enum class LogFormat { kText, kJson };
// Once at start; before it, kInfo as text.
void ConfigureLog(LogLevel level, LogFormat format);
bool IsLogged(LogLevel level);
// text: time=2026-08-01T10:00:00.000Z level=INFO msg="model loaded" model=x took=1.2s
void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});

}  // namespace corral
