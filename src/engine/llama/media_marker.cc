#include "engine/llama/media_marker.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <random>

namespace corral::engine {
namespace {

constexpr std::string_view kEnd = "__";
constexpr std::string_view kPlace = "[img]";

}  // namespace

// Letters, digits and underscores: no template escapes or trims them.
MediaMarker::MediaMarker() {
  std::random_device random;
  begin_ = fmt::format("__corral_media_{:08x}{:08x}{:08x}{:08x}_", random(), random(), random(),
                       random());
}

std::string MediaMarker::MarkOf(std::size_t image) const {
  return begin_ + std::to_string(image) + std::string(kEnd);
}

std::vector<ChatMessage> MediaMarker::Place(const std::vector<ChatMessage>& messages) const {
  std::vector<ChatMessage> placed;
  placed.reserve(messages.size());
  std::size_t image = 0;
  for (const ChatMessage& message : messages) {
    // All but the bytes of the images, which may be many.
    ChatMessage copy{message.role,       message.content,   message.thinking,    {},
                     message.tool_calls, message.tool_name, message.tool_call_id};
    std::string in_front;
    for (std::size_t i = 0; i < message.images.size(); ++i) {
      const std::string mark = MarkOf(image++);
      if (const std::size_t at = copy.content.find(kPlace); at != std::string::npos) {
        copy.content.replace(at, kPlace.size(), mark);
      } else {
        in_front += mark;
      }
    }
    copy.content.insert(0, in_front);
    copy.images.resize(message.images.size());
    placed.push_back(std::move(copy));
  }
  return placed;
}

std::vector<MediaMarker::Part> MediaMarker::Split(std::string_view text) const {
  std::vector<Part> parts;
  std::size_t begin = 0;  // of the text that is not in a part yet
  for (std::size_t from = 0;;) {
    const std::size_t at = text.find(begin_, from);
    if (at == std::string_view::npos) break;
    const char* const number = text.data() + at + begin_.size();
    std::size_t image = 0;
    const auto read = std::from_chars(number, text.data() + text.size(), image);
    const auto end = static_cast<std::size_t>(read.ptr - text.data());
    from = end;
    if (read.ec != std::errc() || !text.substr(end).starts_with(kEnd))
      continue;  // a template cut it
    if (at > begin) parts.push_back({text.substr(begin, at - begin)});
    parts.push_back({{}, image});
    begin = from = end + kEnd.size();
  }
  if (begin < text.size()) parts.push_back({text.substr(begin)});
  return parts;
}

std::string MediaMarker::WithTags(std::string_view text) const {
  const std::vector<Part> parts = Split(text);
  std::vector<std::size_t> images;
  for (const Part& part : parts) {
    if (part.image != kText) images.push_back(part.image);
  }
  std::sort(images.begin(), images.end());
  images.erase(std::unique(images.begin(), images.end()), images.end());
  std::string tagged;
  for (const Part& part : parts) {
    if (part.image == kText) {
      tagged += part.text;
      continue;
    }
    const auto rank = std::lower_bound(images.begin(), images.end(), part.image) - images.begin();
    tagged += "[img-" + std::to_string(rank) + "]";
  }
  return tagged;
}

}  // namespace corral::engine
