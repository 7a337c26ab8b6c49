// For tests of this room: a store in a folder of its own, and small things to put into it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/writer.h"
#include "models/store.h"

namespace corral::models {

namespace fs = std::filesystem;

inline ModelName NameOf(std::string_view text) { return ModelName::Parse(text).value(); }

inline std::string ReadAll(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

inline void WriteAll(const fs::path& file, std::string_view bytes) {
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

inline void Age(const fs::path& file, int hours) {
  timespec times[2] = {};
  times[0].tv_sec = times[1].tv_sec = ::time(nullptr) - hours * 3600;
  ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, AT_SYMLINK_NOFOLLOW), 0) << file;
}

// What libllama would load, and nothing in it. `salt` makes another digest.
inline gguf::Writer TinyGguf(std::string_view architecture = "test", std::uint32_t salt = 0) {
  gguf::Writer writer;
  const std::string prefix = std::string(architecture) + ".";
  writer.SetString("general.architecture", architecture);
  writer.SetUint32(prefix + "context_length", 2048);
  writer.SetUint32(prefix + "embedding_length", 64);
  writer.SetUint32(prefix + "block_count", 1);
  writer.SetString("tokenizer.ggml.model", "llama");
  writer.SetStrings("tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "<s>", "</s>"});
  if (salt != 0) writer.SetUint32("test.salt", salt);
  return writer;
}

// A folder that ends with the test.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = ::testing::TempDir() + "corral-models-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    ::chmod(pattern.c_str(), 0755);
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() : root_(folder_.path() / "models") {}

  void Open(StoreOptions options = {}) {
    store_.reset();
    auto opened = Store::Open(root_, options);
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
  }

  Digest Upload(std::string_view bytes) {
    const Digest digest = Digest::OfBytes(bytes);
    auto writer = store_->NewBlob();
    EXPECT_TRUE(writer) << writer.error().message;
    EXPECT_TRUE((*writer)->Append(bytes));
    const Status status = (*writer)->Commit(digest);
    EXPECT_TRUE(status) << status.error().message;
    return digest;
  }

  // The status lines, or "error: ..." as the last one.
  std::vector<std::string> Create(const CreateSpec& spec) {
    std::vector<std::string> lines;
    const Status status = store_->Create(
        spec, [&](std::string line) { lines.push_back(std::move(line)); }, StopToken());
    if (!status) lines.push_back("error: " + status.error().message);
    return lines;
  }
  // Expects success.
  void CreateFrom(std::string_view name, std::string_view gguf, CreateSpec spec = {NameOf("x")}) {
    spec.name = NameOf(name);
    spec.files = {{"model.gguf", Upload(gguf)}};
    const auto lines = Create(spec);
    ASSERT_EQ(lines.back(), "writing manifest");
  }

  std::shared_ptr<const Model> Load(std::string_view name) {
    auto model = store_->Load(NameOf(name));
    EXPECT_TRUE(model) << model.error().message;
    return model ? *model : nullptr;
  }

  std::vector<ModelSummary> ListAll() { return store_->List().value(); }
  std::vector<std::string> Listed() {
    std::vector<std::string> names;
    for (const ModelSummary& summary : ListAll()) names.push_back(summary.name.Short());
    return names;
  }

  // Names in blobs/.
  std::set<std::string> Blobs() const {
    std::set<std::string> names;
    if (!fs::exists(root_ / "blobs")) return names;
    for (const auto& entry : fs::directory_iterator(root_ / "blobs"))
      names.insert(entry.path().filename());
    return names;
  }

  fs::path Manifest(std::string_view name) const {
    return root_ / "manifests" / NameOf(name).Path();
  }
  fs::path Blob(const Digest& digest) const { return root_ / "blobs" / digest.FileName(); }

  TempFolder folder_;
  fs::path root_;
  std::unique_ptr<Store> store_;
};

}  // namespace corral::models
