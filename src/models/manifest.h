// Manifests and configs: JSON on disk, values here. Byte for byte as Ollama writes them
// (docs/formats/store.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "models/name.h"

namespace corral::models {

// "application/vnd.ollama.image.<kind>"
inline constexpr std::string_view kMediaPrefix = "application/vnd.ollama.image.";
inline constexpr std::string_view kManifestMediaType =
    "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view kConfigMediaType =
    "application/vnd.docker.container.image.v1+json";

// What a manifest may hold at most; more is kCorrupt.
inline constexpr std::size_t kMaxManifestBytes = 4U << 20;
inline constexpr std::size_t kMaxLayers = 16'384;

struct Layer {
  std::string media_type;
  Digest digest;
  std::int64_t size = 0;
  std::string from;  // the model it was taken from, or the source file's name
  std::string name;  // tensor models
  // "model", "template"... ; "prompt" is given as "template"; empty for foreign media types.
  std::string_view Kind() const;
  bool operator==(const Layer&) const = default;
};

struct Manifest {
  std::optional<Layer> config;  // absent in odd old models: defaults apply
  std::vector<Layer> layers;
  std::string media_type;  // as it says itself; empty: it doesn't
  std::string raw;         // the file's bytes, kept: a pulled manifest is stored as received
  std::string digest;      // hex SHA-256 of raw: the model's ID

  // First layer of this kind, or null.
  const Layer* Find(std::string_view kind) const;
  std::int64_t TotalBytes() const;  // layers and config, saturating
};

// Checks shape and limits (layer count, sizes >= 0, digests). Unknown keys and media types are kept
// out of the way. Errors: kCorrupt.
Result<Manifest> ParseManifest(std::string raw);
// Compact JSON + "\n" in Ollama's key order.
std::string EncodeManifest(const Layer& config, const std::vector<Layer>& layers);

struct ModelConfig {
  std::string model_format, model_family;
  std::vector<std::string> model_families;
  std::string model_type, file_type;  // "134.52M", "Q4_1"
  std::string renderer, parser, requires_version;
  std::string remote_host, remote_model;
  std::vector<std::string> capabilities;
  std::int64_t context_length = 0, embedding_length = 0;
  std::string base_name;
};
// Unknown keys, and known ones of another type, are left out. Errors: kCorrupt (no JSON object).
Result<ModelConfig> ParseConfig(std::string_view json);
std::string EncodeConfig(const ModelConfig& config);

}  // namespace corral::models
