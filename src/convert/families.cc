#include "convert/families.h"

#include <charconv>
#include <cmath>
#include <numbers>
#include <utility>

namespace corral::convert {
namespace {

constexpr Family kLlama = {
    .architecture = "llama",
    .vocabulary = VocabularyKind::kLlama,
    .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-6, "max_position_embeddings": 2048})",
    .fills_head_dim = true,
    .interleaves_rows = true,
};
constexpr Family kMistral = {
    .architecture = "llama",
    .vocabulary = VocabularyKind::kLlama,
    .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-6, "num_key_value_heads": 8,
                    "max_position_embeddings": 131072})",
    .fills_head_dim = true,
    .interleaves_rows = true,
};
constexpr Family kQwen2 = {
    .architecture = "qwen2",
    .vocabulary = VocabularyKind::kByteLevel,
    .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-6, "num_key_value_heads": 32,
                    "max_position_embeddings": 32768})",
};
constexpr Family kQwen3 = {
    .architecture = "qwen3",
    .vocabulary = VocabularyKind::kByteLevel,
    .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-6, "num_key_value_heads": 32,
                    "max_position_embeddings": 32768, "head_dim": 128})",
};
constexpr Family kGemma2 = {
    .architecture = "gemma2",
    .vocabulary = VocabularyKind::kPieces,
    .defaults = R"({"max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "head_dim": 256,
                    "num_key_value_heads": 4, "attn_logit_softcapping": 50.0,
                    "final_logit_softcapping": 30.0, "sliding_window": 4096})",
    .adds_one_to_norms = true,
    .drops_lm_head = true,
};
constexpr Family kGemma3 = {
    .architecture = "gemma3",
    .vocabulary = VocabularyKind::kPieces,
    .defaults = R"({"max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "head_dim": 256,
                    "num_attention_heads": 8, "num_key_value_heads": 4, "rope_theta": 1000000.0,
                    "rope_local_base_freq": 10000.0, "sliding_window": 4096,
                    "vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216,
                    "num_hidden_layers": 26})",
    .adds_one_to_norms = true,
};
constexpr Family kPhi3 = {
    .architecture = "phi3",
    .vocabulary = VocabularyKind::kPhi,
    .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-5, "max_position_embeddings": 4096,
                    "original_max_position_embeddings": 4096, "partial_rotary_factor": 1.0})",
};
constexpr Family kBert = {
    .architecture = "bert",
    .vocabulary = VocabularyKind::kWordPiece,
    .defaults =
        R"({"layer_norm_eps": 1e-12, "max_position_embeddings": 512, "type_vocab_size": 2})",
};

constexpr std::pair<std::string_view, const Family*> kFamilies[] = {
    {"LlamaForCausalLM", &kLlama},
    {"MistralForCausalLM", &kMistral},
    {"Qwen2ForCausalLM", &kQwen2},
    {"Qwen3ForCausalLM", &kQwen3},
    {"Gemma2ForCausalLM", &kGemma2},
    {"Gemma3ForCausalLM", &kGemma3},
    {"Gemma3ForConditionalGeneration", &kGemma3},  // the text part; its encoder stays out
    {"Phi3ForCausalLM", &kPhi3},
    {"BertModel", &kBert},
    {"BertForMaskedLM", &kBert},
};

// modules.json and the pooling's config.json (sentence-transformers). Nothing without them.
Status SetPooling(const Inputs& inputs, const std::string& prefix, gguf::Header* header) {
  if (!inputs.Has("modules.json")) return {};
  CORRAL_TRY(const Json modules, inputs.ReadJson("modules.json"));
  std::optional<std::string> path;
  for (const Json& module : modules) {
    if (!path && TextOf(module, "type").ends_with("Pooling")) path = TextOf(module, "path");
  }
  if (!path) return {};
  CORRAL_TRY(const Json pooling, inputs.ReadJson(*path + "/config.json"));
  const auto is_on = [&pooling](const char* key) {
    const auto found = pooling.find(key);
    return found != pooling.end() && found->is_boolean() && found->get<bool>();
  };
  const std::string mode = TextOf(pooling, "pooling_mode");
  std::uint32_t type = 0;  // llama.cpp's enum llama_pooling_type
  if (is_on("pooling_mode_mean_tokens") || mode == "mean") {
    type = 1;
  } else if (is_on("pooling_mode_cls_token") || mode == "cls") {
    type = 2;
  } else if (is_on("pooling_mode_lasttoken") || mode == "lasttoken") {
    type = 3;
  } else {
    return Refuse(*path + "/config.json: only mean, cls and last-token pooling can be converted");
  }
  header->SetUint32(prefix + "pooling_type", type);
  return {};
}

