#include "api/native/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <variant>

#include "core/kv_cache_types.h"
#include "core/log.h"
#include "core/text.h"

namespace corral::api {
namespace {

// Where a value goes.
using Target =
    std::variant<int SamplingOptions::*, std::int64_t SamplingOptions::*, float SamplingOptions::*,
                 std::vector<std::string> SamplingOptions::*, std::optional<int> ResolvedOptions::*,
                 std::optional<bool> ResolvedOptions::*,
                 std::optional<std::string> ResolvedOptions::*, std::monostate>;

struct Known {
  std::string_view name;
  Target target;
  bool is_ollamas = true;
};

using S = SamplingOptions;
using R = ResolvedOptions;

// api/types.go, Options and Runner; then ours, and llama.cpp's samplers that Ollama does not know.
constexpr Known kKnown[] = {
    {"num_ctx", &R::num_ctx},
    {"num_batch", &R::num_batch},
    {"num_gpu", &R::num_gpu},
    {"main_gpu", &R::main_gpu},
    {"use_mmap", &R::use_mmap},
    {"num_thread", &R::num_thread},
    {"draft_num_predict", std::monostate()},  // checked, without effect: there is no draft model
    {"num_keep", &S::num_keep},
    {"seed", &S::seed},
    {"num_predict", &S::num_predict},
    {"top_k", &S::top_k},
    {"top_p", &S::top_p},
    {"min_p", &S::min_p},
    {"typical_p", &S::typical_p},
    {"repeat_last_n", &S::repeat_last_n},
    {"temperature", &S::temperature},
    {"repeat_penalty", &S::repeat_penalty},
    {"presence_penalty", &S::presence_penalty},
    {"frequency_penalty", &S::frequency_penalty},
    {"stop", &S::stop},
    {"kv_cache_type", &R::kv_cache_type},
    {"flash_attention", &R::flash_attention},
    {"prompt_lookup", &S::prompt_lookup},
    {"mirostat", &S::mirostat, false},
    {"mirostat_tau", &S::mirostat_tau, false},
    {"mirostat_eta", &S::mirostat_eta, false},
    {"dry_multiplier", &S::dry_multiplier, false},
    {"dry_base", &S::dry_base, false},
    {"dry_allowed_length", &S::dry_allowed_length, false},
    {"dry_penalty_last_n", &S::dry_penalty_last_n, false},
    {"dry_sequence_breakers", &S::dry_sequence_breakers, false},
    {"xtc_probability", &S::xtc_probability, false},
    {"xtc_threshold", &S::xtc_threshold, false},
    {"top_n_sigma", &S::top_n_sigma, false},
    {"dynatemp_range", &S::dynatemp_range, false},
    {"dynatemp_exponent", &S::dynatemp_exponent, false},
};

std::int64_t ToInteger(const OptionValue& value) {
  if (value.integer) return *value.integer;
  constexpr double kLimit = 9.2e18;
  if (std::isnan(value.number)) return 0;
  return static_cast<std::int64_t>(std::clamp(std::trunc(value.number), -kLimit, kLimit));
}

int ToInt(const OptionValue& value) {
  return static_cast<int>(std::clamp<std::int64_t>(
      ToInteger(value), std::numeric_limits<int>::min(), std::numeric_limits<int>::max()));
}

float ToFloat(const OptionValue& value) {
  constexpr double kLimit = std::numeric_limits<float>::max();
  return static_cast<float>(std::clamp(value.number, -kLimit, kLimit));
}

std::vector<std::string> ToList(const OptionValue& value) {
  return value.kind == JsonKind::kString ? std::vector<std::string>{value.text} : value.list;
}

// Puts a value where it belongs, or says what it should have been.
class Setter {
 public:
  Setter(const OptionValue& value, ResolvedOptions* out) : value_(value), out_(*out) {}

  std::string_view operator()(int S::*member) const {
    if (value_.kind != JsonKind::kNumber) return kInteger;
    out_.sampling.*member = ToInt(value_);
    return {};
  }
  std::string_view operator()(std::int64_t S::*member) const {
    if (value_.kind != JsonKind::kNumber) return kInteger;
    out_.sampling.*member = ToInteger(value_);
    return {};
  }
  std::string_view operator()(float S::*member) const {
    if (value_.kind != JsonKind::kNumber) return "type float32";
    out_.sampling.*member = ToFloat(value_);
    return {};
  }
  std::string_view operator()(std::vector<std::string> S::*member) const {
    if (value_.kind == JsonKind::kArray && !value_.is_list_of_strings) return "an array of strings";
    if (value_.kind != JsonKind::kArray && value_.kind != JsonKind::kString) return "type array";
    out_.sampling.*member = ToList(value_);
    return {};
  }
  std::string_view operator()(std::optional<int> R::*member) const {
    if (value_.kind != JsonKind::kNumber) return kInteger;
    out_.*member = ToInt(value_);
    return {};
  }
  std::string_view operator()(std::optional<bool> R::*member) const {
    if (value_.kind != JsonKind::kBool) return "type boolean";
    out_.*member = value_.boolean;
    return {};
  }
  std::string_view operator()(std::optional<std::string> R::*member) const {
    if (value_.kind != JsonKind::kString) return "type string";
    out_.*member = value_.text;
    return {};
  }
  std::string_view operator()(std::monostate) const {
    return value_.kind == JsonKind::kNumber ? std::string_view() : kInteger;
  }

