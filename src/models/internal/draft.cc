#include "models/internal/draft.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "core/text.h"
#include "models/internal/model_reader.h"
#include "templates/template.h"

namespace corral::models::internal {
namespace {

std::string MediaType(std::string_view kind) { return std::string(kMediaPrefix).append(kind); }

tl::unexpected<Error> Refuse(std::string why) {
  return Fail(Code::kInvalidArgument, std::move(why));
}

// The first bytes of a blob, fewer if it is shorter.
Result<std::string> Magic(const std::filesystem::path& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.is_valid()) return Fail(ErrnoError(errno, "open blob"));
  std::string bytes(4, '\0');
  const ssize_t n = ::pread(fd.get(), bytes.data(), bytes.size(), 0);
  if (n < 0) return Fail(ErrnoError(errno, "read blob"));
  bytes.resize(static_cast<std::size_t>(n));
  return bytes;
}

// What Ollama gives to the models of some architectures (server/create.go).
struct ArchitectureDefaults {
  std::string_view architecture, renderer_and_parser, stop;
};
constexpr ArchitectureDefaults kArchitectureDefaults[] = {
    {"gemma4", "gemma4", "<turn|>"},
    {"laguna", "laguna", ""},
    {"nemotron_h", "nemotron-3-nano", ""},
    {"nemotron_h_moe", "nemotron-3-nano", ""},
    {"nemotron_h_omni", "nemotron-3-nano", ""},
};

void SetIfEmpty(std::string* text, std::string_view value) {
  if (text->empty()) *text = value;
}

}  // namespace

Result<UploadedFile> CheckUpload(const Blobs& blobs, const std::string& path,
                                 const Digest& digest) {
  if (!blobs.Has(digest)) {
    return Refuse("blob " + digest.ToString() + " of file \"" + path +
                  "\" is not in the store: upload it first");
  }
  const std::filesystem::path blob = blobs.PathOf(digest);
  const bool is_named_gguf = ToLowerAscii(path).ends_with(".gguf");
  if (ToLowerAscii(path).ends_with(".safetensors")) {
    return Refuse("file \"" + path + "\" is a safetensors file: it must be converted first");
  }
  CORRAL_TRY(const std::string magic, Magic(blob));
  if (magic != "GGUF")
    return Refuse(is_named_gguf ? "supplied file was not in GGUF format" : "unknown type");
  auto info = gguf::Read(blob);
  if (!info) {
    Error error = std::move(info).error();
    if (error.code == Code::kCorrupt) error.code = Code::kInvalidArgument;
    return Fail(std::move(error).Within("file \"" + path + "\""));
  }
  if (const auto n_parts = info->Uint("split.count"); n_parts && *n_parts > 1) {
    return Refuse("file \"" + path + "\" is one part of a split model: all its parts are needed");
  }
  std::string kind(GgufKind(*info));
  if (Status status = gguf::CheckLoadable(*info); !status) {
    Error error = std::move(status).error();
    error.code = Code::kInvalidArgument;
    return Fail(std::move(error).Within("file \"" + path + "\""));
  }
  return UploadedFile{path, digest, std::move(kind), std::move(*info)};
}

Result<Draft::Part> Draft::Write(std::string_view bytes, std::string_view kind) {
  CORRAL_TRY(
      Blobs::Put put,
      blobs_.Write(shared_, bytes, kind.empty() ? std::string(kConfigMediaType) : MediaType(kind)));
  if (put.is_new) new_blobs_.insert(put.layer.digest);
  std::string status =
      (put.is_new ? "creating new layer " : "using existing layer ") + put.layer.digest.ToString();
  return Part{std::move(put.layer), std::move(status)};
}

void Draft::DropDrafts() { RemoveKind("draft"); }

void Draft::RemoveKind(std::string_view kind) {
  parts_.erase(std::remove_if(parts_.begin(), parts_.end(),
                              [kind](const Part& part) { return part.layer.Kind() == kind; }),
               parts_.end());
}

