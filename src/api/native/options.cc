#include "api/native/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <variant>

#include "core/log.h"
#include "core/text.h"

namespace corral::api {
namespace {

enum class Type : std::uint8_t { kInt, kFloat, kBool, kText, kStop };

struct Known {
  std::string_view name;
  Type type;
};

// api/types.go, Options and Runner, then ours. draft_num_predict is checked and has no effect:
// there is no draft model.
constexpr Known kKnown[] = {
    {"num_ctx", Type::kInt},
    {"num_batch", Type::kInt},
    {"num_gpu", Type::kInt},
    {"main_gpu", Type::kInt},
    {"use_mmap", Type::kBool},
    {"num_thread", Type::kInt},
    {"draft_num_predict", Type::kInt},
    {"num_keep", Type::kInt},
    {"seed", Type::kInt},
    {"num_predict", Type::kInt},
    {"top_k", Type::kInt},
    {"top_p", Type::kFloat},
    {"min_p", Type::kFloat},
    {"typical_p", Type::kFloat},
    {"repeat_last_n", Type::kInt},
    {"temperature", Type::kFloat},
    {"repeat_penalty", Type::kFloat},
    {"presence_penalty", Type::kFloat},
    {"frequency_penalty", Type::kFloat},
    {"stop", Type::kStop},
    {"kv_cache_type", Type::kText},
    {"flash_attention", Type::kBool},
    {"prompt_lookup", Type::kInt},
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

Status CheckType(const Known& known, const OptionValue& value) {
  const auto wrong = [&](std::string_view what) {
    return Fail(Code::kInvalidArgument,
                "option " + GoQuote(known.name) + " must be of " + std::string(what));
  };
  switch (known.type) {
    case Type::kInt:
      return value.kind == JsonKind::kNumber ? Status() : wrong("type integer");
    case Type::kFloat:
      return value.kind == JsonKind::kNumber ? Status() : wrong("type float32");
    case Type::kBool:
      return value.kind == JsonKind::kBool ? Status() : wrong("type boolean");
    case Type::kText:
      return value.kind == JsonKind::kString ? Status() : wrong("type string");
    case Type::kStop:
      if (value.kind == JsonKind::kString) return {};
      if (value.kind != JsonKind::kArray) return wrong("type array");
      return value.is_list_of_strings ? Status() : wrong("an array of strings");
  }
  return {};
}

void Set(std::string_view name, const OptionValue& value, ResolvedOptions* out) {
  SamplingOptions& sampling = out->sampling;
  if (name == "num_ctx") {
    out->num_ctx = ToInt(value);
  } else if (name == "num_batch") {
    out->num_batch = ToInt(value);
  } else if (name == "num_gpu") {
    out->num_gpu = ToInt(value);
  } else if (name == "main_gpu") {
    out->main_gpu = ToInt(value);
  } else if (name == "use_mmap") {
    out->use_mmap = value.boolean;
  } else if (name == "num_thread") {
    out->num_thread = ToInt(value);
  } else if (name == "num_keep") {
    sampling.num_keep = ToInt(value);
  } else if (name == "seed") {
    sampling.seed = ToInteger(value);
  } else if (name == "num_predict") {
    sampling.num_predict = ToInt(value);
  } else if (name == "top_k") {
    sampling.top_k = ToInt(value);
  } else if (name == "top_p") {
    sampling.top_p = ToFloat(value);
  } else if (name == "min_p") {
    sampling.min_p = ToFloat(value);
  } else if (name == "typical_p") {
    sampling.typical_p = ToFloat(value);
  } else if (name == "repeat_last_n") {
    sampling.repeat_last_n = ToInt(value);
  } else if (name == "temperature") {
    sampling.temperature = ToFloat(value);
  } else if (name == "repeat_penalty") {
    sampling.repeat_penalty = ToFloat(value);
  } else if (name == "presence_penalty") {
    sampling.presence_penalty = ToFloat(value);
  } else if (name == "frequency_penalty") {
    sampling.frequency_penalty = ToFloat(value);
  } else if (name == "kv_cache_type") {
    out->kv_cache_type = value.text;
  } else if (name == "flash_attention") {
    out->flash_attention = value.boolean;
  } else if (name == "prompt_lookup") {
    sampling.prompt_lookup = ToInt(value);
  } else if (name == "stop") {
    if (value.kind == JsonKind::kString) {
      sampling.stop = {value.text};
    } else {
      sampling.stop = value.list;
    }
  }
}

Status Apply(std::string_view name, const OptionValue& value, ResolvedOptions* out) {
  if (value.kind == JsonKind::kNull) return {};
  const auto* const known = std::find_if(std::begin(kKnown), std::end(kKnown),
                                         [&](const Known& row) { return row.name == name; });
  if (known == std::end(kKnown)) {
    Log(LogLevel::kWarn, "invalid option provided", {{"option", name}});
    return {};
  }
  CORRAL_TRY_STATUS(CheckType(*known, value));
  Set(name, value, out);
  return {};
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
