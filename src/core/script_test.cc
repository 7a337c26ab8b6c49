#include "core/script.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "core/process.h"

namespace corral {
namespace {

class ScriptTest : public ::testing::Test {
 protected:
  ScriptTest() {
    std::string pattern = ::testing::TempDir() + "corral-script-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    folder_ = pattern;
    options_.file = folder_ / "init.sh";
    options_.environment = {"PATH=/usr/bin:/bin", "OUT=" + (folder_ / "out").string()};
  }
  ~ScriptTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  void Write(const std::string& text, mode_t mode = 0644) {
    std::ofstream(options_.file) << text;
    ::chmod(options_.file.c_str(), mode);
  }
  std::string Out() const {
    std::ifstream file(folder_ / "out");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  Status Run() { return RunScript(options_, StopToken()); }

  std::filesystem::path folder_;
  ScriptOptions options_;
};

TEST_F(ScriptTest, IsRunByShWhenItIsNotExecutable) {
  Write("echo \"ran $0\" > \"$OUT\"\n");
  EXPECT_TRUE(Run());
  EXPECT_EQ(Out(), "ran " + options_.file.string() + "\n");
}

TEST_F(ScriptTest, RunsWithItsOwnInterpreterWhenItIsExecutable) {
  Write("#!/bin/bash\necho \"${BASH_VERSION:+bash}\" > \"$OUT\"\n", 0755);
  EXPECT_TRUE(Run());
  EXPECT_EQ(Out(), "bash\n");
}

TEST_F(ScriptTest, AnExecutableWithoutAnInterpreterLineIsRunBySh) {
  Write("echo yes > \"$OUT\"\n", 0755);
  EXPECT_TRUE(Run());
  EXPECT_EQ(Out(), "yes\n");
}

TEST_F(ScriptTest, ItsOutputIsLoggedLineByLine) {
  Write("echo one; echo two >&2; printf three\n");
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(Run());
  const std::string log = ::testing::internal::GetCapturedStderr();
  for (const char* line :
       {"msg=one script=init.sh\n", "msg=two script=init.sh\n", "msg=three script=init.sh\n"})
    EXPECT_NE(log.find(line), std::string::npos) << log;
}

TEST_F(ScriptTest, NoScriptIsNothing) { EXPECT_TRUE(Run()); }

TEST_F(ScriptTest, AFolderInItsPlaceIsSaidToBeDockers) {
  std::filesystem::create_directory(options_.file);
  const Status status = Run();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kInvalidArgument);
  EXPECT_EQ(status.error().message,
            "init.sh is a folder: Docker makes one when the file of a mount is not there; put the "
            "script in its place");
}

TEST_F(ScriptTest, AnExitStatusIsAnError) {
  Write("exit 3\n");
  EXPECT_EQ(Run().error().message, "init.sh ended with exit status 3");
  Write("kill -9 $$\n");
  EXPECT_EQ(Run().error().message, "init.sh ended with signal: killed");
}

TEST_F(ScriptTest, WhatItLeavesInTheBackgroundDoesNotHoldIt) {
  Write("sleep 1000 &\necho $! > \"$OUT\"\n");
  EXPECT_TRUE(Run());
  ::kill(std::stoi(Out()), SIGKILL);
}

// What it started is gone too: a pipe that only they hold reaches its end.
TEST_F(ScriptTest, StopEndsItAndWhatItStarted) {
  const std::filesystem::path fifo = folder_ / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  options_.environment.push_back("FIFO=" + fifo.string());
  options_.grace = std::chrono::milliseconds(0);
  Write("exec 5> \"$FIFO\"\necho up >&5\n(trap '' TERM; sleep 1000) &\nsleep 1000\n");
  StopSource source;
  Status status;
  std::jthread runner([&] { status = RunScript(options_, source.token()); });
  std::ifstream reader(fifo);
  std::string line;
  ASSERT_TRUE(std::getline(reader, line));
  EXPECT_EQ(line, "up");
  source.RequestStop(StopReason::kShutdown);
  runner.join();
  EXPECT_FALSE(status);
  EXPECT_FALSE(std::getline(reader, line));
}

}  // namespace
}  // namespace corral
