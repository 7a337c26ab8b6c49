#include "models/internal/list_cache.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "models/internal/go_json.h"

namespace corral::models::internal {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;  // of the file, and of what is put into it
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

}  // namespace

Summaries ReadListCache(FileSystem& files, const Layout& layout, std::optional<bool> go_template) {
  Summaries summaries;
  const auto text = files.Read(PathOf(layout), kMostBytes);
  if (!text) return summaries;
  const auto root = ParseJson(*text);
  if (!root || !root->is_object() || root->value("version", json()) != json(kVersion) ||
      TextOf(*root, "go_template") != Name(go_template))
    return summaries;
  const auto models = root->find("models");
  if (models == root->end() || !models->is_object()) return summaries;
  for (const auto& [key, entry] : models->items()) {
    if (!entry.is_object()) continue;
    if (auto summary = ReadEntry(entry)) summaries.emplace(key, std::move(summary));
  }
  return summaries;
}

void WriteListCache(FileSystem& files, const Layout& layout, std::optional<bool> go_template,
                    const Summaries& summaries) {
  json models = json::object();
  for (const auto& [key, summary] : summaries) {
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
  const json root = {
      {"version", kVersion}, {"go_template", Name(go_template)}, {"models", std::move(models)}};
  if (!files.MakeFolders(layout.own)) return;
  // What a manifest or a config says may be no UTF-8.
  (void)files.WriteAtomically(PathOf(layout),
                              root.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace corral::models::internal
