// The table. Texts, order and defaults of the first 21 rows are Ollama's (envconfig/config.go,
// cmd/cmd.go).
#include <algorithm>
#include <array>
#include <limits>

#include "core/internal/setting_row.h"
#include "core/kv_cache_types.h"
#include "core/text.h"

namespace corral::internal {
namespace {

using Input = SettingInput;

constexpr bool kShown = true;
constexpr bool kHidden = false;
constexpr bool kUsed = true;
constexpr bool kUnused = false;

constexpr std::array<std::string_view, 3> kStoreLocks = {"auto", "flock", "leases"};
constexpr std::array<std::string_view, 2> kLogFormats = {"text", "json"};
constexpr std::array<std::string_view, 2> kPrefixSalts = {"none", "per-key"};

bool IsTrueWord(std::string_view value) {
  constexpr std::array<std::string_view, 6> kTrue = {"1", "t", "T", "TRUE", "true", "True"};
  return std::find(kTrue.begin(), kTrue.end(), value) != kTrue.end();
}
bool IsFalseWord(std::string_view value) {
  constexpr std::array<std::string_view, 6> kFalse = {"0", "f", "F", "FALSE", "false", "False"};
  return std::find(kFalse.begin(), kFalse.end(), value) != kFalse.end();
}

void ApplyDebug(Input& input) {
  if (IsTrueWord(input.value())) {
    input.settings.log_level = LogLevel::kDebug;
    return;
  }
  if (IsFalseWord(input.value())) return;
  const auto level = ParseInt(input.value());
  if (!level) return input.WarnInvalid("true, false or a number is expected");
  if (*level >= 2) input.settings.log_level = LogLevel::kTrace;
  if (*level == -1) input.settings.log_level = LogLevel::kWarn;
  if (*level <= -2) input.settings.log_level = LogLevel::kError;
}

void ApplyKeepAlive(Input& input) {
  std::chrono::nanoseconds& keep_alive = input.settings.keep_alive;
  if (!input.Duration(keep_alive)) return;
  constexpr auto kForEver = std::chrono::nanoseconds::max();
  if (keep_alive.count() < 0) keep_alive = kForEver;
  if (keep_alive.count() == 0 && ParseInt(input.value())) {
    keep_alive = kForEver;
    input.Warn("keeps models loaded for ever; to unload a model as soon as it is idle, use 0s");
  }
}

void ApplyLoadTimeout(Input& input) {
  std::chrono::nanoseconds& timeout = input.settings.load_timeout;
  if (input.Duration(timeout) && timeout.count() < 0) timeout = std::chrono::nanoseconds(0);
}

void ApplyModels(Input& input) {
  input.settings.models = input.value();
  if (input.value().starts_with('~')) {
    input.Warn("is taken as it is: '~' means the home directory to a shell only");
  }
}

// "/data:/shared:ro:/more": folders, each may be followed by "ro".
void ApplyModelFolders(Input& input) {
  std::vector<std::string> folders;
  bool is_first_read_only = false;
  for (const std::string_view part : Split(input.value(), ':')) {
    if (part.empty()) continue;
    if (part != "ro") {
      folders.emplace_back(part);
    } else if (folders.size() == 1) {
      is_first_read_only = true;
    } else if (folders.empty()) {
      return input.WarnInvalid("folders, separated by ':', are expected");
    }
  }
  if (folders.empty()) return input.WarnInvalid("folders, separated by ':', are expected");
  input.settings.models = folders.front();
  input.settings.is_models_read_only = is_first_read_only;
  input.settings.more_models.assign(folders.begin() + 1, folders.end());
}

void ApplyMaxBody(Input& input) {
  const std::uint64_t fallback = input.settings.max_body_bytes;
  input.Size(input.settings.max_body_bytes);
  if (input.settings.max_body_bytes == 0) {
    input.settings.max_body_bytes = fallback;
    input.WarnInvalid("at least one byte is expected");
  }
}

void ApplyPrefixCache(Input& input) {
  std::uint64_t bytes = std::numeric_limits<std::uint64_t>::max();
  input.Size(bytes);
  if (bytes != std::numeric_limits<std::uint64_t>::max()) input.settings.prefix_cache_bytes = bytes;
}

void ApplyPrefixSalt(Input& input) {
  std::string choice;
  input.Choice(choice, kPrefixSalts);
  input.settings.prefix_salt_per_key = choice == "per-key";
}

void ApplyShutdownGrace(Input& input) {
  std::chrono::nanoseconds grace{};
  if (!input.Duration(grace)) return;
  if (grace.count() < 0) return input.WarnInvalid("a positive duration is expected");
  input.settings.shutdown_grace = grace;
}

constexpr std::string_view kOld = "Of older versions of Ollama.";

constexpr SettingRow kRows[] = {
    // ---- Ollama's, in the order of its `serve --help` ----
    {{"OLLAMA_DEBUG", "bool", "0", "Show additional debug information (e.g. OLLAMA_DEBUG=1)",
      kShown, kUsed, "2 traces; -1 shows warnings and errors only, -2 errors only."},
     ApplyDebug},
    {{"OLLAMA_HOST", "address", "127.0.0.1:11434",
      "IP Address for the ollama server (default 127.0.0.1:11434)", kShown, kUsed,
      "Where the server listens and where the command line connects to."}},
    {{"OLLAMA_CONTEXT_LENGTH", "uint", "0",
      "Context length to use unless otherwise specified (default: 4k/32k/256k based on VRAM)",
      kShown, kUsed, "0: automatic."},
     [](Input& input) { input.Uint(input.settings.context_length); }},
    {{"OLLAMA_KEEP_ALIVE", "duration", "5m",
      "The duration that models stay loaded in memory (default \"5m\")", kShown, kUsed,
      "A bare 0 and every negative value: for ever. `0s`: unload as soon as the model is idle."},
     ApplyKeepAlive},
    {{"OLLAMA_MAX_LOADED_MODELS", "uint", "0", "Maximum number of loaded models per GPU", kShown,
      kUsed, "All models together, as Ollama counts a value that is set. 0: automatic."},
     [](Input& input) { input.Uint(input.settings.max_loaded_models); }},
    {{"OLLAMA_MAX_TRANSFER_STREAMS", "uint", "4",
      "Maximum parallel transfer streams for safetensors model pulls/pushes (default 4)", kShown,
      kUnused}},
    {{"OLLAMA_MAX_QUEUE", "uint", "512", "Maximum number of queued requests", kShown, kUsed,
      "0: no request waits."},
     [](Input& input) { input.Uint(input.settings.max_queue); }},
    {{"OLLAMA_MODELS", "path", "$HOME/.ollama/models", "The path to the models directory"},
     ApplyModels},
    {{"OLLAMA_NUM_PARALLEL", "uint", "", "Maximum number of parallel requests", kShown, kUsed,
      "Of one model. Unset or 0: as many as fit into memory."},
     [](Input& input) { input.Uint(input.settings.num_parallel); }},
    {{"OLLAMA_NO_CLOUD", "bool", "0",
      "Disable Ollama cloud features (remote inference and web search)", kShown, kUsed,
      "Corral has no cloud features; the value is only reported."},
     [](Input& input) { input.Bool(input.settings.no_cloud); }},
    {{"OLLAMA_NOPRUNE", "bool", "0", "Do not prune model blobs on startup"},
     [](Input& input) { input.Bool(input.settings.no_prune); }},
    {{"OLLAMA_ORIGINS", "list", "", "A comma separated list of allowed origins", kShown, kUsed,
      "Added to those of this machine, which are always allowed."},
     [](Input& input) { input.List(input.settings.origins); }},
    {{"OLLAMA_SCHED_SPREAD", "bool", "0", "Always schedule model across all GPUs", kShown,
      kUnused}},
    {{"OLLAMA_FLASH_ATTENTION", "bool", "", "Enabled flash attention", kShown, kUsed,
      "Unset: where it works."},
     [](Input& input) { input.OptionalBool(input.settings.flash_attention); }},
    {{"OLLAMA_KV_CACHE_TYPE", "string", "f16", "Quantization type for the K/V cache (default: f16)",
      kShown, kUsed, "One of f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1."},
     [](Input& input) { input.Choice(input.settings.kv_cache_type, kKvCacheTypes); }},
    {{"OLLAMA_LLM_LIBRARY", "string", "", "Set LLM library to bypass autodetection", kShown,
      kUnused}},
    {{"OLLAMA_GPU_OVERHEAD", "uint", "0", "Reserve a portion of VRAM per GPU (bytes)", kShown,
      kUnused}},
    {{"OLLAMA_IGPU_ENABLE", "bool", "", "Enable integrated GPUs", kShown, kUnused}},
    {{"LLAMA_ARG_FIT", "string", "on",
      "Enable llama.cpp automatic fit of unset memory options (default \"on\")", kShown, kUnused}},
    {{"LLAMA_ARG_FIT_TARGET", "string", "",
      "Target free VRAM margin per device for llama.cpp fit (MiB)", kShown, kUnused}},
    {{"OLLAMA_LOAD_TIMEOUT", "duration", "5m",
      "How long to allow model loads to stall before giving up (default \"5m\")", kShown, kUsed,
      "0 or less: no limit."},
     ApplyLoadTimeout},

    // ---- ours ----
    {{"OLLAMA_PORT", "uint", "11434",
      "Port of the server when OLLAMA_HOST names none (default 11434)"}},
    {{"CORRAL_MODELS", "path", "",
      "Several models directories, as /data:/shared:ro; the first is written to", kShown, kUsed,
      "Goes before OLLAMA_MODELS. The others are only read, marked `:ro` or not; a first one that "
      "is "
      "marked is not written to either."},
     ApplyModelFolders},
    {{"CORRAL_STORE_LOCKS", "string", "auto",
      "Locks between servers that share models: auto, flock or leases (default \"auto\")", kShown,
      kUsed,
      "Leases are files with a heartbeat, for file systems on which flock does not reach the other "
      "hosts. auto: leases on NFS and SMB. All servers of a folder need the same."},
     [](Input& input) { input.Choice(input.settings.store_locks, kStoreLocks); }},
    {{"CORRAL_LOG_FORMAT", "string", "text",
      "Format of the log lines: text or json (default \"text\")"},
     [](Input& input) { input.Choice(input.settings.log_format, kLogFormats); }},
    {{"CORRAL_MAX_BODY", "size", "128MiB",
      "Largest body of a request; blobs have no limit (default 128MiB)"},
     ApplyMaxBody},
    {{"CORRAL_ALLOWED_HOSTS", "list", "",
      "A comma separated list of additional Host names to answer to"},
     [](Input& input) { input.List(input.settings.allowed_hosts); }},
    {{"CORRAL_PREFIX_CACHE", "size", "",
      "Memory for finished prompts, for reuse (default: a share of what is free)", kShown, kUsed,
      "One budget of the server: the loaded models that generate divide it evenly. What is in a "
      "model's context at the moment is not part of it. 0: off."},
     ApplyPrefixCache},
    {{"CORRAL_PREFIX_SALT", "string", "none",
      "Who shares finished prompts: none (everybody) or per-key (requests of one API key)", kShown,
      kUsed, "The key is the bearer token of the request; requests without one share as one user."},
     ApplyPrefixSalt},
    {{"CORRAL_REGISTRY_MIRROR", "address", "",
      "Address of a registry to ask before Ollama's (e.g. https://mirror.example:5000)", kShown,
      kUsed, "With its scheme. What it does not have is pulled from registry.ollama.ai."},
     [](Input& input) { input.settings.registry_mirror = input.value(); }},
    {{"CORRAL_REGISTRIES", "list", "",
      "A comma separated list of the registries that may be used (default: all)", kShown, kUsed,
      "Hosts as in models' names, with their ports: `registry.ollama.ai,hf.co,10.0.0.5:5000`."},
     [](Input& input) { input.List(input.settings.registries); }},
    {{"CORRAL_REGISTRY_AUTH", "path", "$HOME/.docker/config.json",
      "File with the registries' users and passwords, as Docker's config.json", kShown, kUsed,
      "Read when a registry asks. A password goes to the host under whose name it stands."},
     [](Input& input) { input.settings.registry_auth = input.value(); }},
    {{"CORRAL_CA_FILE", "path", "",
      "PEM file of certificate authorities to trust besides the system's", kShown, kUsed,
      "For registries. SSL_CERT_FILE is read where it is not set."},
     [](Input& input) { input.settings.ca_file = input.value(); }},
    {{"CORRAL_SHUTDOWN_GRACE", "duration", "8s",
      "How long running requests may go on after SIGTERM (default \"8s\")"},
     ApplyShutdownGrace},
    {{"CORRAL_PULL", "list", "",
      "A comma separated list of models to pull at start; ready when they are there", kShown, kUsed,
      "One that is there already is not pulled again. A registry that is away is asked again until "
      "it answers."},
     [](Input& input) { input.List(input.settings.pull); }},
    {{"CORRAL_PRELOAD", "list", "",
      "A comma separated list of models to load at start; ready when they are loaded", kShown,
      kUsed, "One that is not there yet is waited for. OLLAMA_KEEP_ALIVE counts from then on."},
     [](Input& input) { input.List(input.settings.preload); }},
    {{"CORRAL_INIT_SCRIPT", "path", "",
      "A script to run once the server answers, by sh if it is not executable", kShown, kUsed,
      "Its output goes to the log. In the container image: /init-models.sh, which may be absent."},
     [](Input& input) { input.settings.init_script = input.value(); }},
    {{"CORRAL_WORKER", "path", "", "The path of corral-worker (default: beside this program)"},
     [](Input& input) { input.settings.worker = input.value(); }},

    // ---- of the command line, and others that no help of `serve` shows ----
    {{"OLLAMA_BASE_URL", "address", "",
      "Address of the server for the command line, after OLLAMA_HOST", kHidden, kUsed,
      "Read by the command line only, and only where OLLAMA_HOST is not set."}},
    {{"OLLAMA_EDITOR", "string", "", "Path to editor for interactive prompt editing (Ctrl+G)",
      kHidden},
     [](Input& input) { input.settings.editor = input.value(); }},
    {{"OLLAMA_NOHISTORY", "bool", "0", "Do not preserve readline history", kHidden},
     [](Input& input) { input.Bool(input.settings.no_history); }},
    {{"OLLAMA_GO_TEMPLATE", "bool", "", "Use the Go template of a model (Modelfile TEMPLATE)",
      kHidden},
     [](Input& input) { input.OptionalBool(input.settings.go_template); }},

    // ---- known, without effect here ----
    {{"OLLAMA_AGENT_DISABLE_SHELL", "bool", "", "Agent mode without a shell", kHidden, kUnused}},
    {{"OLLAMA_AGENT_DISABLE_WEBSEARCH", "bool", "", "Agent mode without web search", kHidden,
      kUnused}},
    {{"OLLAMA_AUTH", "bool", "0", "Sign every request of the command line", kHidden, kUnused}},
    {{"OLLAMA_CLOUD_BASE_URL", "string", "", "Address of Ollama's cloud", kHidden, kUnused}},
    {{"OLLAMA_DEBUG_LOG_REQUESTS", "bool", "0",
      "Write the bodies of requests to a temporary folder", kHidden, kUnused}},
    {{"OLLAMA_EXPERIMENT", "string", "", "Experimental features", kHidden, kUnused}},
    {{"OLLAMA_REMOTES", "list", "ollama.com", "Allowed hosts for remote models", kHidden, kUnused}},
    {{"OLLAMA_SKILLS", "string", "", "Skills of the agent mode", kHidden, kUnused}},
    {{"OLLAMA_VULKAN", "bool", "1", "Use Vulkan", kHidden, kUnused}},
    {{"OLLAMA_INTEL_GPU", "bool", "", "Detect Intel GPUs", kHidden, kUnused, kOld}},
    {{"OLLAMA_LIBRARY_PATH", "string", "", "Where the compute libraries are", kHidden, kUnused,
      kOld}},
    {{"OLLAMA_MAX_VRAM", "uint", "", "Most VRAM to use (bytes)", kHidden, kUnused, kOld}},
    {{"OLLAMA_MULTIUSER_CACHE", "bool", "", "Prompt caching for several users", kHidden, kUnused,
      kOld}},
    {{"OLLAMA_NEW_ENGINE", "bool", "", "The engine that is not llama.cpp", kHidden, kUnused, kOld}},
    {{"OLLAMA_NEW_ESTIMATES", "bool", "", "Another estimate of memory", kHidden, kUnused, kOld}},
    {{"OLLAMA_RUNNERS_DIR", "path", "", "Where the runners are", kHidden, kUnused, kOld}},
    {{"OLLAMA_TMPDIR", "path", "", "Folder for temporary files", kHidden, kUnused, kOld}},
};

}  // namespace

std::span<const SettingRow> SettingRows() { return kRows; }

void SettingInput::Bool(bool& target) {
  if (!IsTrueWord(value_) && !IsFalseWord(value_))
    Warn("is read as true, as Ollama does; for false use 0");
  target = ParseBool(value_, target);
}

void SettingInput::OptionalBool(std::optional<bool>& target) {
  bool value = false;
  Bool(value);
  target = value;
}

void SettingInput::Uint(std::uint64_t& target) {
  const auto value = ParseUint(value_);
  if (!value) return WarnInvalid("a whole number is expected");
  target = *value;
}

void SettingInput::Port(std::uint16_t& target) {
  const auto value = ParseUint(value_);
  if (!value || *value > 65'535) return WarnInvalid("a port from 0 to 65535 is expected");
  target = static_cast<std::uint16_t>(*value);
}

void SettingInput::Size(std::uint64_t& target) {
  const auto value = ParseSize(value_);
  if (!value) return WarnInvalid("a size as 1048576, 512k or 128MiB is expected");
  target = *value;
}

bool SettingInput::Duration(std::chrono::nanoseconds& target) {
  if (const auto duration = ParseGoDuration(value_)) {
    target = *duration;
    return true;
  }
  const auto seconds = ParseInt(value_);
  if (!seconds) {
    WarnInvalid("a duration as 300ms, 5m or 1h30m, or whole seconds, is expected");
    return false;
  }
  constexpr std::int64_t kMostSeconds =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::nanoseconds::max()).count();
  target = std::chrono::seconds(std::clamp(*seconds, -kMostSeconds, kMostSeconds));
  return true;
}

void SettingInput::List(std::vector<std::string>& target) {
  for (const std::string_view part : Split(value_, ',')) {
    if (const std::string_view trimmed = TrimSpace(part); !trimmed.empty())
      target.emplace_back(trimmed);
  }
}

void SettingInput::Choice(std::string& target, std::span<const std::string_view> allowed) {
  const std::string value = ToLowerAscii(value_);
  if (std::find(allowed.begin(), allowed.end(), value) != allowed.end()) {
    target = value;
    return;
  }
  std::string why = "one of";
  for (const std::string_view choice : allowed) {
    why += choice == allowed.front() ? " " : ", ";
    why += choice;
  }
  WarnInvalid(why + " is expected");
}

void SettingInput::WarnInvalid(std::string_view why) {
  if (warnings_ == nullptr) return;
  std::string text = "invalid environment variable, using default: " + std::string(info_.name) +
                     "=" + GoQuote(value_) + " (" + std::string(why) + ")";
  if (!info_.default_text.empty()) text += ", default " + std::string(info_.default_text);
  warnings_->push_back(std::move(text));
}

void SettingInput::Warn(std::string_view what) {
  if (warnings_ == nullptr) return;
  warnings_->push_back(std::string(info_.name) + "=" + GoQuote(value_) + " " + std::string(what));
}

}  // namespace corral::internal
