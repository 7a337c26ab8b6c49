#include "cli/history.h"

#include <algorithm>
#include <memory>
#include <system_error>
#include <utility>

#include "core/text.h"

namespace corral::cli {
namespace {

constexpr std::size_t kMostEntries = 100;
constexpr std::uint64_t kMostFileBytes = 16U << 20U;
constexpr char kLineBreak = '\x1f';  // cannot be typed

void Trim(std::vector<std::string>& entries) {
  if (entries.size() > kMostEntries)
    entries.erase(entries.begin(), entries.end() - static_cast<std::ptrdiff_t>(kMostEntries));
}

Result<std::vector<std::string>> ReadEntries(FileSystem& files, const std::filesystem::path& file) {
  std::vector<std::string> entries;
  const Result<std::string> text = files.Read(file, kMostFileBytes);
  if (!text) {
    if (text.error().code == Code::kNotFound) return entries;
    return Fail(text.error());
  }
  for (const std::string_view line : Split(*text, '\n')) {
    std::string entry(TrimSpace(line));
    if (entry.empty()) continue;
    std::replace(entry.begin(), entry.end(), kLineBreak, '\n');
    entries.push_back(std::move(entry));
  }
  Trim(entries);
  return entries;
}

}  // namespace

Status History::Load() {
  if (file_.empty()) return {};
  CORRAL_TRY(entries_, ReadEntries(files_, file_));
  return {};
}

Status History::Add(const std::string& entry) {
  entries_.push_back(entry);
  Trim(entries_);
  if (file_.empty() || !is_saving_) return {};
  CORRAL_TRY(std::vector<std::string> saved, ReadEntries(files_, file_));
  saved.push_back(entry);
  Trim(saved);
  std::string text;
  for (std::string line : saved) {
    std::replace(line.begin(), line.end(), '\n', kLineBreak);
    text += line + "\n";
  }
  CORRAL_TRY_STATUS(files_.MakeFolders(file_.parent_path()));
  CORRAL_TRY(const std::unique_ptr<PendingFile> pending,
             files_.Create(file_.parent_path(), "history-"));
  // What was asked is private. The seam's files may be read by all: before there is something to
  // read, this one may not.
  std::error_code error;
  std::filesystem::permissions(
      pending->temporary_path(),
      std::filesystem::perms::owner_read | std::filesystem::perms::owner_write, error);
  CORRAL_TRY_STATUS(pending->Append(text));
  return pending->Commit(file_);
}

}  // namespace corral::cli
