#include "core/files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "core/faulty_files.h"

namespace corral {
namespace {

namespace fs = std::filesystem;

class FilesTest : public testing::Test {
 protected:
  FilesTest() {
    std::string name = (fs::temp_directory_path() / "corral-files-XXXXXX").string();
    CORRAL_CHECK(mkdtemp(name.data()) != nullptr, "no temporary folder");
    folder_ = name;
  }
  ~FilesTest() override { fs::remove_all(folder_); }

  static std::string Bytes(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  static void Put(const fs::path& file, std::string_view bytes) {
    std::ofstream(file, std::ios::binary) << bytes;
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  fs::path folder_;
};

using RealFiles = FilesTest;
using FaultyFiles = FilesTest;
using testing::ElementsAre;
using testing::IsEmpty;

TEST_F(RealFiles, WritesAndReadsBack) {
  const std::string bytes("a\0b\xff", 4);
  ASSERT_TRUE(RealFileSystem().WriteAtomically(folder_ / "file", bytes));
  EXPECT_EQ(RealFileSystem().Read(folder_ / "file", 100).value(), bytes);
  EXPECT_THAT(Names(), ElementsAre("file"));
  const mode_t mask = umask(0);
  umask(mask);
  EXPECT_EQ(static_cast<unsigned>(fs::status(folder_ / "file").permissions()), 0644U & ~mask);
}

TEST_F(RealFiles, ReplacesAnOldFile) {
  ASSERT_TRUE(RealFileSystem().WriteAtomically(folder_ / "file", "old"));
  ASSERT_TRUE(RealFileSystem().WriteAtomically(folder_ / "file", "new"));
  EXPECT_EQ(Bytes(folder_ / "file"), "new");
}

TEST_F(RealFiles, AFileThatIsNotCommittedVanishes) {
  {
    const auto pending = RealFileSystem().Create(folder_, "part-");
    ASSERT_TRUE(pending);
    ASSERT_TRUE((*pending)->Append("half"));
    EXPECT_TRUE((*pending)->temporary_path().filename().string().starts_with("part-"));
    EXPECT_EQ(Names().size(), 1U);
  }
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(RealFiles, ACommittedFileTakesNoMoreBytes) {
  const auto pending = RealFileSystem().Create(folder_, "part-");
  ASSERT_TRUE(pending);
  ASSERT_TRUE((*pending)->Commit(folder_ / "file"));
  EXPECT_EQ((*pending)->Append("late").error().code, Code::kInternal);
  EXPECT_EQ((*pending)->Commit(folder_ / "other").error().code, Code::kInternal);
  EXPECT_THAT(Names(), ElementsAre("file"));
}

TEST_F(RealFiles, ErrorsHaveCodesAndNoPaths) {
  const Status status = RealFileSystem().WriteAtomically(folder_ / "absent" / "file", "x");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kNotFound);
  EXPECT_EQ(status.error().message, "create file: No such file or directory");
  EXPECT_EQ(RealFileSystem().Remove(folder_ / "absent").error().code, Code::kNotFound);
  EXPECT_EQ(RealFileSystem().Rename(folder_ / "absent", folder_ / "x").error().code,
            Code::kNotFound);
  EXPECT_EQ(RealFileSystem().Touch(folder_ / "absent").error().code, Code::kNotFound);
  EXPECT_EQ(RealFileSystem().Read(folder_ / "absent", 1).error().code, Code::kNotFound);
}

TEST_F(RealFiles, ReadsNoMoreThanAllowed) {
  Put(folder_ / "file", "12345");
  EXPECT_EQ(RealFileSystem().Read(folder_ / "file", 5).value(), "12345");
  EXPECT_EQ(RealFileSystem().Read(folder_ / "file", 4).error().code, Code::kTooLarge);
}

TEST_F(RealFiles, ReadsPlainFilesOnly) {
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(RealFileSystem().Read(folder_ / "pipe", 10).error().code,
            Code::kIo);  // and does not hang
  EXPECT_EQ(RealFileSystem().Read(folder_, 10).error().code, Code::kIo);
}

TEST_F(RealFiles, MakesFoldersWithTheirParents) {
  ASSERT_TRUE(RealFileSystem().MakeFolders(folder_ / "a/b/c/"));
  ASSERT_TRUE(RealFileSystem().MakeFolders(folder_ / "a/b/c"));
  EXPECT_TRUE(fs::is_directory(folder_ / "a/b/c"));
  Put(folder_ / "file", "x");
  EXPECT_FALSE(RealFileSystem().MakeFolders(folder_ / "file/x"));
  EXPECT_EQ(RealFileSystem().MakeFolders(folder_ / "file").error().code, Code::kAlreadyExists);
}

TEST_F(RealFiles, RenamesRemovesAndTouches) {
  Put(folder_ / "a", "x");
  ASSERT_TRUE(RealFileSystem().MakeFolders(folder_ / "sub"));
  ASSERT_TRUE(RealFileSystem().Rename(folder_ / "a", folder_ / "sub/b"));
  EXPECT_EQ(Bytes(folder_ / "sub/b"), "x");
  fs::last_write_time(folder_ / "sub/b", fs::file_time_type::clock::now() - std::chrono::hours(24));
  ASSERT_TRUE(RealFileSystem().Touch(folder_ / "sub/b"));
  EXPECT_GT(fs::last_write_time(folder_ / "sub/b"),
            fs::file_time_type::clock::now() - std::chrono::hours(1));
  ASSERT_TRUE(RealFileSystem().Remove(folder_ / "sub/b"));
  EXPECT_FALSE(fs::exists(folder_ / "sub/b"));
}

TEST_F(RealFiles, ManyThreadsWriteOneName) {
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([this, t] {
        const std::string bytes(10'000, static_cast<char>('a' + t));
        for (int i = 0; i < 10; ++i)
          EXPECT_TRUE(RealFileSystem().WriteAtomically(folder_ / "file", bytes));
      });
    }
  }
  EXPECT_THAT(Names(), ElementsAre("file"));
  const std::string bytes = Bytes(folder_ / "file");
  EXPECT_EQ(bytes, std::string(10'000, bytes.at(0)));
}

TEST(UniqueFd, ClosesWhatItOwns) {
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  {
    UniqueFd first(fd);
    UniqueFd second(std::move(first));
    EXPECT_FALSE(first.is_valid());  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(second.get(), fd);
    EXPECT_NE(fcntl(fd, F_GETFD), -1);
  }
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);
}

// ---- the fake ----

TEST_F(FaultyFiles, WorksLikeTheRealOneUntilToldOtherwise) {
  FaultyFileSystem files;
  ASSERT_TRUE(files.MakeFolders(folder_ / "a/b"));
  ASSERT_TRUE(files.WriteAtomically(folder_ / "a/b/file", "x"));
  EXPECT_EQ(files.Read(folder_ / "a/b/file", 9).value(), "x");
  ASSERT_TRUE(files.Rename(folder_ / "a/b/file", folder_ / "a/file"));
  ASSERT_TRUE(files.Touch(folder_ / "a/file"));
  ASSERT_TRUE(files.Remove(folder_ / "a/file"));
  EXPECT_GT(files.StepCount(), 5);
}

TEST_F(FaultyFiles, EveryStepCanFailAndNoneLeavesAHalf) {
  Put(folder_ / "file", "old");
  FaultyFileSystem files;
  int n = 1;
  for (;; ++n) {
    files.FailAtStep(n, ENOSPC);
    const Status status = files.WriteAtomically(folder_ / "file", "new");
    if (status) break;
    EXPECT_EQ(status.error().code, Code::kIo);
    EXPECT_THAT(status.error().message, testing::HasSubstr("No space left on device"));
    // Only the sync of the folder comes after the rename.
    EXPECT_THAT(Bytes(folder_ / "file"), testing::AnyOf("old", "new"));
    EXPECT_THAT(Names(), ElementsAre("file"));
    Put(folder_ / "file", "old");
  }
  EXPECT_EQ(n, 6);  // create, write, sync, rename, sync the folder
  EXPECT_EQ(Bytes(folder_ / "file"), "new");
}

TEST_F(FaultyFiles, AFullDiskTakesWhatFits) {
  FaultyFileSystem files;
  files.LimitSpace(10);
  ASSERT_TRUE(files.WriteAtomically(folder_ / "small", "1234"));
  {
    const auto pending = files.Create(folder_, "part-");
    ASSERT_TRUE(pending);
    ASSERT_TRUE((*pending)->Append("1234"));
    const Status full = (*pending)->Append("5678");
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().message, "write file: No space left on device");
    EXPECT_EQ(Bytes((*pending)->temporary_path()), "123456");
  }
  EXPECT_THAT(Names(), ElementsAre("small"));
  files.UnlimitSpace();
  EXPECT_TRUE(files.WriteAtomically(folder_ / "large", std::string(100, 'x')));
}

TEST_F(FaultyFiles, ACrashAnywhereLeavesTheOldOrTheNewFileWhole) {
  for (const Loss loss : {Loss::kBytes, Loss::kBytesAndNames}) {
    FaultyFileSystem files;
    ASSERT_TRUE(files.WriteAtomically(folder_ / "file", "old"));
    for (int n = 1;; ++n) {
      files.CrashAtStep(n, loss);
      const Status status = files.WriteAtomically(folder_ / "file", "new");
      if (!files.IsDown()) {
        EXPECT_TRUE(status);
        EXPECT_EQ(n, 6);
        break;
      }
      ASSERT_FALSE(status);
      EXPECT_EQ(status.error().code, Code::kIo);
      EXPECT_THAT(Bytes(folder_ / "file"), testing::AnyOf("old", "new")) << n;
      files.Restart();
      for (const std::string& name : Names()) {
        if (name != "file") fs::remove(folder_ / name);
      }
      ASSERT_TRUE(files.WriteAtomically(folder_ / "file", "old"));
    }
    EXPECT_EQ(Bytes(folder_ / "file"), "new");
  }
}

TEST_F(FaultyFiles, WhatWasCommittedSurvivesACrash) {
  FaultyFileSystem files;
  ASSERT_TRUE(files.MakeFolders(folder_ / "sub"));
  ASSERT_TRUE(files.WriteAtomically(folder_ / "sub/file", "bytes"));
  ASSERT_TRUE(files.Rename(folder_ / "sub/file", folder_ / "file"));
  files.Crash();
  EXPECT_EQ(Bytes(folder_ / "file"), "bytes");
  EXPECT_FALSE(fs::exists(folder_ / "sub/file"));
}

TEST_F(FaultyFiles, ACrashTakesBytesThatWereNotSynced) {
  FaultyFileSystem files;
  const auto pending = files.Create(folder_, "part-");
  ASSERT_TRUE(pending);
  ASSERT_TRUE((*pending)->Append("lost"));
  const fs::path path = (*pending)->temporary_path();
  files.Crash(Loss::kBytes);
  EXPECT_TRUE(fs::exists(path));
  EXPECT_EQ(Bytes(path), "");
}

TEST_F(FaultyFiles, ACrashUndoesNamesThatWereNotSynced) {
  FaultyFileSystem files;
  ASSERT_TRUE(files.WriteAtomically(folder_ / "kept", "kept"));
  ASSERT_TRUE(files.WriteAtomically(folder_ / "other", "other"));
  // The step after the rename is the first sync of a folder.
  files.FailAtStep(2);
  ASSERT_FALSE(files.Rename(folder_ / "other", folder_ / "kept"));
  EXPECT_EQ(Bytes(folder_ / "kept"), "other");
  files.Crash();
  EXPECT_EQ(Bytes(folder_ / "kept"), "kept");
  EXPECT_EQ(Bytes(folder_ / "other"), "other");
  files.Restart();

  files.FailAtStep(2);
  ASSERT_FALSE(files.Remove(folder_ / "kept"));
  EXPECT_FALSE(fs::exists(folder_ / "kept"));
  files.Crash();
  EXPECT_EQ(Bytes(folder_ / "kept"), "kept");
}

TEST_F(FaultyFiles, WhileDownNothingHappens) {
  FaultyFileSystem files;
  auto pending = files.Create(folder_, "part-");
  ASSERT_TRUE(pending);
  files.Crash(Loss::kBytes);
  EXPECT_TRUE(files.IsDown());
  EXPECT_EQ((*pending)->Append("x").error().code, Code::kIo);
  EXPECT_FALSE(files.MakeFolders(folder_));
  EXPECT_FALSE(files.WriteAtomically(folder_ / "file", "x"));
  EXPECT_FALSE(files.Read(folder_ / "file", 1));
  pending->reset();
  EXPECT_EQ(Names().size(), 1U);  // nobody was there to remove it
  files.Restart();
  EXPECT_TRUE(files.WriteAtomically(folder_ / "file", "x"));
}

}  // namespace
}  // namespace corral
