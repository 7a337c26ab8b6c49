#include "api/native/create_spec.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <utility>

#include "core/text.h"
#include "templates/template.h"

namespace corral::api {
namespace {

// io/fs.ValidPath: unrooted, slash-separated, without empty, "." or ".." elements.
bool IsRelativePath(std::string_view path) {
  if (path.empty() || !IsValidUtf8(path)) return false;
  for (const std::string_view part : Split(path, '/')) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return true;
}

Answer<void> CheckFiles(const CreateRequest::Files& files) {
  for (const auto& [path, digest] : files) {
    if (!IsRelativePath(path)) return Refuse(400, "file path must be relative");
    if (digest.empty()) return Refuse(400, "invalid digest format");
  }
  return {};
}

Answer<Digests> ToDigests(const CreateRequest::Files& files) {
  Digests out;
  for (const auto& [path, text] : files) {
    auto digest = models::Digest::Parse(text);
    if (!digest) return Refuse(500, "invalid digest format");
    out.emplace_back(path, *std::move(digest));
  }
  return out;
}

Answer<void> TakeInfo(const OptionMap& info, models::CreateSpec* spec) {
  const auto wrong = [](std::string_view name, std::string_view what) {
    return Refuse(400, "info field " + GoQuote(name) + " must be " + std::string(what));
  };
  const std::pair<std::string_view, std::string*> texts[] = {
      {"model_family", &spec->model_family},
      {"base_name", &spec->base_name},
      {"quantization_level", &spec->quantization_level},
      {"parameter_size", &spec->parameter_size}};
  for (const auto& [name, out] : texts) {
    const auto found = info.find(name);
    if (found == info.end()) continue;
    if (found->second.kind != JsonKind::kString) return wrong(name, "a string");
    *out = found->second.text;
  }
  const std::pair<std::string_view, std::optional<std::int64_t>*> numbers[] = {
      {"context_length", &spec->context_length}, {"embedding_length", &spec->embedding_length}};
  for (const auto& [name, out] : numbers) {
    const auto found = info.find(name);
    if (found == info.end()) continue;
    const OptionValue& value = found->second;
    if (value.kind != JsonKind::kNumber) return wrong(name, "a number");
    if (!value.integer || *value.integer < 0) return wrong(name, "a non-negative integer");
    *out = *value.integer;
  }
  if (const auto found = info.find("capabilities"); found != info.end()) {
    if (!found->second.is_list_of_strings) return wrong("capabilities", "an array of strings");
    spec->capabilities = found->second.list;
  }
  return {};
}

// The type to quantize to, as the worker calls it; empty: none. Ollama's set and text
// (server/quantization.go).
Answer<std::string> ToFileType(const std::string& as_sent) {
  static constexpr std::string_view kKnown[] = {"",     "F32",    "F16",    "BF16",
                                                "Q8_0", "Q4_K_S", "Q4_K_M", "Q4_K"};
  std::string upper = as_sent;
  for (char& c : upper) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  for (const std::string_view known : kKnown) {
    if (upper == known) return upper == "Q4_K" ? std::string("Q4_K_M") : upper;
  }
  return Refuse(500, "unsupported quantization type " + upper +
                         " - supported types are F32, F16, Q4_K_S, Q4_K_M, Q8_0");
}

// Where the model comes from: a base in the store, or files.
struct Source {
  std::optional<models::ModelName> from;
  Digests files;
};

Answer<Source> ToSource(const CreateRequest& request) {
  Source source;
  if (!request.from.empty()) {
    auto reference = models::ParseReference(request.from);
    if (!reference) return Refuse(Failure(std::move(reference).error()));
    auto from = models::ModelName::Parse(reference->base);
    if (!from) return Refuse(400, "invalid model name");
    if (reference->source == models::ModelReference::Source::kCloud) {
      return Refuse(403, "ollama cloud is disabled: remote model details are unavailable");
    }
    source.from = *std::move(from);
    return source;
  }
  if (!request.files) return Refuse(400, "neither 'from' or 'files' was specified");
  if (request.files->empty()) return Refuse(400, "unknown type");
  auto digests = ToDigests(*request.files);
  if (!digests) return Refuse(std::move(digests).error());
  source.files = *std::move(digests);
  return source;
}

std::optional<std::string> UnlessEmpty(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional(text);
}

}  // namespace

Answer<CreatePlan> ToCreatePlan(const CreateRequest& request) {
  static const CreateRequest::Files kNone;
  for (const CreateRequest::Files* group :
       {request.files ? &*request.files : &kNone, &request.draft_files, &request.adapters}) {
    if (auto checked = CheckFiles(*group); !checked) return Refuse(checked.error());
  }
  if (!request.draft_quantize.empty() && request.draft_files.empty()) {
    return Refuse(400, "--draft-quantize requires a DRAFT model");
  }
  auto name = models::ModelName::Parse(request.model);
  if (!name) return Refuse(400, "invalid model name");
  if (!request.remote_host.empty()) return Refuse(400, "bad remote");
  auto quantize = ToFileType(request.quantize);
  if (!quantize) return Refuse(std::move(quantize).error());
  auto draft_quantize = ToFileType(request.draft_quantize);
  if (!draft_quantize) return Refuse(std::move(draft_quantize).error());
  auto source = ToSource(request);
  if (!source) return Refuse(std::move(source).error());
  auto adapters = ToDigests(request.adapters);
  if (!adapters) return Refuse(std::move(adapters).error());
  // A folder of safetensors has several files.
  if (adapters->size() > 1 && !HasSafetensors(*adapters))
    return Refuse(400, "only one adapter is currently supported");
  auto drafts = ToDigests(request.draft_files);
  if (!drafts) return Refuse(std::move(drafts).error());
  if (HasSafetensors(*drafts)) return Refuse(400, "a draft model must be a GGUF file");
  if (!request.template_text.empty()) {
    const auto parsed = templates::Template::Parse(request.template_text);
    if (!parsed) return Refuse(400, "template error: " + parsed.error().message);
  }
  auto params = ToParams(request.parameters);
  if (!params) return Refuse(Failure(std::move(params).error()));
  // A value that no request could load the model with.
  auto resolved = ResolveOptions(*params, {});
  if (!resolved) return Refuse(Failure(std::move(resolved).error()));

  models::CreateSpec spec{.name = *std::move(name),
                          .from = std::move(source->from),
                          .files = std::move(source->files),
                          .adapters = *std::move(adapters),
                          .drafts = *std::move(drafts),
                          .weights = {},
                          .template_text = UnlessEmpty(request.template_text),
                          .system = UnlessEmpty(request.system),
                          .renderer = request.renderer,
                          .parser = request.parser,
                          .requires_version = request.requires_version,
                          .licenses = request.licenses,
                          .params = *std::move(params),
                          .messages = request.messages,
                          .capabilities = {},
                          .model_family = {},
                          .base_name = {},
                          .quantization_level = {},
                          .parameter_size = {},
                          .context_length = {},
                          .embedding_length = {}};
  if (auto taken = TakeInfo(request.info, &spec); !taken) return Refuse(taken.error());
  return CreatePlan{std::move(spec), request.from, *std::move(quantize),
                    *std::move(draft_quantize)};
}

bool HasSafetensors(const Digests& files) {
  return std::any_of(files.begin(), files.end(),
                     [](const auto& file) { return file.first.ends_with(".safetensors"); });
}

bool LooksLikeGguf(std::string_view path, const std::filesystem::path& blob) {
  if (path.ends_with(".gguf")) return true;
  std::ifstream file(blob, std::ios::binary);
  std::array<char, 4> magic{};
  file.read(magic.data(), magic.size());
  return file && std::string_view(magic.data(), magic.size()) == "GGUF";
}

}  // namespace corral::api
