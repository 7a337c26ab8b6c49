// `options` of a request and the parameters of a model, resolved: defaults, then the model's, then
// the request's. Source: Ollama's api/types.go (Options, DefaultOptions, FromMap). Pure values.
// Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/native/go_json.h"
#include "core/job.h"
#include "core/result.h"
#include "models/store.h"

namespace corral::api {

// A JSON value as far as an option can use it.
struct OptionValue {
  JsonKind kind = JsonKind::kNull;
  bool boolean = false;
  double number = 0;
  std::optional<std::int64_t> integer;  // the number, if it was written as one that fits
  std::string text;
  std::vector<std::string> list;
  bool is_list_of_strings = false;  // kind is kArray and `list` holds all of it

  static OptionValue From(const models::ParamValue& value);
};

// Sorted, so that of several wrong options the same one is always reported.
using OptionMap = std::map<std::string, OptionValue, std::less<>>;

// Reads the value at the cursor, whatever it is.
OptionValue ReadOptionValue(Decoder& decoder);
// Reads a map[string]interface {}.
void ReadOptions(Decoder& decoder, OptionMap* out);

struct ResolvedOptions {
  SamplingOptions sampling;
  // Explicit values only.
  std::optional<int> num_ctx, num_batch, num_gpu, main_gpu, num_thread;
  std::optional<bool> use_mmap, flash_attention;
  std::optional<std::string> kv_cache_type;
};

// Unknown names are logged and ignored, and so is a value of a wrong type under a name that Ollama
// does not know (mirostat, DRY, XTC and the like). null is ignored, a fraction for an integer is
// cut, a number outside the type's range becomes the nearest in it, a bare string is a list of one.
// Errors: kInvalidArgument `option "temperature" must be of type float32`, ParseKvCacheType's
// (core/kv_cache_types.h).
Result<ResolvedOptions> ResolveOptions(const models::Params& of_model, const OptionMap& of_request);

// An explicit num_ctx within what the model can do: at least 4 (2048 with vision), at most
// `n_ctx_train` if that is known.
int BoundedContext(int num_ctx, int n_ctx_train, bool has_vision);

// num_predict as a job has it: never more than ten contexts, negative means that many.
int BoundedPredict(int num_predict, int num_ctx);

// `parameters` of a create request, or `options` of a show request. Errors: kInvalidArgument for a
// value that is neither a scalar nor a list of strings.
Result<models::Params> ToParams(const OptionMap& values);

}  // namespace corral::api
