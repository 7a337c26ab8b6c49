// The bodies of the native requests, read into values. From here on there is no JSON, except the
// texts that a model's template or grammar is made of (tools, format, arguments), which stay JSON
// text.
//
// Source: Ollama's api/types.go. Pure functions. Thread-safe. All errors are kInvalidArgument with
// Go's texts.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/native/options.h"
#include "core/job.h"
#include "core/result.h"
#include "models/name.h"
#include "models/store.h"

namespace corral::api {

// One of a request's `adapters`, as sent.
struct AdapterChoice {
  std::string name;
  float scale = 1.0F;
};

// What generate, chat, embed and embeddings share.
struct ModelParts {
  std::string model;                                   // as sent
  std::optional<std::chrono::nanoseconds> keep_alive;  // nanoseconds::max(): for ever
  OptionMap options;
  std::optional<std::vector<AdapterChoice>> adapters;  // nullopt: the model's own
};

// What generate and chat share.
struct GenerationParts : ModelParts {
  bool is_streamed = true;
  std::string format_json;  // compact; empty for absent, null and ""
  std::optional<Think> think;
  bool truncate = true;
  std::optional<bool> shift;  // unset: as the model's family does
  bool logprobs = false;
  std::int64_t top_logprobs = 0;
  bool render_only = false;
};

struct GenerateRequest : GenerationParts {
  std::string prompt, suffix, system, template_text;
  std::optional<std::vector<Token>> context;
  bool is_raw = false;
  std::vector<std::string> images;  // decoded
};

struct ChatRequest : GenerationParts {
  std::vector<ChatMessage> messages;
  std::string tools_json;  // compact array; empty when there are none
};

struct EmbedRequest : ModelParts {
  std::vector<std::string> input;
  bool is_input_valid = true;  // a string or a list of strings: checked after the name's form
  bool truncate = true;
  std::int64_t dimensions = 0;
};

struct EmbeddingsRequest : ModelParts {
  std::string prompt;
};

struct RerankRequest : ModelParts {
  std::string query;
  std::vector<std::string> documents;  // each sent as a string, or as an object with "text"
  std::int64_t top_n = 0;              // <= 0: all
  bool returns_documents = false;
  bool truncate = true;
};

struct TokenizeRequest : ModelParts {
  std::string content;
  bool add_special = false;
  bool parse_special = true;
};

struct DetokenizeRequest : ModelParts {
  std::vector<Token> tokens;
};

struct ShowRequest {
  std::string model, system;
  bool is_verbose = false;
  OptionMap options;
};

struct CopyRequest {
  std::string source, destination;
};

struct DeleteRequest {
  std::string model;
};

// Pull and push. User and password are not read, as in Ollama.
struct TransferRequest {
  std::string model;
  bool is_insecure = false;
  bool is_streamed = true;
};

struct CreateRequest {
  using Files = std::vector<std::pair<std::string, std::string>>;  // path, digest; sorted by path
  std::string model;
  bool is_streamed = true;
  std::string from, remote_host;
  std::optional<Files> files;  // nullopt: absent
  Files adapters, draft_files;
  std::string quantize, draft_quantize;
  std::string template_text, system, renderer, parser, requires_version;
  std::vector<std::string> licenses;
  OptionMap parameters;
  std::vector<models::StoredMessage> messages;
  OptionMap info;
};

// Each takes a whole body: syntax first (FirstValue), then the fields.
Result<GenerateRequest> ReadGenerateRequest(std::string_view body);
Result<ChatRequest> ReadChatRequest(std::string_view body);
Result<EmbedRequest> ReadEmbedRequest(std::string_view body);
Result<EmbeddingsRequest> ReadEmbeddingsRequest(std::string_view body);
Result<RerankRequest> ReadRerankRequest(std::string_view body);
Result<TokenizeRequest> ReadTokenizeRequest(std::string_view body);
Result<DetokenizeRequest> ReadDetokenizeRequest(std::string_view body);
Result<ShowRequest> ReadShowRequest(std::string_view body);
Result<CopyRequest> ReadCopyRequest(std::string_view body);
Result<DeleteRequest> ReadDeleteRequest(std::string_view body);
Result<TransferRequest> ReadPullRequest(std::string_view body);
Result<TransferRequest> ReadPushRequest(std::string_view body);
Result<CreateRequest> ReadCreateRequest(std::string_view body);

// A picture or a sound: standard base64, after an optional "data:<type>;base64," prefix, which
// Ollama refuses. Errors: `illegal base64 data at input byte N`.
Result<std::string> DecodeMedia(std::string_view text);

// One message of a chat or a create request, appended.
void ReadMessage(Decoder& decoder, std::vector<ChatMessage>* out);

}  // namespace corral::api
