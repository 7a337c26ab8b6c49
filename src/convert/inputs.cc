#include "convert/inputs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

namespace corral::convert {
namespace {

constexpr std::uint64_t kMostTextBytes = 256ULL << 20;
constexpr int kMostDepth = 64;

// Thrown out of nlohmann's parser, and caught in this file.
struct TooDeep {};

}  // namespace

Inputs::Inputs(std::span<const std::string> names, std::span<const int> fds) {
  for (std::size_t i = 0; i < std::min(names.size(), fds.size()); ++i)
    files_.emplace_back(names[i], fds[i]);
  std::sort(files_.begin(), files_.end());
}

std::optional<int> Inputs::Find(std::string_view name) const {
  for (const auto& [file, fd] : files_) {
    if (file == name) return fd;
  }
  return std::nullopt;
}

std::vector<std::pair<std::string, int>> Inputs::EndingWith(std::string_view suffix) const {
  std::vector<std::pair<std::string, int>> found;
  for (const auto& file : files_) {
    if (file.first.ends_with(suffix)) found.push_back(file);
  }
  return found;
}

Result<std::string> Inputs::ReadText(std::string_view name) const {
  const auto fd = Find(name);
  if (!fd) return Fail(Code::kNotFound, "the model has no " + std::string(name));
  struct stat facts {};
  if (::fstat(*fd, &facts) != 0) return Fail(ErrnoError(errno, "read " + std::string(name)));
  if (static_cast<std::uint64_t>(facts.st_size) > kMostTextBytes)
    return Refuse(std::string(name) + " is too large");
  std::string text(static_cast<std::size_t>(facts.st_size), '\0');
  auto read = ReadAt(*fd, 0, text.data(), text.size());
  if (!read) return Fail(std::move(read).error().Within(name));
  return text;
}

Result<Json> Inputs::ReadJson(std::string_view name) const {
  CORRAL_TRY(const std::string text, ReadText(name));
  CORRAL_TRY(Json json, ParseJson(text, name));
  if (!json.is_object() && !json.is_array()) return Refuse(std::string(name) + " is no object");
  return json;
}

Result<Json> Inputs::ReadJsonIfThere(std::string_view name) const {
  if (!Has(name)) return Json::object();
  return ReadJson(name);
}

Result<Json> ParseJson(std::string_view text, std::string_view what) {
  try {
    Json json = Json::parse(
        text,
        [](int depth, Json::parse_event_t /*event*/, Json& /*parsed*/) {
          if (depth > kMostDepth) throw TooDeep{};
          return true;
        },
        /*allow_exceptions=*/false);
    if (json.is_discarded()) return Refuse(std::string(what) + " is not JSON");
    return json;
  } catch (const TooDeep&) {
    return Refuse(std::string(what) + " is nested too deeply");
  }
}

Status ReadAt(int fd, std::uint64_t offset, char* to, std::size_t size) {
  while (size > 0) {
    const ssize_t n = ::pread(fd, to, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Fail(ErrnoError(errno, "read"));
    if (n == 0) return Refuse("the file is shorter than it says");
    to += n;
    offset += static_cast<std::uint64_t>(n);
    size -= static_cast<std::size_t>(n);
  }
  return {};
}

}  // namespace corral::convert
