// A model as a request needs it: its manifest with the small layers read.
//
// Values; a Model is shared as const between threads. No I/O here (store.h reads).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/job.h"
#include "gguf/reader.h"
#include "models/manifest.h"
#include "models/name.h"
#include "templates/template.h"

namespace corral::models {

// A parameter of a model or a request: JSON scalars, or a list of strings (stop). Doubles are
// finite.
using ParamValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>>;
using Params = std::map<std::string, ParamValue>;  // sorted, as on disk

struct StoredMessage {
  std::string role, content;
  bool operator==(const StoredMessage&) const = default;
};

struct Model {
  ModelName name;  // as stored
  Manifest manifest;
  ModelConfig config = {};
  std::chrono::system_clock::time_point modified_at = {};  // manifest's mtime
  std::filesystem::path gguf = {};                         // empty: no weights (remote stub)
  std::vector<std::filesystem::path> projectors = {}, adapters = {}, drafts = {};
  std::optional<std::string> template_text = {};  // Go template
  std::string system = {};
  Params params = {};
  std::vector<StoredMessage> messages = {};
  std::vector<std::string> licenses = {};
  // Header of `gguf`, and of the first projector; null if there is none that reads.
  std::shared_ptr<const gguf::Info> info = {}, projector_info = {};
  // `template_text`; nullopt if there is none that parses.
  std::optional<templates::Template> parsed_template = {};

  // Which template renders given OLLAMA_GO_TEMPLATE (unset, true, false): template_text, or the
  // GGUF's own, or the one behind Renderer(). False if there is no template_text.
  bool UsesGoTemplate(std::optional<bool> go_template_setting) const;
  // The name in the config that stands in for a template: `renderer`, or else `parser`, resolved by
  // the model's size where Ollama does. Empty: none.
  std::string Renderer() const;
  // For the template that is used; in the order of the enumeration.
  std::vector<Capability> Capabilities(std::optional<bool> go_template_setting) const;
  bool Has(Capability capability, std::optional<bool> go_template_setting) const;
};

// What a GGUF file is for: "model", "projector" or "adapter".
std::string_view GgufKind(const gguf::Info& info);

// `modelfile` of /api/show.
std::string ShowModelfile(const Model& model);
// `parameters` of /api/show: name padded to 30 columns, a space, the value (texts as Go quotes
// them); sorted, one line a value, no newline at the end.
std::string ShowParameters(const Params& params);

}  // namespace corral::models
