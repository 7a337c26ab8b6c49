// The server as the commands see it: one call a route, typed requests and replies. Speaks HTTP
// through a Transport, so that tests can stand in for the server.
//
// Error texts are those that Ollama's client prints (api/client.go): the server's own text for a
// single reply, the status line in front of it for a stream. Codes follow the HTTP status: 404 is
// kNotFound, 401 kUnauthorized, 400 kInvalidArgument, other replies kUpstream; kCancelled when
// `stop` stopped the call. A Client is used by one thread at a time; its calls wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/job.h"
#include "core/result.h"
#include "core/stop.h"
#include "core/timestamp.h"
#include "modelfile/modelfile.h"

namespace corral::cli {

// ---- transport ----

struct HttpRequest {
  std::string method = {};
  std::string path = {};  // "/api/tags"; the transport knows the server and its base path
  std::string body = {};  // JSON; sent if not empty
  std::filesystem::path body_file = {};  // if not empty, the body is this file's bytes
  bool is_stream = false;                // NDJSON is wanted
  std::chrono::milliseconds timeout{0};  // for the whole exchange; 0: none
  std::function<void(std::uint64_t n_sent)> on_sent =
      {};  // while a body_file goes out; may be empty
};

struct HttpHead {
  int status = 0;
  std::string status_line;  // "404 Not Found"
};

class Transport {
 public:
  // Gets a reply's body piece by piece. An error ends the exchange and becomes Send's.
  using Receiver = std::function<Status(const HttpHead& head, std::string_view bytes)>;
  virtual ~Transport() = default;
  // Returns when the reply is complete. Errors: kUpstream (not reached, or the connection broke:
  // `Get "http://…": …`), kNotFound and kIo (body_file), kCancelled (stop), what `receive`
  // returned.
  virtual Result<HttpHead> Send(const HttpRequest& request, const Receiver& receive,
                                StopToken stop) = 0;
};

// ---- what goes over it ----

struct ListedModel {
  std::string name;
  std::string digest;
  std::int64_t size_bytes = 0;
  Timestamp modified_at = Timestamp::GoZero();
  bool is_remote = false;
};

struct RunningModel {
  std::string name;
  std::string digest;
  std::int64_t size_bytes = 0;
  std::int64_t vram_bytes = 0;
  std::int64_t context_length = 0;
  Timestamp expires_at = Timestamp::GoZero();
};

// A value of `model_info`. Numbers are doubles, as in Ollama's client; arrays hold their items as
// they print.
struct InfoArray {
  std::vector<std::string> items;
};
using InfoValue = std::variant<std::monostate, bool, double, std::string, InfoArray>;
using InfoMap = std::map<std::string, InfoValue, std::less<>>;

struct TensorRow {
  std::string name;
  std::string type;
  std::vector<std::int64_t> shape;
};

struct ShowReply {
  std::string license;
  std::string modelfile;
  std::string parameters;
  std::string template_text;
  std::string system;
  std::string requires_version;
  std::string remote_model;
  std::string remote_host;
  std::string parent_model;
  std::string family;
  std::string parameter_size;
  std::string quantization_level;
  std::vector<ChatMessage> messages;
  std::optional<InfoMap> model_info;
  std::optional<InfoMap> projector_info;
  std::vector<TensorRow> tensors;
  std::vector<std::string> capabilities;