Status SetNumber(const Parameters& parameters, const std::string& key, std::string_view from,
                 gguf::Header* header) {
  CORRAL_TRY(const double value, parameters.NeedNumber({from}));
  header->SetFloat32(key, static_cast<float>(value));
  return {};
}

Status SetLlamaKeys(const Inputs& inputs, const Parameters& parameters, gguf::Header* header) {
  CORRAL_TRY_STATUS(SetCommonKeys(parameters, "llama", header));
  CORRAL_TRY(const std::uint32_t vocab_size, parameters.NeedUint({"vocab_size"}));
  CORRAL_TRY(const std::uint32_t head_dim, parameters.NeedUint({"head_dim"}));
  header->SetUint32("llama.vocab_size", vocab_size);
  header->SetUint32("llama.rope.dimension_count", head_dim);
  CORRAL_TRY(const Json config, inputs.ReadJsonIfThere("tokenizer_config.json"));
  if (const auto found = config.find("add_prefix_space");
      found != config.end() && found->is_boolean())
    header->SetBool("tokenizer.ggml.add_space_prefix", found->get<bool>());
  if (vocab_size == 32016) {  // CodeLlama
    header->SetUint32("tokenizer.ggml.prefix_token_id", 32007);
    header->SetUint32("tokenizer.ggml.suffix_token_id", 32008);
    header->SetUint32("tokenizer.ggml.middle_token_id", 32009);
    header->SetUint32("tokenizer.ggml.eot_token_id", 32010);
  }
  return {};
}

Status SetGemma2Keys(const Parameters& parameters, gguf::Header* header) {
  const std::pair<const char*, std::string_view> counts[] = {
      {"gemma2.context_length", "max_position_embeddings"},
      {"gemma2.embedding_length", "hidden_size"},
      {"gemma2.block_count", "num_hidden_layers"},
      {"gemma2.feed_forward_length", "intermediate_size"},
      {"gemma2.attention.head_count", "num_attention_heads"},
      {"gemma2.attention.head_count_kv", "num_key_value_heads"},
      {"gemma2.attention.key_length", "head_dim"},
      {"gemma2.attention.value_length", "head_dim"},
      {"gemma2.attention.sliding_window", "sliding_window"}};
  for (const auto& [key, from] : counts) {
    CORRAL_TRY(const std::uint32_t value, parameters.NeedUint({from}));
    header->SetUint32(key, value);
  }
  CORRAL_TRY_STATUS(
      SetNumber(parameters, "gemma2.attention.layer_norm_rms_epsilon", "rms_norm_eps", header));
  CORRAL_TRY_STATUS(
      SetNumber(parameters, "gemma2.attn_logit_softcapping", "attn_logit_softcapping", header));
  CORRAL_TRY_STATUS(
      SetNumber(parameters, "gemma2.final_logit_softcapping", "final_logit_softcapping", header));
  header->SetBool("tokenizer.ggml.add_space_prefix", false);
  return {};
}

Status SetGemma3Keys(const Parameters& parameters, gguf::Header* header) {
  CORRAL_TRY_STATUS(SetCommonKeys(parameters, "gemma3", header));
  CORRAL_TRY(const auto softcap, parameters.Number({"final_logit_softcapping"}));
  if (softcap && *softcap != 0)
    header->SetFloat32("gemma3.final_logit_softcapping", static_cast<float>(*softcap));
  CORRAL_TRY(const auto pattern, parameters.Uint({"sliding_window_pattern"}));
  if (pattern != 1U) {
    CORRAL_TRY(const std::uint32_t window, parameters.NeedUint({"sliding_window"}));
    header->SetUint32("gemma3.attention.sliding_window", window);
  }
  header->SetBool("tokenizer.ggml.add_space_prefix", false);
  return {};
}

// How many dimensions of a head are rotated.
Result<std::uint32_t> PhiRopeDimensions(const Parameters& parameters) {
  CORRAL_TRY(const std::uint32_t n_embd, parameters.NeedUint({"hidden_size", "n_embd"}));
  CORRAL_TRY(const std::uint32_t n_head, parameters.NeedUint({"num_attention_heads", "n_head"}));
  if (n_head == 0) return Refuse("config.json: num_attention_heads is 0");
  const double part = NumberOf(parameters.rope(), "partial_rotary_factor").value_or(1.0);
  if (!(part > 0 && part <= 1))
    return Refuse("config.json: partial_rotary_factor is not between 0 and 1");
  return static_cast<std::uint32_t>(part * n_embd) / n_head;
}

