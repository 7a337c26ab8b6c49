#include "convert/parameters.h"

#include <cmath>
#include <utility>

namespace corral::convert {
namespace {

constexpr std::uint32_t kMostUint = 1U << 31U;

std::string Named(Parameters::Keys keys) { return "config.json: " + std::string(*keys.begin()); }

}  // namespace

std::optional<double> NumberOf(const Json& object, std::string_view key) {
  if (!object.is_object()) return std::nullopt;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

std::string TextOf(const Json& object, std::string_view key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Parameters::Parameters(Json config, const Json& defaults) : config_(std::move(config)) {
  if (const auto text = config_.find("text_config"); text != config_.end() && text->is_object()) {
    const Json inner = *text;
    config_.update(inner);
  }
  for (const auto& [key, value] : defaults.items()) {
    if (!config_.contains(key) || config_[key].is_null()) config_[key] = value;
  }
  ReadRope();
}

void Parameters::ReadRope() {
  rope_ = Json::object();
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (const Json* found = Find(key); found != nullptr && found->is_object()) rope_ = *found;
  }
  const auto number = [this](Keys keys) {
    const auto read = Number(keys);
    return read ? *read : std::nullopt;
  };
  local_rope_theta_ = number({"local_rope_theta", "rope_local_theta", "rope_theta_local",
                              "swa_rope_theta", "rope_local_base_freq"});
  if (rope_.contains("full_attention") || rope_.contains("sliding_attention")) {
    local_rope_theta_.reset();
    if (const auto sliding = rope_.find("sliding_attention"); sliding != rope_.end())
      local_rope_theta_ = NumberOf(*sliding, "rope_theta");
    if (const auto full = rope_.find("full_attention"); full != rope_.end() && full->is_object()) {
      const Json inner = *full;
      rope_ = inner;
    }
    return;
  }
  const auto put = [this](const char* key, const std::optional<double>& value) {
    if (!rope_.contains(key) && value) rope_[key] = *value;
  };
  put("rope_theta", number({"global_rope_theta", "rope_global_theta", "rope_theta_global",
                            "rope_theta", "rotary_emb_base"}));
  if (!rope_.contains("rope_type") && rope_.contains("type")) rope_["rope_type"] = rope_["type"];
  put("partial_rotary_factor", number({"partial_rotary_factor", "rope_pct", "rope_percent"}));
  put("original_max_position_embeddings", number({"original_max_position_embeddings"}));
}

const Json* Parameters::Find(std::string_view key) const {
  const auto found = config_.find(key);
  return found == config_.end() || found->is_null() ? nullptr : &*found;
}

Result<std::optional<double>> Parameters::Number(Keys keys) const {
  for (const std::string_view key : keys) {
    const Json* found = Find(key);
    if (found == nullptr) continue;
    if (!found->is_number() || !std::isfinite(found->get<double>()))
      return Refuse("config.json: " + std::string(key) + " is no number");
    return std::optional(found->get<double>());
  }
  return std::optional<double>();
}

Result<std::optional<std::uint32_t>> Parameters::Uint(Keys keys) const {
  CORRAL_TRY(const std::optional<double> number, Number(keys));
  if (!number) return std::optional<std::uint32_t>();
  if (*number < 0 || *number > kMostUint || *number != std::floor(*number))
    return Refuse(Named(keys) + " is no count");
  return std::optional(static_cast<std::uint32_t>(*number));
}

Result<std::uint32_t> Parameters::NeedUint(Keys keys) const {
  CORRAL_TRY(const std::optional<std::uint32_t> number, Uint(keys));
  if (!number) return Refuse(Named(keys) + " is missing");
  return *number;
}

Result<double> Parameters::NeedNumber(Keys keys) const {
  CORRAL_TRY(const std::optional<double> number, Number(keys));
  if (!number) return Refuse(Named(keys) + " is missing");
  return *number;
}

std::optional<bool> Parameters::Flag(std::string_view key) const {
  const Json* found = Find(key);
  return found != nullptr && found->is_boolean() ? std::optional(found->get<bool>()) : std::nullopt;
}

namespace {

// rope.scaling.* of the kinds that are keys; llama3 becomes a tensor (families.cc).
Status SetRopeScaling(const Json& rope, const std::string& prefix, gguf::Header* header) {
  const std::string type = TextOf(rope, "rope_type");
  const auto factor = NumberOf(rope, "factor");
  const auto set_number = [&](const char* key, const std::optional<double>& value) {
    if (value) header->SetFloat32(prefix + "rope.scaling." + key, static_cast<float>(*value));
  };
  if (type == "linear" && factor) {
    header->SetString(prefix + "rope.scaling.type", "linear");
    set_number("factor", factor);
  } else if (type == "yarn" && factor) {
    const auto original = NumberOf(rope, "original_max_position_embeddings");
    if (!original || *original < 0 || *original > kMostUint)
      return Refuse("config.json: original_max_position_embeddings is missing");
    header->SetString(prefix + "rope.scaling.type", "yarn");
    set_number("factor", factor);
    header->SetUint32(prefix + "rope.scaling.original_context_length",
                      static_cast<std::uint32_t>(*original));
    set_number("yarn_ext_factor", NumberOf(rope, "extrapolation_factor"));
    const auto attention = NumberOf(rope, "attention_factor");
    set_number("yarn_attn_factor", attention ? attention : NumberOf(rope, "attn_factor"));
    set_number("yarn_beta_fast", NumberOf(rope, "beta_fast"));
    set_number("yarn_beta_slow", NumberOf(rope, "beta_slow"));
  } else if (type == "su" || type == "longrope") {
    header->SetString(prefix + "rope.scaling.type", "longrope");
  } else if (!type.empty() && type != "default" && type != "llama3" && type != "linear" &&
             type != "yarn") {
    return Refuse("config.json: RoPE scaling \"" + type + "\" is not supported");
  }
  return {};
}

}  // namespace

Status SetCommonKeys(const Parameters& parameters, std::string_view architecture,
                     gguf::Header* header) {
  const std::string prefix = std::string(architecture) + ".";
  const auto set_uint = [&](const char* key, Parameters::Keys keys) -> Status {
    CORRAL_TRY(const std::optional<std::uint32_t> value, parameters.Uint(keys));
    if (value) header->SetUint32(prefix + key, *value);
    return {};
  };
  const auto set_number = [&](const char* key, Parameters::Keys keys) -> Status {
    CORRAL_TRY(const std::optional<double> value, parameters.Number(keys));
    if (value) header->SetFloat32(prefix + key, static_cast<float>(*value));
    return {};
  };
  CORRAL_TRY_STATUS(set_uint("block_count", {"num_hidden_layers", "n_layers", "n_layer"}));
  CORRAL_TRY_STATUS(set_uint("context_length", {"max_position_embeddings", "n_ctx", "n_positions",
                                                "max_length", "max_sequence_length"}));
  CORRAL_TRY_STATUS(set_uint("embedding_length", {"hidden_size", "n_embd", "dim"}));
  CORRAL_TRY_STATUS(set_uint("feed_forward_length", {"intermediate_size", "n_inner"}));
  CORRAL_TRY_STATUS(set_uint("attention.head_count", {"num_attention_heads", "n_head", "n_heads"}));
  CORRAL_TRY_STATUS(set_uint("attention.head_count_kv", {"num_key_value_heads", "n_kv_heads"}));
  CORRAL_TRY_STATUS(SetRopeScaling(parameters.rope(), prefix, header));
  if (const auto theta = NumberOf(parameters.rope(), "rope_theta"))
    header->SetFloat32(prefix + "rope.freq_base", static_cast<float>(*theta));
  if (const auto theta = parameters.local_rope_theta())
    header->SetFloat32(prefix + "rope.freq_base_swa", static_cast<float>(*theta));
  CORRAL_TRY_STATUS(set_number("attention.layer_norm_rms_epsilon", {"rms_norm_eps", "norm_eps"}));
  CORRAL_TRY_STATUS(set_number("attention.layer_norm_epsilon",
                               {"layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"}));
  CORRAL_TRY_STATUS(set_uint("attention.key_length", {"head_dim"}));
  CORRAL_TRY_STATUS(set_uint("attention.value_length", {"head_dim"}));
  return {};
}

}  // namespace corral::convert
