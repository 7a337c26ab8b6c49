#include "models/internal/list_cache.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "models/internal/go_json.h"

namespace corral::models::internal {
namespace {

using nlohmann::json;

constexpr int kVersion = 2;  // of the file, and of what is put into it
constexpr std::uint64_t kMostBytes = 64ULL << 20;

const char* Name(std::optional<bool> go_template) {
  if (!go_template) return "unset";
  return *go_template ? "true" : "false";
}

std::filesystem::path PathOf(const Layout& layout) { return layout.own / "list"; }

// Null for an entry that is not right.
std::shared_ptr<const ModelSummary> ReadEntry(const json& entry) {
  const auto number = [&entry](const char* key) -> std::int64_t {
    const auto found = entry.find(key);
    return found != entry.end() && found->is_number_integer() ? found->get<std::int64_t>() : -1;
  };
  auto config = ParseConfig(TextOf(entry, "config"));
  const auto capabilities = entry.find("capabilities");
  if (!config || capabilities == entry.end() || !capabilities->is_array()) return nullptr;
  auto name = ModelName::Parse("unnamed");  // the manifest says it
  if (!name) return nullptr;
  auto summary =
      std::make_shared<ModelSummary>(ModelSummary{.name = *std::move(name), .digest = {}});
  summary->digest = TextOf(entry, "digest");
  summary->size_bytes = number("size");
  summary->context_length = number("context_length");
  summary->embedding_length = number("embedding_length");
  summary->config = *std::move(config);
  for (const json& capability : *capabilities) {
    if (!capability.is_number_integer()) return nullptr;
    const auto value = capability.get<std::int64_t>();
    if (value < 0 || value > static_cast<std::int64_t>(Capability::kImage)) return nullptr;
    summary->capabilities.push_back(static_cast<Capability>(value));
  }
  if (summary->size_bytes < 0 || summary->context_length < 0 || summary->embedding_length < 0)
    return nullptr;
  return summary;
}

json FactsToJson(const FileFacts& facts) {
  return {facts.device, facts.inode, facts.size_bytes, facts.modified_at.time_since_epoch().count(),
          facts.changed_at.time_since_epoch().count()};
}

// Nullopt for an entry that is not right.
std::optional<KnownManifest> ReadManifestEntry(const json& entry) {
  constexpr std::size_t kFacts = 5;
  const auto facts = entry.find("file");
  const auto weights = entry.find("weights");
  if (facts == entry.end() || !facts->is_array() || facts->size() != kFacts ||
      weights == entry.end() || !weights->is_array()) {
    return std::nullopt;
  }
  for (const json& number : *facts) {
    if (!number.is_number_integer()) return std::nullopt;
  }
  KnownManifest known;
  known.facts.is_regular = true;
  known.facts.device = (*facts)[0].get<std::uint64_t>();
  known.facts.inode = (*facts)[1].get<std::uint64_t>();
  known.facts.size_bytes = (*facts)[2].get<std::uint64_t>();
  known.facts.modified_at = FileTime(FileTime::duration((*facts)[3].get<std::int64_t>()));
  known.facts.changed_at = FileTime(FileTime::duration((*facts)[4].get<std::int64_t>()));
  known.digest = TextOf(entry, "digest");
  for (const json& text : *weights) {
    auto digest = Digest::Parse(text.is_string() ? text.get_ref<const std::string&>() : "");
    if (!digest) return std::nullopt;
    known.weights.push_back(*std::move(digest));
  }
  return known;
}

}  // namespace

ListCache ReadListCache(FileSystem& files, const Layout& layout, std::optional<bool> go_template) {
  ListCache cache;
  const auto text = files.Read(PathOf(layout), kMostBytes);
  if (!text) return cache;
  const auto root = ParseJson(*text);
  if (!root || !root->is_object() || root->value("version", json()) != json(kVersion) ||
      TextOf(*root, "go_template") != Name(go_template))
    return cache;
  const auto models = root->find("models");
  const auto manifests = root->find("manifests");
  if (models == root->end() || !models->is_object() || manifests == root->end() ||
      !manifests->is_object()) {
    return cache;
  }
  for (const auto& [key, entry] : models->items()) {
    if (!entry.is_object()) continue;
    if (auto summary = ReadEntry(entry)) cache.summaries.emplace(key, std::move(summary));
  }
  for (const auto& [path, entry] : manifests->items()) {
    if (!entry.is_object()) continue;
    if (auto known = ReadManifestEntry(entry)) cache.manifests.emplace(path, *std::move(known));
  }
  return cache;
}

void WriteListCache(FileSystem& files, const Layout& layout, std::optional<bool> go_template,
                    const ListCache& cache) {
  json models = json::object();
  for (const auto& [key, summary] : cache.summaries) {
    json capabilities = json::array();
    for (const Capability capability : summary->capabilities)
      capabilities.push_back(static_cast<int>(capability));
    models[key] = {{"digest", summary->digest},
                   {"size", summary->size_bytes},
                   {"context_length", summary->context_length},
                   {"embedding_length", summary->embedding_length},
                   {"config", EncodeConfig(summary->config)},
                   {"capabilities", std::move(capabilities)}};
  }
  json manifests = json::object();
  for (const auto& [path, known] : cache.manifests) {
    json weights = json::array();
    for (const Digest& digest : known.weights) weights.push_back(digest.ToString());
    manifests[path] = {{"file", FactsToJson(known.facts)},
                       {"digest", known.digest},
                       {"weights", std::move(weights)}};
  }
  const json root = {{"version", kVersion},
                     {"go_template", Name(go_template)},
                     {"models", std::move(models)},
                     {"manifests", std::move(manifests)}};
  if (!files.MakeFolders(layout.own)) return;
  // What a manifest or a config says may be no UTF-8.
  (void)files.WriteAtomically(PathOf(layout),
                              root.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace corral::models::internal
