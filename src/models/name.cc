#include "models/name.h"

#include <algorithm>
#include <vector>

#include "core/sha256.h"
#include "core/text.h"

namespace corral::models {
namespace {

constexpr std::string_view kDefaultScheme = "https";
constexpr std::string_view kDefaultHost = "registry.ollama.ai";
constexpr std::string_view kDefaultNamespace = "library";
constexpr std::string_view kDefaultTag = "latest";

bool IsWordCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Ollama's types/model/name.go (isValidPart): `others` may follow the first character.
bool IsValidPart(std::string_view part, std::size_t max_bytes, std::string_view others) {
  if (part.empty() || part.size() > max_bytes || !IsWordCharacter(part.front())) return false;
  return std::all_of(part.begin(), part.end(), [&](char c) {
    return IsWordCharacter(c) || others.find(c) != std::string_view::npos;
  });
}

bool EqualsFolded(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ToLowerAscii(a) == ToLowerAscii(b);
}

struct Cut {
  std::string_view before, after;
  bool has_separator;
};
Cut CutLast(std::string_view text, char separator) {
  const std::size_t at = text.rfind(separator);
  if (at == std::string_view::npos) return {{}, text, false};
  return {text.substr(0, at), text.substr(at + 1), true};
}

}  // namespace

bool ModelName::IsValid() const {
  return (scheme_ == "https" || scheme_ == "http") && IsValidPart(host_, 350, "-.:") &&
         IsValidPart(namespace_, 80, "-") && IsValidPart(model_, 80, "-.") &&
         IsValidPart(tag_, 80, "-.");
}

std::optional<ModelName> ModelName::Parse(std::string_view text) {
  ModelName name;
  name.scheme_ = kDefaultScheme;
  name.host_ = kDefaultHost;
  name.namespace_ = kDefaultNamespace;
  name.tag_ = kDefaultTag;
  // A part that a separator promises is taken even when it is empty, and then is not valid.
  if (const Cut tag = CutLast(text, ':');
      tag.has_separator && tag.after.find('/') == std::string_view::npos) {
    name.tag_ = tag.after;
    text = tag.before;
  }
  const Cut model = CutLast(text, '/');
  name.model_ = model.after;
  if (model.has_separator) {
    const Cut name_space = CutLast(model.before, '/');
    name.namespace_ = name_space.after;
    if (name_space.has_separator) {
      std::string_view host = name_space.before;
      if (const std::size_t at = host.find("://"); at != std::string_view::npos) {
        name.scheme_ = host.substr(0, at);
        host = host.substr(at + 3);
      }
      name.host_ = host;
    }
  }
  if (!name.IsValid()) return std::nullopt;
  return name;
}

std::optional<ModelName> ModelName::FromPath(const std::filesystem::path& relative) {
  const std::vector<std::string_view> parts = Split(relative.native(), '/');
  if (parts.size() != 4) return std::nullopt;
  ModelName name;
  name.scheme_ = kDefaultScheme;
  name.host_ = parts[0];
  name.namespace_ = parts[1];
  name.model_ = parts[2];
  name.tag_ = parts[3];
  if (!name.IsValid()) return std::nullopt;
  return name;
}

std::string ModelName::Short() const {
  std::string text;
  if (!EqualsFolded(host_, kDefaultHost)) {
    text.append(host_).append("/").append(namespace_).append("/");
  } else if (!EqualsFolded(namespace_, kDefaultNamespace)) {
    text.append(namespace_).append("/");
  }
  return text.append(model_).append(":").append(tag_);
}

std::string ModelName::Full() const { return host_ + "/" + namespace_ + "/" + model_ + ":" + tag_; }

std::filesystem::path ModelName::Path() const {
  return std::filesystem::path(host_) / namespace_ / model_ / tag_;
}

bool ModelName::EqualsIgnoringCase(const ModelName& other) const {
  return EqualsFolded(host_, other.host_) && EqualsFolded(namespace_, other.namespace_) &&
         EqualsFolded(model_, other.model_) && EqualsFolded(tag_, other.tag_);
}

// Ollama's internal/modelref.

namespace {

// Takes one source suffix off.
ModelReference TakeSuffix(std::string_view text) {
  using Source = ModelReference::Source;
  const Cut cut = CutLast(text, ':');
  if (cut.has_separator) {
    const std::string word = ToLowerAscii(cut.after);
    if (word == "cloud") return {std::string(cut.before), Source::kCloud};
    if (word == "local") return {std::string(cut.before), Source::kLocal};
    constexpr std::string_view kSuffix = "-cloud";
    if (word.ends_with(kSuffix) && word.size() > kSuffix.size() &&
        word.find('/') == std::string::npos) {
      return {std::string(text.substr(0, text.size() - kSuffix.size())), Source::kCloud};
    }
  }
  return {std::string(text), Source::kUnspecified};
}

}  // namespace

Result<ModelReference> ParseReference(std::string_view text) {
  const std::string_view trimmed = TrimSpace(text);
  ModelReference reference = TakeSuffix(trimmed);
  if (reference.source != ModelReference::Source::kUnspecified &&
      TakeSuffix(reference.base).source != ModelReference::Source::kUnspecified) {
    return Fail(Code::kInvalidArgument,
                "use either :local or :cloud, not both: \"" + std::string(trimmed) + "\"");
  }
  return reference;
}

std::string ModelReference::PullName() const {
  if (source != Source::kCloud) return base;
  const Cut tag = CutLast(base, ':');
  const bool has_tag = tag.has_separator && tag.after.find('/') == std::string_view::npos;
  return base + (has_tag ? "-cloud" : ":cloud");
}

std::optional<Digest> Digest::Parse(std::string_view text) {
  constexpr std::size_t kHexDigits = 64;
  if (!text.starts_with("sha256:") && !text.starts_with("sha256-")) return std::nullopt;
  std::string hex = ToLowerAscii(text.substr(7));
  if (hex.size() != kHexDigits || hex.find_first_not_of("0123456789abcdef") != std::string::npos)
    return std::nullopt;
  return Digest(std::move(hex));
}

Digest Digest::OfHash(const std::array<std::uint8_t, 32>& sha256) {
  return Digest(HexEncode({reinterpret_cast<const char*>(sha256.data()), sha256.size()}));
}

Digest Digest::OfBytes(std::string_view bytes) { return Digest(Sha256Hex(bytes)); }

}  // namespace corral::models
