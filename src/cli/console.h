// The terminal, or whatever stands in its place: the standard streams, their size, keys, Ctrl+C.
//
// ProcessConsole() is the real one; tests give their own. Out and Err may be called from any
// thread; the rest from one.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace corral::cli {

enum class Stream { kInput, kOutput, kError };

struct ScreenSize {
  int columns = 80;
  int rows = 24;
};

// While one lives, Ctrl+C (SIGINT) runs the callback that it was made with, on another thread,
// instead of ending the process.
class InterruptGuard {
 public:
  virtual ~InterruptGuard() = default;
};

class Console {
 public:
  virtual ~Console() = default;

  virtual void Out(std::string_view text) = 0;  // stdout, at once
  virtual void Err(std::string_view text) = 0;  // stderr, at once
  virtual bool IsTerminal(Stream stream) const = 0;
  // Of the terminal at `stream`; nullopt if it is none or does not say.
  virtual std::optional<ScreenSize> Size(Stream stream) const = 0;

  // Standard input up to its end. Errors: kIo.
  virtual Result<std::string> ReadAll() = 0;
  // Raw mode: keys come at once, unechoed, Ctrl+C as a byte. Errors: kIo.
  virtual Status SetRaw(bool is_raw) = 0;
  // Some bytes of standard input, at least one; nullopt at its end. Waits.
  virtual std::optional<std::string> ReadKeys() = 0;
  // Ctrl+Z: stops the process group; returns when it goes on. Not in raw mode.
  virtual void Suspend() = 0;
  // Runs a program (`words[0]`, looked up on PATH) on this terminal and waits for its end.
  // Errors: kNotFound (no such program), kIo (it failed).
  virtual Status RunProgram(const std::vector<std::string>& words) = 0;
  virtual std::unique_ptr<InterruptGuard> OnInterrupt(std::function<void()> callback) = 0;
};

Console& ProcessConsole();

}  // namespace corral::cli
