#include "cli/attachments.h"

#include <sys/stat.h>

#include <array>
#include <cctype>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>

#include "core/text.h"

namespace corral::cli {
namespace {

constexpr std::array<std::string_view, 5> kExtensions = {"jpg", "jpeg", "png", "webp", "wav"};
constexpr std::string_view kEscapable = "()[]{}$&;'\\*?~ ";
constexpr std::uint64_t kMostBytes = 100U << 20U;

bool IsWordCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// Bytes of the path's beginning at the start of `text`: "C:/", "./", "/", "\"; 0 if there is none.
std::size_t StartLength(std::string_view text) {
  std::size_t drive = 0;
  if (text.size() >= 2 && std::isalpha(static_cast<unsigned char>(text[0])) != 0 && text[1] == ':')
    drive = 2;
  const std::string_view rest = text.substr(drive);
  if (rest.starts_with("./")) return drive + 2;
  if (rest.starts_with('/') || rest.starts_with('\\')) return drive + 1;
  return 0;
}

// Bytes of ".png" and the like at the start of `text`, if no word goes on behind it; 0 if it is
// something else.
std::size_t ExtensionLength(std::string_view text) {
  if (!text.starts_with('.')) return 0;
  for (const std::string_view extension : kExtensions) {
    const std::size_t length = 1 + extension.size();
    if (ToLowerAscii(text.substr(1, extension.size())) != extension) continue;
    if (text.size() == length || !IsWordCharacter(text[length])) return length;
  }
  return 0;
}

std::string Unescaped(std::string_view path) {
  std::string out;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '\\' && i + 1 < path.size() &&
        kEscapable.find(path[i + 1]) != std::string_view::npos)
      ++i;
    out += path[i];
  }
  return out;
}

// As net/http's DetectContentType, for the types at hand; what it is otherwise only matters for the
// message.
std::string SniffType(std::string_view bytes) {
  if (bytes.starts_with("\xff\xd8\xff")) return "image/jpeg";
  if (bytes.starts_with("\x89PNG\r\n\x1a\n")) return "image/png";
  if (bytes.starts_with("GIF87a") || bytes.starts_with("GIF89a")) return "image/gif";
  if (bytes.starts_with("RIFF") && bytes.size() >= 12) {
    if (bytes.substr(8, 4) == "WEBP") return "image/webp";
    if (bytes.substr(8, 4) == "WAVE") return "audio/wave";
  }
  for (const char c : bytes.substr(0, 512)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r' && byte != '\f' && byte != 0x1b)
      return "application/octet-stream";
  }
  return "text/plain; charset=utf-8";
}

Result<std::string> ReadAttachment(const std::string& path, std::string* type) {
  struct stat facts {};
  if (stat(path.c_str(), &facts) != 0) return Fail(ErrnoError(errno, "stat " + path));
  if (static_cast<std::uint64_t>(facts.st_size) > kMostBytes)
    return Fail(Code::kTooLarge, "file size exceeds maximum limit (100MB)");
  std::ifstream file(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.good() && !file.eof()) return Fail(Code::kIo, "read " + path + " failed");
  *type = SniffType(bytes);
  if (*type != "image/jpeg" && *type != "image/png" && *type != "image/webp" &&
      *type != "audio/wave")
    return Fail(Code::kInvalidArgument, "invalid file type: " + *type);
  return bytes;
}

bool IsRegularFile(const std::string& path) {
  struct stat facts {};
  return stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode);
}

void EraseAll(std::string& text, const std::string& what) {
  for (std::size_t at; (at = text.find(what)) != std::string::npos;) text.erase(at, what.size());
}

}  // namespace

std::vector<std::string> FindPaths(std::string_view text) {
  std::vector<std::string> paths;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t n_start = StartLength(text.substr(start));
    std::size_t end = 0;
    // The shortest run of non-blanks and spaces, at least one, up to an extension.
    for (std::size_t i = start + n_start + 1; n_start > 0 && i <= text.size(); ++i) {
      const char before = text[i - 1];
      if (before != ' ' && std::isspace(static_cast<unsigned char>(before)) != 0) break;
      if (const std::size_t n = ExtensionLength(text.substr(i)); n > 0) {
        end = i + n;
        break;
      }
    }
    if (end == 0) {
      ++start;
      continue;
    }
    paths.emplace_back(text.substr(start, end - start));
    start = end;
  }
  return paths;
}

Result<Attachments> TakeAttachments(std::string_view text) {
  Attachments taken;
  taken.text = text;
  for (const std::string& path : FindPaths(text)) {
    const std::string name = Unescaped(path);
    if (!IsRegularFile(name)) continue;
    std::string type;
    CORRAL_TRY(std::string bytes, ReadAttachment(name, &type));
    taken.files.push_back(std::move(bytes));
    taken.notes.push_back((type == "audio/wave" ? "Added audio '" : "Added image '") + name + "'");
    EraseAll(taken.text, "'" + name + "'");
    EraseAll(taken.text, "'" + path + "'");
    EraseAll(taken.text, path);
  }
  taken.text = std::string(TrimSpace(taken.text));
  return taken;
}

}  // namespace corral::cli
