// The files of a model folder, by the relative paths that the client gave them.
//
// Reads descriptors, opens nothing. One thread at a time.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"

namespace corral::convert {

using Json = nlohmann::json;

class Inputs {
 public:
  // As many names as descriptors; these stay open as long as this.
  Inputs(std::span<const std::string> names, std::span<const int> fds);

  std::optional<int> Find(std::string_view name) const;
  bool Has(std::string_view name) const { return Find(name).has_value(); }
  // Those whose name ends so, sorted by name.
  std::vector<std::pair<std::string, int>> EndingWith(std::string_view suffix) const;

  // Whole, at most 256 MiB. Errors: kNotFound, kInvalidArgument (too large), kIo.
  Result<std::string> ReadText(std::string_view name) const;
  // An object; nesting is limited. Errors: as above, kInvalidArgument (not JSON).
  Result<Json> ReadJson(std::string_view name) const;
  // An empty object if there is no such file.
  Result<Json> ReadJsonIfThere(std::string_view name) const;

 private:
  std::vector<std::pair<std::string, int>> files_;
};

// JSON text with limited nesting, an object or a list. Errors: kInvalidArgument.
Result<Json> ParseJson(std::string_view text, std::string_view what);

// `size` bytes at `offset`. Errors: kInvalidArgument (the file is shorter), kIo.
Status ReadAt(int fd, std::uint64_t offset, char* to, std::size_t size);

inline tl::unexpected<Error> Refuse(std::string why) {
  return Fail(Code::kInvalidArgument, std::move(why));
}

}  // namespace corral::convert