  bool Can(std::string_view capability) const;
};

// What generate and chat share.
struct AnswerOptions {
  std::string format;  // "json", or a JSON schema as it is; "": free text
  std::optional<std::chrono::nanoseconds> keep_alive;
  std::optional<Think> think;
  std::vector<modelfile::Parameter> options;
};

struct GenerateRequest : AnswerOptions {
  std::string model;
  std::string prompt;  // empty: load, or unload with a keep_alive of 0
  std::string system;
  std::vector<std::string> images;  // bytes
};

struct ChatRequest : AnswerOptions {
  std::string model;
  std::vector<ChatMessage> messages;
};

struct Timings {
  std::chrono::nanoseconds total{0};
  std::chrono::nanoseconds load{0};
  std::chrono::nanoseconds prompt_eval{0};
  std::chrono::nanoseconds eval{0};
  std::int64_t prompt_tokens = 0;
  std::int64_t eval_tokens = 0;
};

// One record of a streamed answer.
struct AnswerRecord {
  std::string role;  // of a chat
  std::string text;
  std::string thinking;
  std::vector<ToolCall> tool_calls;
  bool is_done = false;
  Timings timings;  // of the last record
};

struct ProgressRecord {
  std::string status;
  std::string digest;
  std::int64_t total = 0;
  std::int64_t completed = 0;
};

struct CreateRequest {
  std::string model;
  std::string from;
  std::map<std::string, std::string> files;  // name -> "sha256:…"
  std::map<std::string, std::string> adapters;
  std::map<std::string, std::string> draft_files;
  std::string quantize;
  std::string draft_quantize;
  std::string template_text;
  std::string system;
  std::string renderer;
  std::string parser;
  std::string requires_version;
  std::vector<std::string> licenses;
  std::vector<modelfile::Parameter> parameters;
  std::vector<ChatMessage> messages;
};

struct EmbedRequest {
  std::string model;
  std::string input;
  std::optional<bool> truncate = {};
  std::int64_t dimensions = 0;
  std::optional<std::chrono::nanoseconds> keep_alive = {};
};

// Where a 401 sends the user; empty if the server gave no address.
struct SignInNeeded {
  std::string url;
};

class Client {
 public:
  using OnAnswer = std::function<void(const AnswerRecord&)>;
  using OnProgress = std::function<void(const ProgressRecord&)>;

  // `transport` must outlive the client.
  explicit Client(Transport& transport) : transport_(transport) {}

  // HEAD /. A refused connection becomes the hint to start the server.
  Status Heartbeat();
  // GET /healthz, or /readyz.
  Status Health(bool is_ready, std::chrono::milliseconds timeout);
  Result<std::string> Version();
  Result<std::vector<ListedModel>> List();
  Result<std::vector<RunningModel>> Running();
  // `system` and `options` as the session has them; they change only the reply's modelfile and
  // system.
  Result<ShowReply> Show(const std::string& model, bool is_verbose, const std::string& system = "",
                         const std::vector<modelfile::Parameter>& options = {});
  Status Generate(const GenerateRequest& request, const OnAnswer& on_answer, StopToken stop = {});
  Status Chat(const ChatRequest& request, const OnAnswer& on_answer, StopToken stop = {});
  // The first vector as a JSON array.
  Result<std::string> Embed(const EmbedRequest& request, StopToken stop = {});
  Status Copy(const std::string& source, const std::string& destination);
  Status Delete(const std::string& model);
  Status Pull(const std::string& model, bool is_insecure, const OnProgress& on_progress);
  Status Push(const std::string& model, bool is_insecure, const OnProgress& on_progress);
  // `digest` is "sha256:…".
  Result<bool> HasBlob(const std::string& digest);
  Status CreateBlob(const std::string& digest, const std::filesystem::path& file,
                    std::function<void(std::uint64_t n_sent)> on_sent);
  Status Create(const CreateRequest& request, const OnProgress& on_progress);
  // The signed-in user's name, or where to sign in.
  Result<std::variant<std::string, SignInNeeded>> WhoAmI();
  // False if nobody was signed in.
  Result<bool> SignOut();

 private:
  struct Reply {
    HttpHead head;
    std::string body;
  };
  // Any status; only transport errors fail.
  Result<Reply> Exchange(HttpRequest request, StopToken stop = {});
  // As Exchange; a status of 400 or more is an error.
  Result<std::string> Single(HttpRequest request, StopToken stop = {});
  // Hands over the lines of a streamed reply. An `error` in one ends it.
  Status Lines(HttpRequest request, const std::function<Status(std::string_view line)>& on_line,
               StopToken stop);
  Status Progress(const std::string& path, std::string body, const OnProgress& on_progress);
  Status Answer(const std::string& path, std::string body, const OnAnswer& on_answer,
                StopToken stop);

  Transport& transport_;
};

// The text that stands for "nobody listens there".
inline constexpr std::string_view kServerDown =
    "could not connect to ollama server, run 'ollama serve' to start it";

}  // namespace corral::cli
