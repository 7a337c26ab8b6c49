// Files named in a prompt: pictures and sounds that a multimodal model is shown.
//
// A path begins with '/', './', '\' or a drive, may hold blanks (plain or escaped), and ends in
// jpg, jpeg, png, webp or wav. A path without a file behind it stays in the text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace corral::cli {

// The paths in `text`, as they stand there.
std::vector<std::string> FindPaths(std::string_view text);

struct Attachments {
  std::string text;                // without the paths of the files that were read, trimmed
  std::vector<std::string> files;  // their bytes
  std::vector<std::string> notes;  // "Added image './a b.png'", one a file
};
// Reads files. Errors: kInvalidArgument (`invalid file type: text/plain`), kTooLarge (over 100
// MiB), kIo.
Result<Attachments> TakeAttachments(std::string_view text);

}  // namespace corral::cli
