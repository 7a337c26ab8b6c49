#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "core/kv_cache_types.h"
#include "modelfile/modelfile.h"

namespace corral::modelfile {
namespace {

struct KnownParameter {
  std::string_view name;
  ParameterKind kind;
};

// Ollama's api/types.go (Options); ours, and llama.cpp's samplers that Ollama does not know; and
// the names that Ollama drops with a warning (parser/parser.go), mirostat among them, which only
// requests can set.
constexpr std::array kParameters = {
    KnownParameter{"num_ctx", ParameterKind::kInt},
    KnownParameter{"num_batch", ParameterKind::kInt},
    KnownParameter{"num_gpu", ParameterKind::kInt},
    KnownParameter{"main_gpu", ParameterKind::kInt},
    KnownParameter{"use_mmap", ParameterKind::kBool},
    KnownParameter{"num_thread", ParameterKind::kInt},
    KnownParameter{"draft_num_predict", ParameterKind::kInt},
    KnownParameter{"num_keep", ParameterKind::kInt},
    KnownParameter{"seed", ParameterKind::kInt},
    KnownParameter{"num_predict", ParameterKind::kInt},
    KnownParameter{"top_k", ParameterKind::kInt},
    KnownParameter{"top_p", ParameterKind::kFloat},
    KnownParameter{"min_p", ParameterKind::kFloat},
    KnownParameter{"typical_p", ParameterKind::kFloat},
    KnownParameter{"repeat_last_n", ParameterKind::kInt},
    KnownParameter{"temperature", ParameterKind::kFloat},
    KnownParameter{"repeat_penalty", ParameterKind::kFloat},
    KnownParameter{"presence_penalty", ParameterKind::kFloat},
    KnownParameter{"frequency_penalty", ParameterKind::kFloat},
    KnownParameter{"stop", ParameterKind::kList},
    KnownParameter{"kv_cache_type", ParameterKind::kKvCacheType},
    KnownParameter{"flash_attention", ParameterKind::kBool},
    KnownParameter{"prompt_lookup", ParameterKind::kInt},
    KnownParameter{"dry_multiplier", ParameterKind::kFloat},
    KnownParameter{"dry_base", ParameterKind::kFloat},
    KnownParameter{"dry_allowed_length", ParameterKind::kInt},
    KnownParameter{"dry_penalty_last_n", ParameterKind::kInt},
    KnownParameter{"dry_sequence_breakers", ParameterKind::kList},
    KnownParameter{"xtc_probability", ParameterKind::kFloat},
    KnownParameter{"xtc_threshold", ParameterKind::kFloat},
    KnownParameter{"top_n_sigma", ParameterKind::kFloat},
    KnownParameter{"dynatemp_range", ParameterKind::kFloat},
    KnownParameter{"dynatemp_exponent", ParameterKind::kFloat},
    KnownParameter{"penalize_newline", ParameterKind::kDeprecated},
    KnownParameter{"low_vram", ParameterKind::kDeprecated},
    KnownParameter{"f16_kv", ParameterKind::kDeprecated},
    KnownParameter{"logits_all", ParameterKind::kDeprecated},
    KnownParameter{"vocab_only", ParameterKind::kDeprecated},
    KnownParameter{"use_mlock", ParameterKind::kDeprecated},
    KnownParameter{"mirostat", ParameterKind::kDeprecated},
    KnownParameter{"mirostat_tau", ParameterKind::kDeprecated},
    KnownParameter{"mirostat_eta", ParameterKind::kDeprecated},
};

// Go's strconv.ParseInt(text, 10, 64).
std::optional<std::int64_t> ParseInt(std::string_view text) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return std::nullopt;
  }
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool IsHexDigit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// Go allows '_' between digits. False if one stands elsewhere.
bool DropUnderscores(std::string_view text, bool is_hex, std::string* out) {
  const auto is_digit = [is_hex](char c) { return is_hex ? IsHexDigit(c) : c >= '0' && c <= '9'; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out->push_back(text[i]);
      continue;
    }
    // One may also follow the base prefix, which the caller has cut off: "0x_1p0".
    const bool follows_digit = i == 0 ? is_hex : is_digit(text[i - 1]);
    if (!follows_digit || i + 1 == text.size() || !is_digit(text[i + 1])) return false;
  }
  return true;
}