Result<std::uint32_t> PhiOriginalContext(const Parameters& parameters) {
  const auto original = NumberOf(parameters.rope(), "original_max_position_embeddings");
  if (!original || !(*original > 1 && *original < 1e9))
    return Refuse("config.json: original_max_position_embeddings is missing");
  return static_cast<std::uint32_t>(*original);
}

Status SetPhi3Keys(const Parameters& parameters, gguf::Header* header) {
  struct Count {
    const char* key;
    std::string_view from, old_name;
  };
  const Count counts[] = {{"phi3.context_length", "max_position_embeddings", "n_positions"},
                          {"phi3.embedding_length", "hidden_size", "n_embd"},
                          {"phi3.feed_forward_length", "intermediate_size", "n_inner"},
                          {"phi3.block_count", "num_hidden_layers", "n_layer"},
                          {"phi3.attention.head_count", "num_attention_heads", "n_head"},
                          {"phi3.attention.head_count_kv", "num_key_value_heads", "n_head_kv"}};
  for (const Count& count : counts) {
    CORRAL_TRY(const std::uint32_t value, parameters.NeedUint({count.from, count.old_name}));
    header->SetUint32(count.key, value);
  }
  CORRAL_TRY(const std::uint32_t original, PhiOriginalContext(parameters));
  CORRAL_TRY(const std::uint32_t rope_dimensions, PhiRopeDimensions(parameters));
  header->SetUint32("phi3.rope.scaling.original_context_length", original);
  header->SetUint32("phi3.rope.dimension_count", rope_dimensions);
  CORRAL_TRY_STATUS(
      SetNumber(parameters, "phi3.attention.layer_norm_rms_epsilon", "rms_norm_eps", header));
  header->SetFloat32("phi3.rope.freq_base",
                     static_cast<float>(NumberOf(parameters.rope(), "rope_theta").value_or(1e4)));
  // 0 tells Phi-4 from the others.
  CORRAL_TRY(const auto window, parameters.Uint({"sliding_window"}));
  header->SetUint32("phi3.attention.sliding_window", window.value_or(0));
  return {};
}

Status SetBertKeys(const Inputs& inputs, const Parameters& parameters, gguf::Header* header) {
  CORRAL_TRY_STATUS(SetCommonKeys(parameters, "bert", header));
  header->SetBool("bert.attention.causal", false);
  CORRAL_TRY_STATUS(SetPooling(inputs, "bert.", header));
  CORRAL_TRY(const auto n_types, parameters.Uint({"type_vocab_size"}));
  header->SetUint32("tokenizer.ggml.token_type_count", n_types.value_or(1));
  return {};
}

// All but the vocabulary's.
Status SetModelKeys(const Family& family, const Inputs& inputs, const Parameters& parameters,
                    gguf::Header* header) {
  if (family.architecture == "llama") return SetLlamaKeys(inputs, parameters, header);
  if (&family == &kGemma2) return SetGemma2Keys(parameters, header);
  if (&family == &kGemma3) return SetGemma3Keys(parameters, header);
  if (&family == &kPhi3) return SetPhi3Keys(parameters, header);
  if (&family == &kBert) return SetBertKeys(inputs, parameters, header);
  const std::string architecture(family.architecture);
  CORRAL_TRY_STATUS(SetCommonKeys(parameters, architecture, header));
  return SetPooling(inputs, architecture + ".", header);
}

using NameTable = std::span<const std::pair<std::string_view, std::string_view>>;

std::string_view Look(NameTable table, std::string_view name) {
  for (const auto& [from, to] : table) {
    if (from == name) return to;
  }
  return {};
}

// Of a layer, and outside of the layers.
constexpr std::pair<std::string_view, std::string_view> kDecoderLayer[] = {
    {"input_layernorm", "attn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.gate_up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"}};
// Gemma's differ from those of the others.
constexpr std::pair<std::string_view, std::string_view> kGemmaLayer[] = {
    {"post_attention_layernorm", "post_attention_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"}};
constexpr std::pair<std::string_view, std::string_view> kDecoder[] = {
    {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}};
constexpr std::pair<std::string_view, std::string_view> kBertLayer[] = {
    {"attention.self.query", "attn_q"},
    {"attention.self.key", "attn_k"},
    {"attention.self.value", "attn_v"},
    {"attention.output.dense", "attn_output"},
    {"attention.output.LayerNorm", "attn_output_norm"},
    {"intermediate.dense", "ffn_up"},
    {"output.dense", "ffn_down"},
    {"output.LayerNorm", "layer_output_norm"}};
