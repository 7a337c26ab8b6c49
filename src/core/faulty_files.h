// For tests: a FileSystem on real folders (use a temporary one) whose steps fail on demand.
//
// A step is one system call that changes something: create, each write (an Append), sync of a file,
// rename, remove, make or sync a folder, touch. Steps are counted from 1; a PendingFile that is
// destroyed without Commit makes a remove step too. Reads always work, except while the machine is
// down. Thread-safe.
//
//   FaultyFileSystem files;
//   for (int n = 1;; ++n) {                  // a pull killed anywhere leaves a good store
//     files.CrashAtStep(n);
//     const Status status = Pull(files, ...);
//     if (!files.IsDown()) break;            // it needs fewer than n steps
//     files.Restart();
//     ... look at the store ...
//   }
#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>

#include "core/files.h"

namespace corral {

// What a power cut takes besides the bytes that no sync of their file followed. Both happen; a
// careful writer survives both.
enum class Loss {
  kBytes,  // names are as the program left them, and files behind them may be short or empty
  kBytesAndNames,  // creates, renames and removes that no sync of their folder followed are undone
};

class FaultyFileSystem final : public FileSystem {
 public:
  FaultyFileSystem();
  FaultyFileSystem(const FaultyFileSystem&) = delete;
  FaultyFileSystem& operator=(const FaultyFileSystem&) = delete;
  ~FaultyFileSystem() override;

  // The n-th step from now (1: the next one) does nothing and fails with `errno_value`. 0: none
  // fails any more.
  void FailAtStep(int n, int errno_value = EIO);
  // Writes of more than `bytes` from now on, all files together, write what fits and fail with
  // ENOSPC.
  void LimitSpace(std::uint64_t bytes);
  void UnlimitSpace();
  // Instead of the n-th step from now the power fails: what was not synced is lost, the machine is
  // down. 0: never.
  void CrashAtStep(int n, Loss loss = Loss::kBytesAndNames);
  // The power fails now.
  void Crash(Loss loss = Loss::kBytesAndNames);
  // While down, every call fails with kIo and changes nothing.
  bool IsDown() const;
  void Restart();
  // Steps done or failed since construction.
  int StepCount() const;

  Status MakeFolders(const std::filesystem::path& folder) override;
  Result<std::unique_ptr<PendingFile>> Create(const std::filesystem::path& folder,
                                              std::string_view prefix) override;
  Status Remove(const std::filesystem::path& file) override;
  Status Rename(const std::filesystem::path& from, const std::filesystem::path& to) override;
  Status Touch(const std::filesystem::path& file) override;
  Result<std::string> Read(const std::filesystem::path& file, std::uint64_t max_bytes) override;

 private:
  class FaultySteps;
  std::unique_ptr<FaultySteps> steps_;
  std::unique_ptr<FileSystem> files_;
};

}  // namespace corral