void Draft::TakeFacts(const gguf::Info& info) {
  const std::string architecture(info.Architecture());
  SetIfEmpty(&config_.model_format, "gguf");
  SetIfEmpty(&config_.model_family, architecture);
  SetIfEmpty(&config_.model_type, HumanNumber(info.ParameterCount()));
  SetIfEmpty(&config_.file_type, info.FileType());
  config_.model_families.push_back(architecture);
}

Status Draft::TakeBase(const Model& base, const UploadedFile* weights) {
  inherited_ = base.config;
  params_ = base.params;
  if (weights != nullptr) {
    // What was said of the old ones holds no more.
    inherited_.file_type.clear();
    CORRAL_TRY_STATUS(TakeFile(*weights));
    parts_.back().layer.from = base.name.Short();
  }
  for (const Layer& layer : base.manifest.layers) {
    if (weights != nullptr && layer.Kind() == "model") continue;
    auto used = blobs_.Use(shared_, layer.digest, layer.media_type, base.name.Short());
    if (!used) {
      return Fail(Code::kCorrupt,
                  "model '" + base.name.Short() + "' is not whole: " + used.error().message);
    }
    used->name = layer.name;
    const std::string_view kind = layer.Kind();
    if (kind == "model" || kind == "projector" || kind == "adapter") {
      // One that does not read (an old format) keeps what its config said.
      const std::filesystem::path blob = blobs_.layout().BlobPath(layer.digest);
      if (base.info && blob == base.gguf) {
        TakeFacts(*base.info);
      } else if (const auto info = gguf::Read(blob)) {
        TakeFacts(*info);
      }
    }
    std::string status = "using existing layer " + used->digest.ToString();
    parts_.push_back({std::move(*used), std::move(status)});
  }
  return {};
}

Status Draft::TakeFile(const UploadedFile& file) {
  auto used = blobs_.Use(shared_, file.digest, MediaType(file.kind), file.path);
  // It was there a moment ago: another process deleted it.
  if (!used) return Refuse(used.error().message + ": upload it again");
  std::string status = "using existing layer " + used->digest.ToString();
  parts_.push_back({std::move(*used), std::move(status)});
  if (file.kind != "draft") TakeFacts(file.info);
  return {};
}

namespace {

// The text of the GGUF's end-of-sequence token; empty if it names none. Reads the vocabulary, which
// a header read without keep_arrays skips.
std::string EosText(const std::filesystem::path& file) {
  const auto info = gguf::Read(file, {.limits = {}, .keep_arrays = true});
  if (!info) return {};
  const std::optional<std::uint64_t> id = info->Uint("tokenizer.ggml.eos_token_id");
  const gguf::KeyValue* tokens = info->Find("tokenizer.ggml.tokens");
  if (!id || tokens == nullptr) return {};
  const auto* array = std::get_if<gguf::Array>(&tokens->value);
  if (array == nullptr || *id >= array->elements.size()) return {};
  const auto* text = std::get_if<std::string>(&array->elements[*id]);
  return text == nullptr ? std::string() : *text;
}

}  // namespace

Status Draft::TakeDefaultsOf(const UploadedFile& file, const CreateSpec& spec) {
  const gguf::Info& info = file.info;
  std::vector<std::string> stop;
  for (const ArchitectureDefaults& defaults : kArchitectureDefaults) {
    if (info.Architecture() != defaults.architecture) continue;
    config_.renderer = defaults.renderer_and_parser;
    config_.parser = defaults.renderer_and_parser;
    if (!defaults.stop.empty()) stop.emplace_back(defaults.stop);
  }
  const templates::Bundled* bundled = templates::DetectBundled(info.ChatTemplate());
  // The bundled text spells out an end of sequence that this model may not have.
  if (bundled != nullptr && !bundled->eos.empty() &&
      EosText(blobs_.layout().BlobPath(file.digest)) != bundled->eos) {
    bundled = nullptr;
  }
  if (bundled != nullptr) {
    for (const std::string_view word : bundled->stop) stop.emplace_back(word);
    if (!spec.template_text || spec.template_text->empty()) {
      CORRAL_TRY(Part part, Write(bundled->text, "template"));
      part.status = "using autodetected template " + std::string(bundled->name);
      parts_.push_back(std::move(part));
    }
  }
  if (!stop.empty()) params_["stop"] = std::move(stop);
  return {};
}