constexpr std::pair<std::string_view, std::string_view> kBertTop[] = {
    {"embeddings.word_embeddings", "token_embd"},
    {"embeddings.position_embeddings", "position_embd"},
    {"embeddings.token_type_embeddings", "token_types"},
    {"embeddings.LayerNorm", "token_embd_norm"}};

bool IsBertLeftOut(std::string_view name) {
  return name == "embeddings.position_ids" || name == "pooler.dense.weight" ||
         name == "pooler.dense.bias" || name.starts_with("cls.predictions") ||
         name.starts_with("cls.seq_relationship");
}

bool IsMultimodal(std::string_view name) {
  for (const std::string_view part : {"vision", "visual", "projector", "audio"}) {
    if (name.find(part) != std::string_view::npos) return true;
  }
  return false;
}

std::string Cleaned(const Family& family, std::string_view name) {
  std::string cleaned(name);
  for (std::size_t at = 0; (at = cleaned.find("language_model.")) != std::string::npos;)
    cleaned.erase(at, std::string_view("language_model.").size());
  if (&family != &kBert) return cleaned;
  if (cleaned.starts_with("bert.")) cleaned.erase(0, 5);
  if (cleaned.ends_with(".gamma")) cleaned.replace(cleaned.size() - 6, 6, ".weight");
  if (cleaned.ends_with(".beta")) cleaned.replace(cleaned.size() - 5, 5, ".bias");
  return cleaned;
}

// In single precision, and with a division of a number by a vector as a product with its inverse,
// as PyTorch computes it: the results are compared bit by bit.
std::vector<OutputTensor> LlamaRopeFactors(const Json& rope, std::uint32_t head_dim) {
  const auto number = [&rope](const char* key, double otherwise) {
    return static_cast<float>(NumberOf(rope, key).value_or(otherwise));
  };
  const float base = number("rope_theta", 10000.0);
  const float factor = number("factor", 8.0);
  const float low_factor = number("low_freq_factor", 1.0);
  const float high_factor = number("high_freq_factor", 4.0);
  const float context = number("original_max_position_embeddings", 8192);
  OutputTensor tensor{.name = "rope_freqs.weight", .type = kTypeFloat32};
  for (std::uint32_t i = 0; i < head_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(head_dim);
    const float frequency = 1.0F / std::pow(base, exponent);
    const float wavelength = (1.0F / frequency) * static_cast<float>(2 * std::numbers::pi);
    float value = 1;
    if (wavelength >= context / high_factor) {
      value = factor;
      if (wavelength <= context / low_factor) {
        const float smooth =
            ((1.0F / wavelength) * context - low_factor) / (high_factor - low_factor);
        value = 1.0F / ((1.0F - smooth) / factor + smooth);
      }
    }
    tensor.values.push_back(value);
  }
  tensor.shape = {tensor.values.size()};
  return {tensor};
}

// A list of numbers of `size`; nullopt otherwise.
std::optional<std::vector<float>> Factors(const Json& rope, const char* key, std::size_t size) {
  const auto found = rope.find(key);
  if (found == rope.end() || !found->is_array() || found->size() != size) return std::nullopt;
  std::vector<float> values;
  for (const Json& value : *found) {
    if (!value.is_number()) return std::nullopt;
    values.push_back(value.get<float>());
  }
  return values;
}

