// The vocabulary of one request on its way from a dialect (api) through the scheduler and the
// worker to the engine, and of what comes back. No JSON, no HTTP, no llama.cpp: each room
// translates at its own wall.
//
// Plain values: copy, move, send over a socket (worker/protocol.h). Not thread-safe, as any value.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/result.h"

namespace corral {

// Identifies a job on one worker; given out by the worker's client side, never reused.
enum class JobId : std::uint64_t {};

using Token = std::int32_t;

// What a model can do, as `capabilities` on the wire names it (http-api.md section 2.15).
enum class Capability {
  kCompletion,
  kEmbedding,
  kVision,
  kAudio,
  kTools,
  kInsert,
  kThinking,
  kImage
};
std::string_view CapabilityName(Capability capability);

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments_json = "{}";  // always an object
  int index = 0;
};

struct ChatMessage {
  std::string role;  // lower case: system, user, assistant, tool, or whatever the client sent
  std::string content;
  std::string thinking;
  std::vector<std::string> images;  // decoded bytes of an image or a sound
  std::vector<ToolCall> tool_calls;
  std::string tool_name;
  std::string tool_call_id;
};

// The request's `think`: absent, off, or on with a level.
struct Think {
  bool is_on = false;
  std::string level;  // "high", "medium", "low", "max"; empty for a plain true or false
};

// Sampling, in the field's words. Defaults are Ollama's (api/types.go, DefaultOptions).
struct SamplingOptions {
  std::int64_t seed = -1;  // negative: random
  int num_predict =
      -1;            // most tokens to generate; negative: 10 * num_ctx; 0: evaluate the prompt only
  int num_keep = 4;  // prompt tokens that a context shift keeps
  int top_k = 40;    // <= 0: off
  float top_p = 0.9F;
  float min_p = 0.0F;
  float typical_p = 1.0F;
  int repeat_last_n = 64;  // 0: off, -1: the whole context
  float temperature = 0.8F;
  float repeat_penalty = 1.0F;
  float presence_penalty = 0.0F;
  float frequency_penalty = 0.0F;
  int prompt_lookup = 0;  // tokens guessed from the text so far, a step at most; 0: off
  std::vector<std::string> stop;

  // Beyond Ollama's: llama.cpp's other samplers, with its own names and defaults (all off).
  int mirostat = 0;  // 0: off, 1, 2: the version; replaces all samplers but the temperature
  float mirostat_tau = 5.0F;
  float mirostat_eta = 0.1F;
  float dry_multiplier = 0.0F;
  float dry_base = 1.75F;
  int dry_allowed_length = 2;
  int dry_penalty_last_n = 64;  // as repeat_last_n
  std::vector<std::string> dry_sequence_breakers = {"\n", ":", "\"", "*"};
  float xtc_probability = 0.0F;
  float xtc_threshold = 0.1F;
  float top_n_sigma = -1.0F;  // <= 0: off
  float dynatemp_range = 0.0F;
  float dynatemp_exponent = 1.0F;
};

// How the prompt is made. The engine renders: it owns the vocabulary and the templates.
struct PromptSource {
  enum class Kind : std::uint8_t {
    kRaw,       // `text` as it is
    kMessages,  // `messages` through go_template if not empty, else through the model's own Jinja
                // template
    kInsert,    // `text` and `suffix` through go_template (fill in the middle)
  };
  Kind kind = Kind::kRaw;
  std::string text;
  std::string suffix;
  std::vector<ChatMessage> messages;
  std::string go_template;  // Modelfile TEMPLATE or the request's; empty: the GGUF's chat template
  // As in the model's config (templates/renderers.h); empty: none. `renderer` stands in for a
  // template that nobody brings; `parser` says how the answer to a go_template's prompt is written.
  std::string renderer, parser;
  std::string tools_json;  // the request's `tools` array as JSON text; empty: none
  std::optional<Think> think;
  std::vector<Token>
      context;  // `context` of an earlier /api/generate: put in front of the rendered prompt
};

// A LoRA adapter that a job computes with, on top of the model's weights. Its file travels beside
// the job as a descriptor.
struct AdapterUse {
  // A blob, named after its content: files of the same name are the same adapter. A job that names
  // one twice has the sum of the scales.
  std::string file;
  float scale = 1.0F;  // finite; 0 is as good as not named, a negative one works against it
};
inline constexpr std::size_t kMostAdapters = 32;  // of a job

struct GenerateJob {
  PromptSource prompt;
  std::vector<AdapterUse> adapters;
  SamplingOptions sampling;
  std::string format_json;  // "": free text; "\"json\"": any object; else a JSON Schema
  int num_ctx = 4096;       // most tokens of this sequence, prompt and answer
  bool truncate =
      true;           // drop old messages, then cut the middle of the prompt, when it is too long
  bool shift = true;  // slide the context when it fills up while generating
  bool logprobs = false;
  int top_logprobs = 0;
  bool want_context = false;  // the final record carries the tokens of prompt and answer
  bool render_only = false;   // stop after rendering: Finish::rendered_prompt
  bool is_chat = false;       // /api/chat and its relatives: split tool calls and thinking
  std::string prefix_salt;    // jobs of different salts share no prefix; empty: shared by all
};

