// Any bytes as the archive of `corral load`, into a real store: nothing appears outside of it, and
// what it has afterwards is whole (S03).
#include "models/archive.h"

#include <stdlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>

#include "models/internal/tar.h"
#include "models/verify.h"

namespace {

namespace fs = std::filesystem;

// A store two folders deep in a folder of its own, so that ".." has something to leave.
struct Place {
  Place() {
    std::string pattern = fs::temp_directory_path() / "corral-fuzz-XXXXXX";
    CORRAL_CHECK(::mkdtemp(pattern.data()) != nullptr, "no temporary folder");
    folder = pattern;
    fs::create_directory(folder / "in");
    store = corral::models::Store::Open(folder / "in" / "models", {}).value();
  }
  ~Place() {
    store.reset();
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  fs::path folder;
  std::unique_ptr<corral::models::Store> store;
};

std::ptrdiff_t CountIn(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace corral;
  static Place place;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto records = models::internal::DecodePax(bytes); records && records->path)
    CORRAL_CHECK(records->path->size() < size, "a path that was not there");
  std::size_t position = 0;
  const auto loaded = models::LoadModels(*place.store,
                                         [&](std::span<char> buffer) -> Result<std::size_t> {
                                           const std::size_t n =
                                               bytes.copy(buffer.data(), buffer.size(), position);
                                           position += n;
                                           return n;
                                         },
                                         {});
  CORRAL_CHECK(CountIn(place.folder) == 1 && CountIn(place.folder / "in") == 1,
               "a file outside of the store");
  if (!loaded) return 0;
  for (const models::ModelName& name : loaded->names)
    CORRAL_CHECK(place.store->LoadManifest(name).has_value(), "a model that is not there");
  for (const models::ModelName& name : loaded->names) (void)place.store->Delete(name);
  return 0;
}
