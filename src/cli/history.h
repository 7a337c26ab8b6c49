// The prompt's history: what was typed, over sessions, in ~/.ollama/history.
//
// One entry a line, the newest last, at most 100; the line breaks of a longer entry are kept as
// U+001F. Every new entry goes to the file at once (mode 0600), behind what other sessions wrote
// meanwhile. One thread.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/files.h"
#include "core/result.h"

namespace corral::cli {

class History {
 public:
  // An empty `file`: nothing is read or written.
  History(FileSystem& files, std::filesystem::path file) : files_(files), file_(std::move(file)) {}

  // Reads the file; a missing one is an empty history. Errors: kIo, kForbidden.
  Status Load();
  // Errors: those of the file system. The entry is in memory all the same.
  Status Add(const std::string& entry);
  // Off: Add keeps entries in memory only.
  void SetSaving(bool is_saving) { is_saving_ = is_saving; }

  const std::vector<std::string>& entries() const { return entries_; }  // oldest first

 private:
  FileSystem& files_;
  std::filesystem::path file_;
  bool is_saving_ = true;
  std::vector<std::string> entries_;
};

}  // namespace corral::cli