struct EmbedJob {
  std::vector<std::string> texts;  // none: the adapters are loaded, and nothing else
  std::vector<AdapterUse> adapters;
  // Set: the texts are documents, and each vector is one number, how well its document answers this
  // query, from 0 to 1. Only models with rank pooling can.
  std::optional<std::string> rerank_query;
  int num_ctx = 4096;     // most tokens of a text
  bool truncate = true;   // cut the end of a text that is too long; false: kInvalidArgument
  bool normalize = true;  // to Euclidean norm 1
};

// Text to tokens, or tokens to text. Needs the vocabulary only.
struct TokenJob {
  bool is_detokenize = false;
  std::string text;           // to tokenize
  std::vector<Token> tokens;  // to detokenize; one outside the vocabulary: kInvalidArgument
  bool add_special = false;   // BOS, EOS, SEP as the vocabulary has them around a text
  bool parse_special = true;  // control tokens in the text are recognised
};

struct TokenLogprob {
  std::string token;              // may be part of a UTF-8 character
  float logprob = 0;              // natural logarithm, <= 0
  std::vector<TokenLogprob> top;  // best first; the inner ones have no `top`
};

// A part of an answer, whole code points. Any field may be empty.
struct Piece {
  std::string text;
  std::string thinking;
  std::vector<ToolCall> tool_calls;
  std::vector<TokenLogprob> logprobs;
};

enum class DoneReason : std::uint8_t { kStop, kLength };

// The end of a GenerateJob that went well.
struct Finish {
  DoneReason reason = DoneReason::kStop;
  std::int64_t prompt_tokens = 0;  // the whole prompt, reused or evaluated
  std::int64_t reused_tokens = 0;  // of these, taken from a shared or parked prefix
  std::int64_t eval_tokens = 0;    // generated
  std::chrono::nanoseconds prompt_eval_time{0};
  std::chrono::nanoseconds eval_time{0};
  std::vector<Token> context;   // only if GenerateJob::want_context
  std::string rendered_prompt;  // only if GenerateJob::render_only
};

// The end of an EmbedJob that went well: one vector a text, in order.
struct Embeddings {
  std::vector<std::vector<float>> vectors;  // shape [texts][n_embd]
  std::int64_t prompt_tokens = 0;
};

// The end of a TokenJob that went well: the half that was asked for.
struct TokenText {
  std::vector<Token> tokens;
  std::string text;
};

// What a job's owner hears: any number of Piece, then exactly one of the others.
using JobEvent = std::variant<Piece, Finish, Embeddings, TokenText, Error>;
inline bool IsLast(const JobEvent& event) { return !std::holds_alternative<Piece>(event); }

// What a worker was asked to load. File descriptors travel beside it: the sandboxed child opens no
// path.
struct LoadOptions {
  bool is_vocab_only = false;  // no weights: TokenJobs only
  int num_ctx = 4096;          // most tokens of one sequence
  int n_slots = 1;             // sequences that decode at once; 0: the engine decides
  int n_cells = 0;      // tokens of all sequences together; 0: num_ctx for each slot, or what fits
  int num_batch = 512;  // tokens of a llama_decode at most
  int num_gpu = -1;     // layers on the GPU; -1: as many as fit, 0: none
  int main_gpu = -1;    // -1: unset
  int num_thread = 0;   // 0: what the cgroup, the cpuset and the cores allow
  int use_mmap = -1;    // -1: by the room's own rule, 0: no, 1: yes
  bool flash_attention = true;
  std::string kv_cache_type;  // "": f16
  // Budget for parked prefixes in host RAM, of all models together (see Sharers); negative: a share
  // of what is free once it is loaded.
  std::int64_t prefix_cache_bytes = 0;
};

// With how many others a model shares the host at the moment; each number counts itself.
struct Sharers {
  std::int32_t n_computing = 1;  // models that have work: they divide the cores
  std::int32_t n_parking = 1;    // models that park prefixes: they divide the memory for these
  friend bool operator==(const Sharers&, const Sharers&) = default;
};

// What a worker says of a model once it is loaded.
struct ModelFacts {
  int n_ctx_train = 0;
  int n_ctx_seq = 0;  // most tokens of one sequence, as loaded
  int n_slots = 0;
  int n_embd = 0;
  int n_vocab = 0;
  int n_threads = 0;
  bool has_chat_template = false;
  bool is_embedding = false;    // the GGUF names a pooling type
  std::int64_t size_bytes = 0;  // weights, KV cells and compute buffers, all memory
  std::int64_t vram_bytes = 0;  // of these, on a GPU
};

// Counters of a worker since its start, for /metrics.
struct EngineCounters {
  std::int64_t prompt_tokens_evaluated = 0;
  std::int64_t prompt_tokens_reused = 0;
  std::int64_t tokens_generated = 0;
  std::int64_t decode_calls = 0;
  std::int64_t tokens_guessed =
      0;  // by prompt_lookup: rows that were evaluated beside the next token
  std::int64_t guesses_right = 0;  // of these
  std::int64_t media_encoded = 0;  // pictures, or parts of them, and parts of sounds
  std::int64_t media_reused = 0;   // of these, found encoded already
  std::int64_t jobs_running = 0;
  std::int64_t jobs_waiting = 0;
  std::int64_t parked_bytes = 0;  // finished prompts in host RAM
};

}  // namespace corral
