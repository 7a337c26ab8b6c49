// Settings from the environment, as one table: name, type, default, text. The parser, `serve
// --help`, docs/settings.md and the warning for unknown OLLAMA_*/CORRAL_* names come from it
// (settings_table.cc: to add a setting, add a row and a member).
//
// Parse rules: docs/formats/settings.md (Ollama's: blanks and quotes stripped; any other text for a
// bool is true; bad integers fall back with a warning). Read once at start; a Settings is a plain
// value. All functions are thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace corral {

struct Host {
  std::string scheme = "http";
  std::string host =
      "127.0.0.1";  // without brackets; may be empty: all interfaces (server), localhost (client)
  std::uint16_t port = 11434;
  std::string path;         // base path for clients: empty, or "/ollama" without a '/' at the end
  std::string Url() const;  // "http://127.0.0.1:11434", "http://[::1]:1337"
};

// OLLAMA_HOST's rules, with `default_port` for an address that names none and no scheme. `warning`
// gets a text or stays.
Host ParseHost(std::string_view text, std::uint16_t default_port, std::string* warning);

// Trims blanks, then all quotes at both ends, as Ollama reads every variable.
std::string CleanValue(std::string_view raw);
bool ParseBool(std::string_view clean,
               bool fallback);  // "1 t T TRUE true True", "0 f F ..."; other text: true
// Go's time.ParseDuration. Errors: kInvalidArgument with Go's texts (`time: missing unit in
// duration "300"`).
Result<std::chrono::nanoseconds> ParseGoDuration(std::string_view text);
// "1m2.5s", as Go prints it.
std::string FormatGoDuration(std::chrono::nanoseconds duration);
// Bytes, as Docker reads them: "1048576", "512k", "128MiB", "1.5g"; units are powers of 1024, in
// any case. Errors: kInvalidArgument.
Result<std::uint64_t> ParseSize(std::string_view text);

enum class LogLevel : int { kTrace = -8, kDebug = -4, kInfo = 0, kWarn = 4, kError = 8 };

struct Settings {
  // Ollama's
  LogLevel log_level = LogLevel::kInfo;  // OLLAMA_DEBUG
  bool no_prune = false;                 // OLLAMA_NOPRUNE
  Host host;                         // OLLAMA_HOST, OLLAMA_PORT (when OLLAMA_HOST names no port)
  Host client_host;                  // the CLI's: OLLAMA_HOST, else OLLAMA_BASE_URL, else `host`
  std::uint64_t context_length = 0;  // OLLAMA_CONTEXT_LENGTH; 0: automatic
  std::chrono::nanoseconds keep_alive =
      std::chrono::minutes(5);          // OLLAMA_KEEP_ALIVE; nanoseconds::max(): for ever
  std::uint64_t max_loaded_models = 0;  // OLLAMA_MAX_LOADED_MODELS; 0: automatic
  std::uint64_t max_queue = 512;        // OLLAMA_MAX_QUEUE
  // CORRAL_MODELS' first folder, OLLAMA_MODELS, $HOME/.ollama/models; empty: HOME is unknown
  std::string models;
  std::uint64_t num_parallel = 0;       // OLLAMA_NUM_PARALLEL; 0: unset
  std::vector<std::string> origins;     // OLLAMA_ORIGINS, trimmed, no empty ones
  std::optional<bool> flash_attention;  // OLLAMA_FLASH_ATTENTION
  std::string kv_cache_type;            // OLLAMA_KV_CACHE_TYPE, lower case, one that llama.cpp has
  std::chrono::nanoseconds load_timeout = std::chrono::minutes(5);  // OLLAMA_LOAD_TIMEOUT; 0: none
  std::optional<bool> go_template;                                  // OLLAMA_GO_TEMPLATE
  bool no_history = false;                                          // OLLAMA_NOHISTORY
  bool is_models_read_only = false;  // CORRAL_MODELS: the first folder is marked ":ro"
  bool no_cloud = false;             // OLLAMA_NO_CLOUD (there is no cloud: for /api/status only)
  bool prefix_salt_per_key = false;  // ours: CORRAL_PREFIX_SALT=per-key, users share no prefixes
  std::string editor;                // OLLAMA_EDITOR
  // ours
  std::vector<std::string> more_models;         // CORRAL_MODELS: the other folders
  std::string store_locks = "auto";             // CORRAL_STORE_LOCKS: auto, flock, leases
  std::string log_format = "text";              // CORRAL_LOG_FORMAT: text, json
  std::uint64_t max_body_bytes = 128ULL << 20;  // CORRAL_MAX_BODY
  std::vector<std::string> allowed_hosts;       // CORRAL_ALLOWED_HOSTS, trimmed, no empty ones
  std::optional<std::uint64_t>
      prefix_cache_bytes;       // CORRAL_PREFIX_CACHE; 0: off, nullopt: automatic
  std::string registry_mirror;  // CORRAL_REGISTRY_MIRROR: of the default registry; empty: none
  std::vector<std::string> registries;  // CORRAL_REGISTRIES: the only ones to use; empty: all
  std::string registry_auth;  // CORRAL_REGISTRY_AUTH; $HOME/.docker/config.json; empty: no HOME
  std::string signing_key;    // $HOME/.ollama/id_ed25519; empty: HOME is unknown
  std::string ca_file;        // CORRAL_CA_FILE, else SSL_CERT_FILE; empty: the system's
  std::string worker;         // CORRAL_WORKER: path of corral-worker; beside corral if empty
  std::chrono::nanoseconds shutdown_grace = std::chrono::seconds(8);  // CORRAL_SHUTDOWN_GRACE
  std::vector<std::string> pull;     // CORRAL_PULL: names of models, trimmed, no empty ones
  std::vector<std::string> preload;  // CORRAL_PRELOAD: likewise
  std::string init_script;           // CORRAL_INIT_SCRIPT; empty: none
};

// One row of the table.
struct SettingInfo {
  std::string_view name;
  std::string_view type;  // "bool", "uint", "duration", "string", "list", "address", "path", "size"
  std::string_view default_text;
  std::string_view text;  // what `serve --help` says; Ollama's own words for Ollama's variables
  bool in_serve_help = true;
  bool is_used = true;  // false: Ollama's, known here, without effect
  std::string_view note =
      {};  // for docs/settings.md: what Corral does with it, where the text doesn't say
};
// Ollama's 21 of `serve --help` in its order, then ours, then those that no help shows.
std::span<const SettingInfo> SettingTable();

// The block that `serve --help` ends with: a blank line, "Environment Variables:", a line each.
std::string ServeEnvironmentHelp();
// The same block for other commands: `names` of the table, in the order given.
std::string EnvironmentHelp(std::span<const std::string_view> names);
// docs/settings.md.
std::string SettingsPage();

using Environment = std::function<std::optional<std::string>(std::string_view name)>;
Environment ProcessEnvironment();
// The names of all variables of this process.
std::vector<std::string> ProcessEnvironmentNames();

// Never fails: a bad value falls back to its default and adds a warning. `names`: all variable
// names present, to warn of unknown OLLAMA_* and CORRAL_*. `warnings` may be null. A warning never
// shows the value of an unknown variable.
Settings ReadSettings(const Environment& environment, std::span<const std::string> names,
                      std::vector<std::string>* warnings);

}  // namespace corral
