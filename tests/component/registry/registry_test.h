// What the tests of the registry room share: a store, a registry with short times, a toy to pull
// from.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <stdlib.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "component/registry/toy_registry.h"
#include "core/stop.h"
#include "models/store.h"
#include "registry/registry.h"
#include "support/fault_gate/fault_gate.h"

namespace corral::testing {

namespace fs = std::filesystem;

inline std::string SomeBytes(std::size_t size, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

inline std::string ReadAll(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

class RegistryTest : public ::testing::Test {
 protected:
  RegistryTest() {
    std::string pattern = ::testing::TempDir() + "corral-registry-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    folder_ = pattern;
    store_ = models::Store::Open(folder_ / "models", {}).value();
    options_.chunk_bytes = 64 << 10;
    options_.window_bytes = 512 << 10;
    options_.n_streams = 4;
    options_.retry_delay = std::chrono::milliseconds(2);
    options_.stall = std::chrono::milliseconds(10'000);
    options_.save_interval = std::chrono::milliseconds(5);
    options_.progress_interval = std::chrono::milliseconds(1);
    options_.other_owner_interval = std::chrono::milliseconds(2);
  }
  ~RegistryTest() override {
    registry_.reset();
    store_.reset();
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }

  registry::Registry& Made() {
    if (!registry_) registry_ = std::make_unique<registry::Registry>(*store_, options_);
    return *registry_;
  }
  static registry::TransferRequest RequestFor(const std::string& name) {
    return {models::ModelName::Parse(name).value(), /*is_insecure=*/true};
  }
  // The lines without repetitions; the last one is "error: ..." if it failed.
  std::vector<std::string> Pull(const std::string& name, const StopToken& stop = {}) {
    std::vector<std::string> lines;
    const Status status = Made().Pull(RequestFor(name), stop, [&](registry::Progress progress) {
      if (lines.empty() || lines.back() != progress.status) lines.push_back(progress.status);
    });
    if (!status) lines.push_back("error: " + status.error().message);
    return lines;
  }
  // Of the toy on `host`.
  std::string Name(const std::string& model = "m", const std::string& host = "") const {
    return (host.empty() ? toy_.host() : host) + "/library/" + model;
  }
  fs::path Blob(const models::Layer& layer) const { return store_->BlobPath(layer.digest); }
  std::set<std::string> Blobs() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_ / "models" / "blobs"))
      names.insert(entry.path().filename());
    return names;
  }

  ToyRegistry toy_;
  registry::Options options_;
  fs::path folder_;
  std::unique_ptr<models::Store> store_;
  std::unique_ptr<registry::Registry> registry_;
};

}  // namespace corral::testing
