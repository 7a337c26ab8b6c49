// Names and digests: the only ways in which a string from outside becomes a path in the store.
//
// Form: [scheme://][host/][namespace/]model[:tag]; defaults https, registry.ollama.ai, library,
// latest. Source: docs/formats/store.md (Names). Pure values. Thread-safe.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"

namespace corral::models {

class ModelName {
 public:
  // Parses and fills in defaults. nullopt if the name is not valid (every part is checked, so that
  // Path() stays inside; the scheme is http or https).
  static std::optional<ModelName> Parse(std::string_view text);
  // From a path below manifests/: exactly host/namespace/model/tag.
  static std::optional<ModelName> FromPath(const std::filesystem::path& relative);

  const std::string& scheme() const { return scheme_; }
  const std::string& host() const { return host_; }
  const std::string& name_space() const { return namespace_; }
  const std::string& model() const { return model_; }
  const std::string& tag() const { return tag_; }

  std::string Short() const;           // "llama3.2:latest", "user/m:t", "hf.co/u/m:Q4"
  std::string Full() const;            // "registry.ollama.ai/library/llama3.2:latest"
  std::filesystem::path Path() const;  // host/namespace/model/tag
  // Of all parts but the scheme.
  bool EqualsIgnoringCase(const ModelName& other) const;
  auto operator<=>(const ModelName&) const = default;

 private:
  ModelName() = default;
  bool IsValid() const;

  std::string scheme_, host_, namespace_, model_, tag_;
};

// A name as a request gives it, with its source suffix (":cloud", "-cloud", ":local").
struct ModelReference {
  enum class Source { kUnspecified, kLocal, kCloud };
  std::string base;  // without the suffix, trimmed
  Source source = Source::kUnspecified;

  // The name to pull or delete: "m:20b:cloud" is "m:20b-cloud" there, "m:cloud" stays, ":local"
  // goes.
  std::string PullName() const;
};
// Errors: kInvalidArgument `use either :local or :cloud, not both: "x"`.
Result<ModelReference> ParseReference(std::string_view text);

// "sha256:<64 hex>", lower case. Accepts "sha256-" and upper case. nullopt: "invalid digest
// format".
class Digest {
 public:
  static std::optional<Digest> Parse(std::string_view text);
  static Digest OfHash(const std::array<std::uint8_t, 32>& sha256);  // Sha256::Hash
  static Digest OfBytes(std::string_view bytes);                     // hashes them
  std::string ToString() const { return "sha256:" + hex_; }
  std::string FileName() const { return "sha256-" + hex_; }
  const std::string& hex() const { return hex_; }
  auto operator<=>(const Digest&) const = default;

 private:
  explicit Digest(std::string hex) : hex_(std::move(hex)) {}
  std::string hex_;
};

}  // namespace corral::models
