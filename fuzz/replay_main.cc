// Feeds files to a fuzz target, one after the other: a plain main for builds without libFuzzer.
//
// usage: fuzz_<name> <folder or file>...    exit status 0 if nothing crashed, 2 if an input cannot
// be read.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

bool Replay(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)),
                                std::istreambuf_iterator<char>());
  if (!file) return false;
  std::fprintf(stderr, "%s: %zu bytes\n", path.c_str(), bytes.size());
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t n_inputs = 0;
  for (int i = 1; i < argc; ++i) {
    std::error_code error;
    if (!std::filesystem::is_directory(argv[i], error)) {
      if (!Replay(argv[i])) return 2;
      ++n_inputs;
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[i], error)) {
      if (!entry.is_regular_file()) continue;
      if (!Replay(entry.path())) return 2;
      ++n_inputs;
    }
    if (error) return 2;
  }
  LLVMFuzzerTestOneInput(nullptr, 0);  // the empty input is everybody's
  std::fprintf(stderr, "%zu inputs\n", n_inputs);
  std::printf("%zu passed, 0 failed\n", n_inputs + 1);
  return 0;
}