 private:
  static constexpr std::string_view kInteger = "type integer";
  const OptionValue& value_;
  ResolvedOptions& out_;
};

Status Apply(std::string_view name, const OptionValue& value, ResolvedOptions* out) {
  if (value.kind == JsonKind::kNull) return {};
  const auto* const known = std::find_if(std::begin(kKnown), std::end(kKnown),
                                         [&](const Known& row) { return row.name == name; });
  if (known == std::end(kKnown)) {
    Log(LogLevel::kWarn, "invalid option provided", {{"option", name}});
    return {};
  }
  const std::string_view wanted = std::visit(Setter(value, out), known->target);
  if (wanted.empty()) return {};
  if (!known->is_ollamas) {
    // To Ollama the name is unknown, whatever its value.
    Log(LogLevel::kWarn, "option of a wrong type left out", {{"option", name}, {"wanted", wanted}});
    return {};
  }
  return Fail(Code::kInvalidArgument,
              "option " + GoQuote(name) + " must be of " + std::string(wanted));
}

}  // namespace

OptionValue OptionValue::From(const models::ParamValue& value) {
  OptionValue out;
  if (const auto* boolean = std::get_if<bool>(&value)) {
    out.kind = JsonKind::kBool;
    out.boolean = *boolean;
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    out.kind = JsonKind::kNumber;
    out.integer = *integer;
    out.number = static_cast<double>(*integer);
  } else if (const auto* number = std::get_if<double>(&value)) {
    out.kind = JsonKind::kNumber;
    out.number = *number;
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    out.kind = JsonKind::kString;
    out.text = *text;
  } else if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
    out.kind = JsonKind::kArray;
    out.list = *list;
    out.is_list_of_strings = true;
  }
  return out;
}

OptionValue ReadOptionValue(Decoder& decoder) {
  OptionValue value;
  value.kind = decoder.kind();
  switch (value.kind) {
    case JsonKind::kBool:
      value.boolean = decoder.TakeBool();
      break;
    case JsonKind::kNumber: {
      const std::string_view number = decoder.TakeNumber();
      const char* const end = number.data() + number.size();
      if (std::from_chars(number.data(), end, value.number).ec != std::errc()) {
        decoder.Abort("json: cannot unmarshal number " + std::string(number) +
                      " into Go value of type float64");
        break;
      }
      std::int64_t integer = 0;
      const auto [stop, error] = std::from_chars(number.data(), end, integer);
      if (error == std::errc() && stop == end) value.integer = integer;
      break;
    }
    case JsonKind::kString:
      value.text = decoder.TakeString();
      break;
    case JsonKind::kArray:
      value.is_list_of_strings = true;
      decoder.ReadArray("[]interface {}", [&value](Decoder& element) {
        if (element.kind() == JsonKind::kString) {
          value.list.push_back(element.TakeString());
        } else {
          value.is_list_of_strings = false;
          element.ReadRaw();
        }
      });
      break;
    case JsonKind::kNull:
    case JsonKind::kObject:
      decoder.ReadRaw();
      break;
  }
  return value;
}

void ReadOptions(Decoder& decoder, OptionMap* out) {
  out->clear();
  decoder.ReadMap("map[string]interface {}", [out](std::string key, Decoder& at) {
    OptionValue value = ReadOptionValue(at);
    out->insert_or_assign(std::move(key), std::move(value));
  });
}

Result<ResolvedOptions> ResolveOptions(const models::Params& of_model,
                                       const OptionMap& of_request) {
  ResolvedOptions out;
  for (const auto& [name, value] : of_model) {
    CORRAL_TRY_STATUS(Apply(name, OptionValue::From(value), &out));
  }
  for (const auto& [name, value] : of_request) CORRAL_TRY_STATUS(Apply(name, value, &out));
  if (out.kv_cache_type) {
    CORRAL_TRY(out.kv_cache_type, ParseKvCacheType(*out.kv_cache_type));
  }
  return out;
}

int BoundedContext(int num_ctx, int n_ctx_train, bool has_vision) {
  const int least = has_vision ? 2048 : 4;
  int bounded = std::max(num_ctx, least);
  if (n_ctx_train > 0) bounded = std::min(bounded, n_ctx_train);
  return bounded;
}

int BoundedPredict(int num_predict, int num_ctx) {
  const std::int64_t most = 10LL * num_ctx;
  if (num_predict < 0 || num_predict > most) {
    return static_cast<int>(std::min<std::int64_t>(most, std::numeric_limits<int>::max()));
  }
  return num_predict;
}

Result<models::Params> ToParams(const OptionMap& values) {
  models::Params out;
  for (const auto& [name, value] : values) {
    switch (value.kind) {
      case JsonKind::kNull:
        break;
      case JsonKind::kBool:
        out[name] = value.boolean;
        break;
      case JsonKind::kNumber:
        if (value.integer) {
          out[name] = *value.integer;
        } else {
          out[name] = value.number;
        }
        break;
      case JsonKind::kString:
        out[name] = value.text;
        break;
      case JsonKind::kArray:
        if (value.is_list_of_strings) {
          out[name] = value.list;
          break;
        }
        [[fallthrough]];
      case JsonKind::kObject:
        return Fail(Code::kInvalidArgument,
                    "parameter " + GoQuote(name) + " must be a scalar or an array of strings");
    }
  }
  return out;
}

}  // namespace corral::api