// Go's strconv.ParseFloat(text, 32), kept as a double; nullopt for what does not fit a float32, and
// for inf and NaN, which JSON cannot carry.
std::optional<double> ParseFloat(std::string_view text) {
  bool is_negative = false;
  if (text.starts_with('+') || text.starts_with('-')) {
    is_negative = text.front() == '-';
    text.remove_prefix(1);
  }
  const bool is_hex = text.starts_with("0x") || text.starts_with("0X");
  if (is_hex) {
    text.remove_prefix(2);
    if (text.find_first_of("pP") == std::string_view::npos) return std::nullopt;
  }
  std::string digits;
  if (!DropUnderscores(text, is_hex, &digits)) return std::nullopt;
  // from_chars takes "-" and names; a number begins with a digit or a point.
  if (digits.empty() ||
      !(digits.front() == '.' ||
        (is_hex ? IsHexDigit(digits.front()) : digits.front() >= '0' && digits.front() <= '9'))) {
    return std::nullopt;
  }
  double value = 0;
  const char* const last = digits.data() + digits.size();
  const auto [end, error] = std::from_chars(
      digits.data(), last, value, is_hex ? std::chars_format::hex : std::chars_format::general);
  if (end != last) return std::nullopt;
  if (error == std::errc::result_out_of_range) {
    // Too small is zero, too large an error.
    const std::size_t exponent = digits.find_first_of(is_hex ? "pP" : "eE");
    if (exponent == std::string::npos || digits.compare(exponent + 1, 1, "-") != 0)
      return std::nullopt;
    value = 0;
  } else if (error != std::errc()) {
    return std::nullopt;
  }
  if (!std::isfinite(value) || value > static_cast<double>(std::numeric_limits<float>::max()))
    return std::nullopt;
  return is_negative ? -value : value;
}

// Go's strconv.ParseBool.
std::optional<bool> ParseBool(std::string_view text) {
  for (const std::string_view word : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (text == word) return true;
  }
  for (const std::string_view word : {"0", "f", "F", "FALSE", "false", "False"}) {
    if (text == word) return false;
  }
  return std::nullopt;
}

tl::unexpected<Error> BadValue(std::string_view kind, std::string_view value) {
  std::string text = "invalid ";
  text.append(kind).append(" value [").append(value).append("]");
  return Fail(Code::kInvalidArgument, std::move(text));
}

Result<ParameterValue> ParseValue(ParameterKind kind, std::string_view text) {
  switch (kind) {
    case ParameterKind::kInt:
      if (const auto value = ParseInt(text)) return *value;
      return BadValue("int", text);
    case ParameterKind::kFloat:
      if (const auto value = ParseFloat(text)) return *value;
      return BadValue("float", text);
    case ParameterKind::kBool:
      if (const auto value = ParseBool(text)) return *value;
      return BadValue("bool", text);
    case ParameterKind::kKvCacheType: {
      CORRAL_TRY(std::string type, ParseKvCacheType(text));
      return type;
    }
    case ParameterKind::kList:
    case ParameterKind::kUnknown:
    case ParameterKind::kDeprecated:
      break;
  }
  return Fail(Code::kInternal, "not a scalar parameter");
}

}  // namespace

ParameterKind KindOfParameter(std::string_view name) {
  const auto* known = std::find_if(kParameters.begin(), kParameters.end(),
                                   [&](const auto& p) { return p.name == name; });
  return known == kParameters.end() ? ParameterKind::kUnknown : known->kind;
}

Result<std::vector<Parameter>> FormatParameters(
    const std::vector<std::pair<std::string, std::vector<std::string>>>& values,
    std::vector<std::string>* warnings) {
  std::vector<Parameter> result;
  for (const auto& [name, texts] : values) {
    const ParameterKind kind = KindOfParameter(name);
    if (kind == ParameterKind::kUnknown) {
      return Fail(Code::kInvalidArgument, "unknown parameter '" + name + "'");
    }
    if (kind == ParameterKind::kDeprecated) {
      if (warnings) warnings->push_back("warning: parameter " + name + " is deprecated");
      continue;
    }
    const auto known = std::find_if(result.begin(), result.end(),
                                    [&name = name](const Parameter& p) { return p.name == name; });
    if (kind == ParameterKind::kList) {
      if (known == result.end()) {
        result.push_back({name, texts});
      } else {
        auto& list = std::get<std::vector<std::string>>(known->value);
        list.insert(list.end(), texts.begin(), texts.end());
      }
      continue;
    }
    CORRAL_TRY(ParameterValue value,
               ParseValue(kind, texts.empty() ? std::string_view() : texts.front()));
    if (known == result.end()) {
      result.push_back({name, std::move(value)});
    } else {
      known->value = std::move(value);
    }
  }
  return result;
}

}  // namespace corral::modelfile
