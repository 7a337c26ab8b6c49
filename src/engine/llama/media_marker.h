// Where images and sounds stand in the text of a prompt, from the messages to the rendered text.
//
// An image goes through the template as a mark in its message's content: in place of the next
// `[img]`, else in front of it (Ollama's server/prompt.go). The marks hold a random number, so that
// no text that a user sends can be taken for one. Thread-safe: constant after construction.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/job.h"

namespace corral::engine {

class MediaMarker {
 public:
  MediaMarker();

  // The messages with marks in their content and empty strings for their images, which are counted
  // over all messages from 0.
  std::vector<ChatMessage> Place(const std::vector<ChatMessage>& messages) const;

  static constexpr std::size_t kText = static_cast<std::size_t>(-1);
  struct Part {
    std::string_view text;      // if `image` is kText; not empty
    std::size_t image = kText;  // which image stands here
  };
  // The rendered text as its parts, views of it.
  std::vector<Part> Split(std::string_view text) const;
  // The text as Ollama would have it: "[img-0]" for the first of the images that are in it.
  std::string WithTags(std::string_view text) const;

 private:
  std::string MarkOf(std::size_t image) const;

  std::string begin_;  // of each mark; a number and kEnd follow
};

}  // namespace corral::engine