Result<std::vector<OutputTensor>> PhiRopeFactors(const Parameters& parameters,
                                                 gguf::Header* header) {
  std::vector<OutputTensor> tensors;
  const Json& rope = parameters.rope();
  const auto found = rope.find("long_factor");
  if (found == rope.end() || !found->is_array() || found->empty()) return tensors;
  CORRAL_TRY(const std::uint32_t rope_dimensions, PhiRopeDimensions(parameters));
  CORRAL_TRY(const std::uint32_t original, PhiOriginalContext(parameters));
  CORRAL_TRY(const std::uint32_t context,
             parameters.NeedUint({"n_positions", "max_position_embeddings"}));
  const double scale = static_cast<double>(context) / original;
  const std::string type = TextOf(rope, "rope_type");
  double attention = 1.0;
  if (type == "su" || type == "longrope") {
    if (scale > 1) attention = std::sqrt(1 + std::log(scale) / std::log(original));
  } else if (type == "yarn") {
    if (scale > 1) attention = 0.1 * std::log(scale) + 1.0;
  } else {
    return Refuse("config.json: RoPE scaling \"" + type + "\" is not supported");
  }
  header->SetFloat32("phi3.rope.scaling.attn_factor", static_cast<float>(attention));
  for (const auto& [key, name] : {std::pair("long_factor", "rope_factors_long.weight"),
                                  std::pair("short_factor", "rope_factors_short.weight")}) {
    auto values = Factors(rope, key, rope_dimensions / 2);
    if (!values)
      return Refuse("config.json: rope_scaling." + std::string(key) + " must have " +
                    std::to_string(rope_dimensions / 2) + " numbers");
    OutputTensor tensor{.name = name, .type = kTypeFloat32, .shape = {values->size()}};
    tensor.values = *std::move(values);
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace

const Family* FindFamily(std::string_view hf_architecture) {
  for (const auto& [name, family] : kFamilies) {
    if (name == hf_architecture) return family;
  }
  return nullptr;
}

const Family* FindFamilyOfGguf(std::string_view architecture) {
  for (const auto& [name, family] : kFamilies) {
    if (family->architecture == architecture) return family;
  }
  return nullptr;
}

Status SetFamilyKeys(const Family& family, const Inputs& inputs, const Parameters& parameters,
                     const Vocabulary& vocabulary, gguf::Header* header) {
  CORRAL_TRY_STATUS(SetModelKeys(family, inputs, parameters, header));
  SetVocabulary(vocabulary, header);
  // Granite's and SmolLM's vocabulary begins no text with a token of its own.
  std::optional<bool> adds_bos;
  if (family.architecture == "llama" && parameters.Uint({"vocab_size"}).value_or(0) == 49152U)
    adds_bos = false;
  return SetSpecialTokens(inputs, vocabulary, adds_bos, header);
}

std::optional<std::string> MapTensorName(const Family& family, std::string_view name) {
  if (name.ends_with(".attention.masked_bias") || name.ends_with(".attention.bias") ||
      name.ends_with(".rotary_emb.inv_freq") || IsMultimodal(name))
    return "";
  const std::string cleaned = Cleaned(family, name);
  const bool is_bert = &family == &kBert;
  if (is_bert && IsBertLeftOut(cleaned)) return "";
  if (family.drops_lm_head && cleaned == "lm_head.weight") return "";
  const std::size_t dot = cleaned.rfind('.');
  if (dot == std::string::npos) return std::nullopt;
  std::string_view base = std::string_view(cleaned).substr(0, dot);
  const std::string suffix = cleaned.substr(dot);
  if (suffix != ".weight" && suffix != ".bias") return std::nullopt;

  const std::string_view layers = is_bert ? "encoder.layer." : "model.layers.";
  if (!base.starts_with(layers)) {
    const std::string_view top = Look(is_bert ? NameTable(kBertTop) : NameTable(kDecoder), base);
    if (top.empty()) return std::nullopt;
    return std::string(top) + suffix;
  }
  base.remove_prefix(layers.size());
  std::uint32_t layer = 0;
  const auto number = std::from_chars(base.data(), base.data() + base.size(), layer);
  if (number.ec != std::errc() || number.ptr == base.data() + base.size() || *number.ptr != '.')
    return std::nullopt;
  base.remove_prefix(static_cast<std::size_t>(number.ptr - base.data()) + 1);
  std::string_view mapped;
  if (&family == &kGemma2 || &family == &kGemma3) mapped = Look(kGemmaLayer, base);
  if (mapped.empty())
    mapped = Look(is_bert ? NameTable(kBertLayer) : NameTable(kDecoderLayer), base);
  if (mapped.empty()) return std::nullopt;
  return "blk." + std::to_string(layer) + "." + std::string(mapped) + suffix;
}

std::uint64_t InterleavedHeads(const Family& family, std::string_view mapped, std::uint64_t n_heads,
                               std::uint64_t n_kv_heads) {
  if (!family.interleaves_rows) return 0;
  if (mapped.ends_with(".attn_q.weight") || mapped.ends_with(".attn_q.bias")) return n_heads;
  if (mapped.ends_with(".attn_k.weight") || mapped.ends_with(".attn_k.bias")) return n_kv_heads;
  return 0;
}

Result<std::vector<OutputTensor>> ExtraTensors(const Family& family, const Parameters& parameters,
                                               gguf::Header* header) {
  if (&family == &kPhi3) return PhiRopeFactors(parameters, header);
  if (family.architecture == "llama" && TextOf(parameters.rope(), "rope_type") == "llama3") {
    CORRAL_TRY(const std::uint32_t head_dim, parameters.NeedUint({"head_dim"}));
    if (head_dim > 65536) return Refuse("config.json: head_dim is too large");
    return LlamaRopeFactors(parameters.rope(), head_dim);
  }
  return std::vector<OutputTensor>();
}

}  // namespace corral::convert