Status Draft::TakeSpec(const CreateSpec& spec) {
  if (spec.template_text && !spec.template_text->empty()) {
    if (const auto parsed = templates::Template::Parse(*spec.template_text); !parsed) {
      return Refuse("template error: " + parsed.error().message);
    }
    RemoveKind("template");
    CORRAL_TRY(Part part, Write(*spec.template_text, "template"));
    parts_.push_back(std::move(part));
  }
  if (spec.system && !spec.system->empty()) {
    RemoveKind("system");
    CORRAL_TRY(Part part, Write(*spec.system, "system"));
    parts_.push_back(std::move(part));
  }
  for (const std::string& license : spec.licenses) {
    if (license.empty()) continue;
    CORRAL_TRY(Part part, Write(license, "license"));
    parts_.push_back(std::move(part));
  }
  Params merged = spec.params;
  merged.insert(params_.begin(), params_.end());
  const bool has_layer = std::any_of(parts_.begin(), parts_.end(),
                                     [](const Part& p) { return p.layer.Kind() == "params"; });
  // A base's own layer stays byte for byte if there is nothing to add.
  if (!merged.empty() && !(has_layer && spec.params.empty())) {
    RemoveKind("params");
    CORRAL_TRY(Part part, Write(EncodeParams(merged), "params"));
    parts_.push_back(std::move(part));
  }
  if (!spec.messages.empty()) {
    RemoveKind("messages");
    CORRAL_TRY(Part part, Write(EncodeMessages(spec.messages), "messages"));
    parts_.push_back(std::move(part));
  }

  const auto pick = [](const std::string& given, const std::string& found,
                       const std::string& inherited) {
    return !given.empty() ? given : !found.empty() ? found : inherited;
  };
  config_.renderer = pick(spec.renderer, config_.renderer, inherited_.renderer);
  config_.parser = pick(spec.parser, config_.parser, inherited_.parser);
  config_.requires_version = pick(spec.requires_version, "", inherited_.requires_version);
  config_.model_format = pick("", inherited_.model_format, config_.model_format);
  config_.model_family = pick(spec.model_family, config_.model_family, inherited_.model_family);
  config_.model_type = pick(spec.parameter_size, config_.model_type, inherited_.model_type);
  config_.file_type = pick(spec.quantization_level, config_.file_type, inherited_.file_type);
  if (config_.model_families.empty()) config_.model_families = inherited_.model_families;
  config_.capabilities = spec.capabilities.empty() ? inherited_.capabilities : spec.capabilities;
  config_.base_name = pick(spec.base_name, "", inherited_.base_name);
  config_.context_length = spec.context_length.value_or(inherited_.context_length);
  config_.embedding_length = spec.embedding_length.value_or(inherited_.embedding_length);
  config_.remote_host = inherited_.remote_host;
  config_.remote_model = inherited_.remote_model;
  return {};
}

Result<Layer> Draft::WriteConfig() {
  CORRAL_TRY(const Part part, Write(EncodeConfig(config_), ""));
  return part.layer;
}

std::vector<Layer> Draft::Layers() const {
  std::vector<Layer> layers;
  for (const Part& part : parts_) layers.push_back(part.layer);
  return layers;
}

std::vector<std::string> Draft::StatusLines() const {
  std::vector<std::string> lines;
  for (const Part& part : parts_) lines.push_back(part.status);
  return lines;
}

}  // namespace corral::models::internal
