#include "gguf/merge.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "core/files.h"
#include "gguf/writer.h"

namespace corral::gguf {
namespace {

UniqueFd InMemory(std::string_view bytes) {
  UniqueFd fd(::memfd_create("corral-test", MFD_CLOEXEC));
  EXPECT_TRUE(WriteAll(fd.get(), bytes));
  return fd;
}

Writer Part(std::uint32_t no, std::uint32_t count, std::uint32_t n_tensors) {
  Writer writer;
  if (no == 0) {
    writer.SetString("general.architecture", "llama");
    writer.SetStrings("tokenizer.ggml.tokens", std::vector<std::string>(600, "x"));
  }
  const std::uint16_t no16 = static_cast<std::uint16_t>(no);
  const std::uint16_t count16 = static_cast<std::uint16_t>(count);
  writer.SetRaw("split.no", ValueType::kUint16, {reinterpret_cast<const char*>(&no16), 2});
  writer.SetRaw("split.count", ValueType::kUint16, {reinterpret_cast<const char*>(&count16), 2});
  writer.SetUint32("split.tensors.count", n_tensors);
  return writer;
}

Status MergeAll(const std::vector<const UniqueFd*>& parts, const UniqueFd& output) {
  std::vector<int> fds;
  for (const UniqueFd* part : parts) fds.push_back(part->get());
  return Merge(fds, output.get(), nullptr);
}

TEST(MergeTest, JoinsThePartsOfASplitModel) {
  const std::vector<float> a(40, 1.5F);
  const std::vector<float> b(3, -2.0F);
  Writer first = Part(0, 2, 2);
  first.AddTensor("a", {8, 5}, a);
  Writer second = Part(1, 2, 2);
  second.AddTensor("b", {3}, b);
  Writer whole;
  whole.SetString("general.architecture", "llama");
  whole.SetStrings("tokenizer.ggml.tokens", std::vector<std::string>(600, "x"));
  whole.AddTensor("a", {8, 5}, a);
  whole.AddTensor("b", {3}, b);

  const UniqueFd part_1 = InMemory(first.Bytes());
  const UniqueFd part_2 = InMemory(second.Bytes());
  const UniqueFd output = InMemory("");
  const Status merged = MergeAll({&part_1, &part_2}, output);
  ASSERT_TRUE(merged) << merged.error().message;
  std::string bytes(whole.Bytes().size() + 1, '\0');
  EXPECT_EQ(::pread(output.get(), bytes.data(), bytes.size(), 0),
            static_cast<ssize_t>(whole.Bytes().size()));
  bytes.pop_back();
  EXPECT_EQ(bytes, whole.Bytes());
}

TEST(MergeTest, RefusesPartsThatDoNotBelongTogether) {
  Writer first = Part(0, 2, 2);
  first.AddTensor("a", {1}, std::vector<float>{1});
  Writer second = Part(1, 2, 2);
  second.AddTensor("a", {1}, std::vector<float>{1});
  Writer lone = Part(1, 2, 9);
  const UniqueFd part_1 = InMemory(first.Bytes());
  const UniqueFd part_2 = InMemory(second.Bytes());
  const UniqueFd part_3 = InMemory(lone.Bytes());
  const UniqueFd output = InMemory("");
  EXPECT_FALSE(MergeAll({&part_1, &part_2}, output));  // the same tensor twice
  EXPECT_FALSE(MergeAll({&part_2, &part_1}, output));  // another order
  EXPECT_FALSE(MergeAll({&part_1}, output));
  EXPECT_FALSE(MergeAll({&part_1, &part_3}, output));  // not all tensors
  EXPECT_FALSE(MergeAll({}, output));
}

}  // namespace
}  // namespace corral::gguf
