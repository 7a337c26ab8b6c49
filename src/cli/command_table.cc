#include <array>

#include "cli/command_line.h"

namespace corral::cli {
namespace {

constexpr std::string_view kVerboseText = "Show timings for response";
constexpr std::string_view kNoWrapText = "Don't wrap words to the next line automatically";
constexpr std::string_view kInsecureText = "Use an insecure registry";

constexpr std::array kRootFlags = {
    FlagInfo{"nowordwrap", 0, FlagType::kBool, kNoWrapText},
    FlagInfo{"verbose", 0, FlagType::kBool, kVerboseText},
    FlagInfo{"version", 'v', FlagType::kBool, "Show version information"},
};

constexpr std::array kCreateFlags = {
    FlagInfo{"draft-quantize", 0, FlagType::kString,
             "Quantize the draft model to this level (e.g. q8_0)"},
    FlagInfo{"file", 'f', FlagType::kString, "Name of the Modelfile (default \"Modelfile\")"},
    FlagInfo{"quantize", 'q', FlagType::kString, "Quantize model to this level (e.g. q4_K_M)"},
};

constexpr std::array kShowFlags = {
    FlagInfo{"license", 0, FlagType::kBool, "Show license of a model"},
    FlagInfo{"modelfile", 0, FlagType::kBool, "Show Modelfile of a model"},
    FlagInfo{"parameters", 0, FlagType::kBool, "Show parameters of a model"},
    FlagInfo{"system", 0, FlagType::kBool, "Show system message of a model"},
    FlagInfo{"template", 0, FlagType::kBool, "Show template of a model"},
    FlagInfo{"verbose", 'v', FlagType::kBool, "Show detailed model information"},
};

constexpr std::array kRunFlags = {
    FlagInfo{"dimensions", 0, FlagType::kInt,
             "Truncate output embeddings to specified dimension (embedding models only)"},
    FlagInfo{"format", 0, FlagType::kString, "Response format (e.g. json)"},
    FlagInfo{"hidethinking", 0, FlagType::kBool, "Hide thinking output (if provided)"},
    FlagInfo{"insecure", 0, FlagType::kBool, kInsecureText},
    FlagInfo{"keepalive", 0, FlagType::kString, "Duration to keep a model loaded (e.g. 5m)"},
    FlagInfo{"nowordwrap", 0, FlagType::kBool, kNoWrapText},
    FlagInfo{"think", 0, FlagType::kString,
             "Enable thinking mode: true/false or high/medium/low for supported models", "true"},
    FlagInfo{"truncate", 0, FlagType::kBool,
             "For embedding models: truncate inputs exceeding context length (default: true). Set "
             "--truncate=false to error instead"},
    FlagInfo{"verbose", 0, FlagType::kBool, kVerboseText},
};

constexpr std::array kTransferFlags = {
    FlagInfo{"insecure", 0, FlagType::kBool, kInsecureText},
};

constexpr std::array kHealthFlags = {
    FlagInfo{"ready", 0, FlagType::kBool,
             "Ask whether the server is ready for requests, not only alive"},
};

constexpr std::array kVerifyFlags = {
    FlagInfo{"repair", 0, FlagType::kBool, "Fetch again what is broken"},
};

constexpr std::array<std::string_view, 2> kStoreVariables = {"CORRAL_MODELS", "OLLAMA_MODELS"};
constexpr std::array<std::string_view, 1> kHostOnly = {"OLLAMA_HOST"};
constexpr std::array<std::string_view, 3> kRunVariables = {"OLLAMA_EDITOR", "OLLAMA_HOST",
                                                           "OLLAMA_NOHISTORY"};

// Ollama's order, and ours, which its help does not know: the health check of container images, and
// what works on the store without a server.
constexpr std::array kCommands = {
    CommandInfo{CommandId::kServe, "serve", "start", "", "Start Ollama", 0, 0, {}, {}},
    CommandInfo{CommandId::kCreate, "create", "", "MODEL", "Create a model", 1, 1, kCreateFlags,
                kHostOnly},
    CommandInfo{CommandId::kShow, "show", "", "MODEL", "Show information for a model", 1, 1,
                kShowFlags, kHostOnly},
    CommandInfo{CommandId::kRun,
                "run",
                "",
                "MODEL [PROMPT]",
                "Run a model",
                1,
                {},
                kRunFlags,
                kRunVariables},
    CommandInfo{CommandId::kStop, "stop", "", "MODEL", "Stop a running model", 1, 1, {}, kHostOnly},
    CommandInfo{CommandId::kPull, "pull", "", "MODEL", "Pull a model from a registry", 1, 1,
                kTransferFlags, kHostOnly},
    CommandInfo{CommandId::kPush, "push", "", "MODEL", "Push a model to a registry", 1, 1,
                kTransferFlags, kHostOnly},
    CommandInfo{CommandId::kSignin, "signin", "login", "", "Sign in to ollama.com", 0, 0, {}, {}},
    CommandInfo{
        CommandId::kSignout, "signout", "logout", "", "Sign out from ollama.com", 0, 0, {}, {}},
    CommandInfo{CommandId::kList, "list", "ls", "", "List models", 0, {}, {}, kHostOnly},
    CommandInfo{CommandId::kPs, "ps", "", "", "List running models", 0, {}, {}, kHostOnly},
    CommandInfo{
        CommandId::kCopy, "cp", "", "SOURCE DESTINATION", "Copy a model", 2, 2, {}, kHostOnly},
    CommandInfo{
        CommandId::kRemove, "rm", "", "MODEL [MODEL...]", "Remove a model", 1, {}, {}, kHostOnly},
    CommandInfo{CommandId::kHealth, "health", "", "",
                "Check that the server answers (for health checks)", 0, 0, kHealthFlags, kHostOnly,
                true},
    CommandInfo{CommandId::kVerify, "verify", "", "", "Check every file of the model store", 0, 0,
                kVerifyFlags, kStoreVariables, true},
    CommandInfo{CommandId::kSave,
                "save",
                "",
                "MODEL [MODEL...]",
                "Write models to a tar file on standard output",
                1,
                {},
                {},
                kStoreVariables,
                true},
    CommandInfo{CommandId::kLoad,
                "load",
                "",
                "",
                "Read models from a tar file on standard input",
                0,
                0,
                {},
                kStoreVariables,
                true},
    CommandInfo{CommandId::kHelp, "help", "", "[command]", "Help about any command", 0, {}, {}, {}},
};

constexpr CommandInfo kRoot{CommandId::kRoot, "", "", "", "Large language model runner", 0, 0,
                            kRootFlags,       {}};

}  // namespace

std::span<const CommandInfo> CommandTable() { return kCommands; }
const CommandInfo& RootCommand() { return kRoot; }

}  // namespace corral::cli
