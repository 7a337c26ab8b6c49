// CheckLoadable: one function a subject, each named after what it guards. Where libllama (llama.cpp
// v0.5.0) aborts or divides, the comment says so; the rest it refuses by itself, and the check is
// here for a clear message before a worker is started.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>

#include "gguf/reader.h"
#include "gguf/types.h"

namespace corral::gguf {
namespace {

constexpr std::uint64_t kMaxBlocks = 512;    // LLAMA_MAX_LAYERS
constexpr std::uint64_t kMaxExperts = 1024;  // LLAMA_MAX_EXPERTS
constexpr std::uint64_t kMaxPooling = 4;     // LLAMA_POOLING_TYPE_RANK
constexpr std::uint64_t kMaxSize = 65'535;   // of anything in a projector
constexpr std::uint64_t kMapAlignment = 32;  // ggml's TENSOR_ALIGNMENT

// Architectures whose graphs assert that keys and values have the same size (llama.cpp's
// src/models): the common ones.
constexpr std::array<std::string_view, 28> kEqualHeads = {
    "bert",    "cohere2",    "command-r", "falcon",    "gpt2",       "gptneox",  "granite",
    "llama",   "llama4",     "mistral3",  "nemotron",  "nomic-bert", "olmo2",    "phi2",
    "phi3",    "qwen2",      "qwen2moe",  "qwen2vl",   "qwen3",      "qwen3moe", "qwen3next",
    "qwen3vl", "qwen3vlmoe", "qwen35",    "qwen35moe", "smollm3",    "stablelm", "starcoder2"};

tl::unexpected<Error> Refuse(std::string why) {
  return Fail(Code::kCorrupt, "the model cannot be loaded: " + std::move(why));
}

tl::unexpected<Error> WrongType(const KeyValue& entry, std::string_view wanted) {
  return Refuse("'" + entry.key + "' is of type " + std::string(ValueTypeName(entry.type)) +
                ", must be " + std::string(wanted));
}

class LoadCheck {
 public:
  explicit LoadCheck(const Info& info) : info_(info) {}

  Status Run() {
    CORRAL_TRY_STATUS(CheckTensorTable());
    if (info_.String("general.type") == "adapter") return {};
    CORRAL_TRY(const std::string_view architecture, RequiredString("general.architecture"));
    if (architecture.empty()) return Refuse("'general.architecture' is empty");
    prefix_ = std::string(architecture) + ".";
    CORRAL_TRY_STATUS(CheckFloats());
    if (architecture == "clip") return CheckProjector();
    CORRAL_TRY_STATUS(CheckSizes());
    CORRAL_TRY_STATUS(CheckExperts());
    CORRAL_TRY_STATUS(CheckHeads());
    CORRAL_TRY_STATUS(CheckRope());
    CORRAL_TRY_STATUS(CheckDivisors());
    CORRAL_TRY_STATUS(CheckVocabulary());
    return CheckTensorTypes();
  }

 private:
  // --- typed access: libllama refuses a key of another type than the one it asks for

  Result<std::optional<std::uint64_t>> Uint32(const std::string& key) const {
    const KeyValue* entry = info_.Find(key);
    if (entry == nullptr) return std::nullopt;
    if (entry->type != ValueType::kUint32) return WrongType(*entry, "uint32");
    return std::get<std::uint64_t>(entry->value);
  }

  Result<std::uint64_t> RequiredUint32(const std::string& key) const {
    CORRAL_TRY(const std::optional<std::uint64_t> value, Uint32(key));
    if (!value) return Refuse("'" + key + "' is missing");
    return *value;
  }

  Result<std::optional<double>> Float32(const std::string& key) const {
    const KeyValue* entry = info_.Find(key);
    if (entry == nullptr) return std::nullopt;
    if (entry->type != ValueType::kFloat32) return WrongType(*entry, "float32");
    return std::get<double>(entry->value);
  }

  Result<std::optional<bool>> Bool(const std::string& key) const {
    const KeyValue* entry = info_.Find(key);
    if (entry == nullptr) return std::nullopt;
    if (entry->type != ValueType::kBool) return WrongType(*entry, "bool");
    return std::get<bool>(entry->value);
  }

  Result<std::string_view> RequiredString(const std::string& key) const {
    const KeyValue* entry = info_.Find(key);
    if (entry == nullptr) return Refuse("'" + key + "' is missing");
    if (entry->type != ValueType::kString) return WrongType(*entry, "string");
    return std::string_view(std::get<std::string>(entry->value));
  }

  // Null if absent.
  Result<const Array*> ArrayOf(const std::string& key,
                               std::initializer_list<ValueType> types) const {
    const KeyValue* entry = info_.Find(key);
    if (entry == nullptr) return nullptr;
    std::string wanted = "array of ";
    for (const ValueType type : types) {
      if (type != *types.begin()) wanted += " or ";
      wanted += ValueTypeName(type);
    }
    const auto* array = std::get_if<Array>(&entry->value);
    if (array == nullptr) return WrongType(*entry, wanted);
    if (std::find(types.begin(), types.end(), array->type) == types.end()) {
      return Refuse("'" + key + "' is an array of " + std::string(ValueTypeName(array->type)) +
                    ", must be an " + wanted);
    }
    return array;
  }

  // One value for all blocks, or an array with one for each. Empty if absent; else n_blocks_
  // values.
  Result<std::vector<std::uint64_t>> PerBlock(const std::string& key) const {
    const KeyValue* entry = info_.Find(key);
    if (entry == nullptr) return std::vector<std::uint64_t>();
    if (entry->type != ValueType::kArray) {
      CORRAL_TRY(const std::optional<std::uint64_t> value, Uint32(key));
      return std::vector<std::uint64_t>(n_blocks_, *value);
    }
    CORRAL_TRY(const Array* array,
               ArrayOf(key, {ValueType::kUint32, ValueType::kInt32, ValueType::kBool}));
    if (array->size != n_blocks_) {
      return Refuse("'" + key + "' has " + std::to_string(array->size) + " elements, must have " +
                    std::to_string(n_blocks_));
    }
    if (array->elements.empty())
      return Refuse("the file has too many arrays to check '" + key + "'");
    std::vector<std::uint64_t> values;
    values.reserve(n_blocks_);
    for (const Value& element : array->elements) {
      if (const auto* value = std::get_if<std::uint64_t>(&element)) {
        values.push_back(*value);
      } else if (const auto* flag = std::get_if<bool>(&element)) {
        values.push_back(*flag ? 1 : 0);
      } else if (const auto* number = std::get_if<std::int64_t>(&element);
                 number != nullptr && *number >= 0) {
        values.push_back(static_cast<std::uint64_t>(*number));
      } else {
        return Refuse("'" + key + "' has a negative element");
      }
    }
    return values;
  }

  // --- the checks

  // libllama wants the tensors in the order of the table, one after the other, padded to the
  // alignment.
  Status CheckTensorTable() const {
    std::uint64_t expected = 0;
    for (const TensorInfo& tensor : info_.tensors) {
      if (tensor.offset != expected) {
        return Refuse("tensor '" + tensor.name + "' has offset " + std::to_string(tensor.offset) +
                      ", must have " + std::to_string(expected));
      }
      if ((info_.data_offset + tensor.offset) % kMapAlignment != 0) {
        return Refuse("tensor '" + tensor.name + "' is not aligned to " +
                      std::to_string(kMapAlignment) + " bytes");
      }
      const TensorType* type = FindTensorType(tensor.type);
      if (type == nullptr || !type->is_loadable) {
        return Refuse("tensor '" + tensor.name + "' has type " + std::to_string(tensor.type) +
                      ", which llama.cpp does not know");
      }
      const std::uint64_t end = expected + tensor.size_bytes;  // within the file
      expected = (end + info_.alignment - 1) / info_.alignment * info_.alignment;
    }
    return {};
  }

  // Aborts: GGML_ASSERT(eps >= 0) in the norms, which NaN fails too; a NaN anywhere spoils every
  // logit.
  Status CheckFloats() const {
    for (const KeyValue& entry : info_.metadata) {
      if (entry.type != ValueType::kFloat32 || !entry.key.starts_with(prefix_)) continue;
      const double value = std::get<double>(entry.value);
      const bool is_epsilon = entry.key.ends_with("epsilon");
      if (std::isnan(value) || (is_epsilon && (value < 0 || std::isinf(value)))) {
        return Refuse("'" + entry.key + "' is " + std::to_string(value) +
                      (is_epsilon ? ", must be 0 or more" : ""));
      }
    }
    for (const std::string_view name :
         {"attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon",
          "attention.group_norm_epsilon"}) {
      CORRAL_TRY_STATUS(Float32(Key(name)));
    }
    return {};
  }

  // Aborts: counts of blocks out of range, an unknown pooling, an output wider than what is
  // computed.
  Status CheckSizes() {
    CORRAL_TRY(const std::uint64_t context_length, RequiredUint32(Key("context_length")));
    if (context_length == 0) return Refuse("'" + Key("context_length") + "' is 0");
    CORRAL_TRY(n_embd_, RequiredUint32(Key("embedding_length")));
    if (n_embd_ == 0) return Refuse("'" + Key("embedding_length") + "' is 0");
    CORRAL_TRY(const std::uint64_t n_blocks, RequiredUint32(Key("block_count")));
    if (n_blocks == 0 || n_blocks > kMaxBlocks) {
      return Refuse("'" + Key("block_count") + "' is " + std::to_string(n_blocks) +
                    ", must be 1 to " + std::to_string(kMaxBlocks));
    }
    n_blocks_ = static_cast<std::size_t>(n_blocks);
    CORRAL_TRY(const std::optional<std::uint64_t> n_nextn, Uint32(Key("nextn_predict_layers")));
    if (n_nextn.value_or(0) > n_blocks) {
      return Refuse("'" + Key("nextn_predict_layers") + "' is more than '" + Key("block_count") +
                    "'");
    }
    for (const std::string_view name : {"posnet.block_count", "convnext.block_count"}) {
      CORRAL_TRY(const std::optional<std::uint64_t> n_part, Uint32(Key(name)));
      if (n_part.value_or(0) > n_blocks)
        return Refuse("'" + Key(name) + "' is more than the blocks");
    }
    CORRAL_TRY_STATUS(PerBlock(Key("feed_forward_length")));
    CORRAL_TRY(const std::optional<std::uint64_t> pooling, Uint32(Key("pooling_type")));
    if (pooling.value_or(0) > kMaxPooling) {
      return Refuse("'" + Key("pooling_type") + "' is " + std::to_string(*pooling));
    }
    CORRAL_TRY(const std::optional<std::uint64_t> n_out, Uint32(Key("embedding_length_out")));
    if (IsAmong(kEqualHeads) && n_out.value_or(0) > n_embd_) {
      return Refuse("'" + Key("embedding_length_out") + "' is more than '" +
                    Key("embedding_length") + "'");
    }
    CORRAL_TRY_STATUS(Bool(Key("attention.causal")));
    CORRAL_TRY_STATUS(Uint32("general.file_type"));
    return {};
  }

  // Aborts on every one of these (llama-model.cpp, load_hparams).
  Status CheckExperts() const {
    CORRAL_TRY(const std::optional<std::uint64_t> count, Uint32(Key("expert_count")));
    CORRAL_TRY(const std::vector<std::uint64_t> used, PerBlock(Key("expert_used_count")));
    CORRAL_TRY(const std::optional<std::uint64_t> groups, Uint32(Key("expert_group_count")));
    CORRAL_TRY(const std::optional<std::uint64_t> groups_used,
               Uint32(Key("expert_group_used_count")));
    const std::uint64_t n_experts = count.value_or(0);
    const std::uint64_t n_groups = groups.value_or(0);
    const std::uint64_t n_groups_used = groups_used.value_or(0);
    const std::uint64_t max_used = used.empty() ? 0 : *std::max_element(used.begin(), used.end());
    // These two take one expert for none.
    const bool is_hunyuan = prefix_ == "hunyuan-dense." || prefix_ == "hunyuan_vl.";
    if (is_hunyuan && n_experts <= 1) return {};

    const std::string counts = "'" + Key("expert_count") + "' is " + std::to_string(n_experts) +
                               ", '" + Key("expert_used_count") + "' " + std::to_string(max_used);
    if (n_experts > kMaxExperts) return Refuse(counts + ": at most " + std::to_string(kMaxExperts));
    if (max_used > n_experts || (n_experts > 0 && max_used == 0)) return Refuse(counts);
    if (n_experts == 0 && n_groups == 0) return {};
    const bool is_split = n_groups > 1;
    if (n_groups >= n_experts || (is_split && (n_experts % n_groups != 0 || n_groups_used == 0 ||
                                               n_groups_used >= n_groups))) {
      return Refuse(counts + ", '" + Key("expert_group_count") + "' " + std::to_string(n_groups) +
                    ", '" + Key("expert_group_used_count") + "' " + std::to_string(n_groups_used));
    }
    return {};
  }

  // Aborts: queries that do not divide into the key/value heads (ggml_can_mul_mat). Divides by the
  // number of heads.
  Status CheckHeads() {
    CORRAL_TRY(const std::vector<std::uint64_t> heads, PerBlock(Key("attention.head_count")));
    CORRAL_TRY(const std::vector<std::uint64_t> heads_kv, PerBlock(Key("attention.head_count_kv")));
    for (std::size_t i = 0; i < heads.size() && i < heads_kv.size(); ++i) {
      if (heads[i] > 0 && heads_kv[i] > 0 && heads[i] % heads_kv[i] != 0) {
        return Refuse("'" + Key("attention.head_count") + "' (" + std::to_string(heads[i]) +
                      ") is not a multiple of '" + Key("attention.head_count_kv") + "' (" +
                      std::to_string(heads_kv[i]) + ")");
      }
    }
    n_heads_ = heads.empty() ? 0 : heads.front();
    if (n_heads_ == 0) return {};  // no attention, or not in the first block

    CORRAL_TRY(const std::optional<std::uint64_t> key_length, Uint32(Key("attention.key_length")));
    CORRAL_TRY(const std::optional<std::uint64_t> value_length,
               Uint32(Key("attention.value_length")));
    head_size_ = key_length.value_or(n_embd_ / n_heads_);
    if (head_size_ == 0) {
      return Refuse("an attention head of '" + Key("attention.head_count") + "' has size 0");
    }
    if (IsAmong(kEqualHeads) && value_length.value_or(n_embd_ / n_heads_) != head_size_) {
      return Refuse("'" + Key("attention.key_length") + "' and '" + Key("attention.value_length") +
                    "' differ");
    }
    return CheckKeyRows(heads_kv);
  }

  // Aborts: a block whose keys are not as many as its heads say. libllama compares the first
  // block's only; where that one follows the rule, the others must.
  Status CheckKeyRows(const std::vector<std::uint64_t>& heads_kv) const {
    if (info_.Find(Key("attention.key_length_swa")) != nullptr) return {};
    bool is_rule = false;
    for (const TensorInfo& tensor : info_.tensors) {
      const std::string_view name = tensor.name;
      if (!name.starts_with("blk.") || !name.ends_with(".attn_k.weight") || tensor.dims.size() != 2)
        continue;
      std::size_t block = 0;
      const std::string_view number = name.substr(4, name.find('.', 4) - 4);
      if (std::from_chars(number.data(), number.data() + number.size(), block).ec != std::errc() ||
          block >= heads_kv.size()) {
        continue;
      }
      const bool fits = tensor.dims[1] == head_size_ * heads_kv[block];
      if (block == 0) is_rule = fits;
      if (is_rule && !fits) {
        return Refuse("tensor '" + tensor.name + "' has " + std::to_string(tensor.dims[1]) +
                      " rows, must have " + std::to_string(head_size_ * heads_kv[block]));
      }
    }
    return {};
  }

  // Aborts: an unknown scaling type; RoPE over an odd number of dimensions, or over more than a
  // head has; multi-axis RoPE without axes.
  Status CheckRope() const {
    if (const KeyValue* entry = info_.Find(Key("rope.scaling.type")); entry != nullptr) {
      CORRAL_TRY(const std::string_view type, RequiredString(entry->key));
      constexpr std::array<std::string_view, 4> kTypes = {"none", "linear", "yarn", "longrope"};
      if (std::find(kTypes.begin(), kTypes.end(), type) == kTypes.end()) {
        return Refuse("'" + entry->key + "' is none of none, linear, yarn, longrope");
      }
    }
    for (const std::string_view name :
         {"rope.freq_base", "rope.freq_base_swa", "rope.scaling.factor", "rope.scale_linear",
          "rope.scaling.attn_factor"}) {
      CORRAL_TRY(const std::optional<double> value, Float32(Key(name)));
      if (value && (*value < 0 || std::isinf(*value))) {
        return Refuse("'" + Key(name) + "' is " + std::to_string(*value));
      }
    }
    CORRAL_TRY_STATUS(Uint32(Key("rope.scaling.original_context_length")));
    CORRAL_TRY(const Array* sections,
               ArrayOf(Key("rope.dimension_sections"), {ValueType::kInt32, ValueType::kUint32}));
    if (sections != nullptr && !sections->elements.empty() &&
        std::all_of(sections->elements.begin(), sections->elements.end(), [](const Value& value) {
          return value == Value(std::uint64_t{0}) || value == Value(std::int64_t{0});
        })) {
      return Refuse("'" + Key("rope.dimension_sections") + "' are all 0");
    }
    CORRAL_TRY(const std::optional<std::uint64_t> given, Uint32(Key("rope.dimension_count")));
    if (n_heads_ == 0) return {};
    const std::uint64_t n_rot = given.value_or(head_size_);
    if (n_rot % 2 != 0 || n_rot > head_size_) {
      return Refuse("RoPE over " + std::to_string(n_rot) + " dimensions of heads of " +
                    std::to_string(head_size_) + ": must be even and no more");
    }
    return {};
  }

  // Divides, or takes a remainder, without looking (llama.cpp's src/models).
  Status CheckDivisors() const {
    constexpr std::array<std::string_view, 17> kDivisors = {"ssm.conv_kernel",
                                                            "ssm.inner_size",
                                                            "ssm.state_size",
                                                            "ssm.time_step_rank",
                                                            "ssm.group_count",
                                                            "wkv.head_size",
                                                            "kda.head_dim",
                                                            "shortconv.l_cache",
                                                            "attention.group_norm_groups",
                                                            "attention.output_group_count",
                                                            "attention.indexer.block_size",
                                                            "experts_per_group",
                                                            "conv_group_size",
                                                            "hrm.layers_per_stack",
                                                            "hrm.h_cycles",
                                                            "hrm.l_cycles",
                                                            "interleave_moe_layer_step"};
    for (const std::string_view name : kDivisors) {
      const bool is_zero_meant = (name == "ssm.group_count" && prefix_ == "plamo2.") ||
                                 (name == "interleave_moe_layer_step" && prefix_ == "llama4.");
      if (is_zero_meant) continue;
      CORRAL_TRY(const std::optional<std::uint64_t> value, Uint32(Key(name)));
      if (value == std::uint64_t{0}) return Refuse("'" + Key(name) + "' is 0");
    }
    return {};
  }

  Status CheckVocabulary() const {
    CORRAL_TRY(const std::string_view model, RequiredString("tokenizer.ggml.model"));
    if (model == "none" || model == "no_vocab") return Refuse("it has no vocabulary");
    CORRAL_TRY(const Array* tokens, ArrayOf("tokenizer.ggml.tokens", {ValueType::kString}));
    if (tokens == nullptr) return Refuse("'tokenizer.ggml.tokens' is missing");
    if (tokens->size == 0) return Refuse("'tokenizer.ggml.tokens' is empty");
    if (info_.has_duplicate_tokens) return Refuse("'tokenizer.ggml.tokens' holds a token twice");

    // Aborts: WordPiece has no bytes.
    if (model == "bert" && info_.has_byte_tokens)
      return Refuse("a 'bert' vocabulary has byte tokens");

    CORRAL_TRY(const Array* scores,
               ArrayOf("tokenizer.ggml.scores", {ValueType::kFloat32, ValueType::kInt32}));
    CORRAL_TRY(const Array* types, ArrayOf("tokenizer.ggml.token_type", {ValueType::kInt32}));
    for (const Array* array : {scores, types}) {
      if (array != nullptr && array->size < tokens->size) {
        return Refuse("the tokenizer has " + std::to_string(tokens->size) + " tokens, but only " +
                      std::to_string(array->size) + (array == scores ? " scores" : " token types"));
      }
    }
    CORRAL_TRY(const Array* merges, ArrayOf("tokenizer.ggml.merges", {ValueType::kString}));
    const bool is_kimi = info_.String("tokenizer.ggml.pre") == "kimi-k2";
    if (merges == nullptr && (model == "gemma4" || (model == "gpt2" && !is_kimi))) {
      return Refuse("'tokenizer.ggml.merges' is missing");
    }
    return CheckSpecialTokens(model, tokens->size);
  }

  // Aborts, at the first prompt: a token to put in front or behind that does not exist.
  Status CheckSpecialTokens(std::string_view model, std::uint64_t n_tokens) const {
    struct Defaults {
      std::string_view model;
      std::uint64_t bos, eos, sep;  // kNone: the model has none
      bool add_bos, add_eos;
    };
    constexpr std::uint64_t kNone = ~std::uint64_t{0};
    constexpr std::array<Defaults, 5> kDefaults = {{
        {"llama", 1, 2, kNone, true, false},
        {"bert", 101, kNone, 102, true, false},
        {"gpt2", 11, 11, kNone, false, false},
        {"t5", kNone, 1, kNone, false, true},
        {"gemma4", kNone, kNone, kNone, true, false},
    }};
    const auto* defaults = std::find_if(kDefaults.begin(), kDefaults.end(),
                                        [&](const Defaults& row) { return row.model == model; });
    if (defaults == kDefaults.end()) return {};  // others add nothing by themselves

    CORRAL_TRY(const std::optional<std::uint64_t> bos, Uint32("tokenizer.ggml.bos_token_id"));
    CORRAL_TRY(const std::optional<std::uint64_t> eos, Uint32("tokenizer.ggml.eos_token_id"));
    CORRAL_TRY(const std::optional<std::uint64_t> sep, Uint32("tokenizer.ggml.seperator_token_id"));
    CORRAL_TRY(const std::optional<bool> add_bos, Bool("tokenizer.ggml.add_bos_token"));
    CORRAL_TRY(const std::optional<bool> add_eos, Bool("tokenizer.ggml.add_eos_token"));
    // A key out of range counts as absent (llama-vocab.cpp).
    const auto exists = [&](std::optional<std::uint64_t> given, std::uint64_t fallback) {
      return (given && *given < n_tokens) || fallback < n_tokens;
    };
    const bool is_always_bos = model == "bert" || model == "gemma4";
    if ((is_always_bos || add_bos.value_or(defaults->add_bos)) && !exists(bos, defaults->bos)) {
      return Refuse(
          "the vocabulary has no token to begin a text with ('tokenizer.ggml.bos_token_id')");
    }
    if (add_eos.value_or(defaults->add_eos) && model != "bert" && !exists(eos, defaults->eos)) {
      return Refuse(
          "the vocabulary has no token to end a text with ('tokenizer.ggml.eos_token_id')");
    }
    if (model == "bert" && !exists(sep, defaults->sep)) {
      return Refuse("the vocabulary has no separator token ('tokenizer.ggml.seperator_token_id')");
    }
    return {};
  }

  // Aborts, or calls a null function, in the first computation: matrices of a type that no product
  // takes, norms and biases that are not floats.
  Status CheckTensorTypes() const {
    constexpr std::array<std::string_view, 15> kMatrices = {
        "token_embd.weight",     "output.weight",         ".attn_q.weight",
        ".attn_k.weight",        ".attn_v.weight",        ".attn_qkv.weight",
        ".attn_output.weight",   ".ffn_gate.weight",      ".ffn_up.weight",
        ".ffn_down.weight",      ".ffn_gate_exps.weight", ".ffn_up_exps.weight",
        ".ffn_down_exps.weight", ".ffn_gate_inp.weight",  "position_embd.weight"};
    for (const TensorInfo& tensor : info_.tensors) {
      const std::string_view name = tensor.name;
      const std::string_view type = FindTensorType(tensor.type)->name;
      const bool is_vector = name.ends_with("norm.weight") || name.ends_with(".bias") ||
                             name.ends_with("rope_freqs.weight") || name == "token_types.weight";
      const bool is_matrix = std::any_of(kMatrices.begin(), kMatrices.end(),
                                         [&](std::string_view end) { return name.ends_with(end); });
      if ((is_vector && type != "F32") || (is_matrix && !IsMatrixType(tensor.type))) {
        return Refuse("tensor '" + tensor.name + "' cannot be of type " + std::string(type));
      }
    }
    return {};
  }

  // libmtmd checks much by itself; these abort (a key of another type), divide, or bound a loop.
  Status CheckProjector() const {
    constexpr std::array<std::string_view, 3> kDivisors = {".patch_size", ".projector.scale_factor",
                                                           ".spatial_merge_size"};
    constexpr std::array<std::string_view, 8> kNumbers = {
        ".block_count",         ".embedding_length", ".attention.head_count", ".image_size",
        ".feed_forward_length", ".projection_dim",   ".num_mel_bins",         ".window_size"};
    constexpr std::array<std::string_view, 3> kFlags = {"_encoder", ".use_gelu", ".use_silu"};
    for (const KeyValue& entry : info_.metadata) {
      const std::string_view key = entry.key;
      if (!key.starts_with(prefix_)) continue;
      const auto is_one_of = [key](const auto& ends) {
        return std::any_of(ends.begin(), ends.end(),
                           [key](std::string_view end) { return key.ends_with(end); });
      };
      if (is_one_of(kFlags) && entry.type != ValueType::kBool) return WrongType(entry, "bool");
      if (key.ends_with("projector_type") && entry.type != ValueType::kString)
        return WrongType(entry, "string");
      if (key.ends_with("layer_norm_epsilon") && entry.type != ValueType::kFloat32)
        return WrongType(entry, "float32");
      const bool is_divisor = is_one_of(kDivisors);
      if (!is_divisor && !is_one_of(kNumbers)) continue;
      if (entry.type != ValueType::kUint32) return WrongType(entry, "uint32");
      const std::uint64_t value = std::get<std::uint64_t>(entry.value);
      const bool is_count = key.ends_with(".block_count");
      if ((is_divisor && value == 0) || value > (is_count ? kMaxBlocks : kMaxSize))
        return Refuse("'" + entry.key + "' is " + std::to_string(value));
    }
    return {};
  }

  template <std::size_t N>
  bool IsAmong(const std::array<std::string_view, N>& architectures) const {
    const std::string_view architecture = std::string_view(prefix_).substr(0, prefix_.size() - 1);
    return std::find(architectures.begin(), architectures.end(), architecture) !=
           architectures.end();
  }

  std::string Key(std::string_view name) const { return prefix_ + std::string(name); }

  const Info& info_;
  std::string prefix_;  // "llama."
  std::size_t n_blocks_ = 0;
  std::uint64_t n_embd_ = 0;
  std::uint64_t n_heads_ = 0;    // of the first block
  std::uint64_t head_size_ = 0;  // of a key, if n_heads_ > 0
};

}  // namespace

Status CheckLoadable(const Info& info) { return LoadCheck(info).Run(); }

Status CheckHoldsNoEncoder(const Info& info) {
  for (const TensorInfo& tensor : info.tensors) {
    if (tensor.name.starts_with("v.") || tensor.name.starts_with("mm.")) {
      return Refuse("it holds its own image encoder ('" + tensor.name +
                    "'); use a GGUF of the language model alone, and one of the projector (mmproj) "
                    "beside it");
    }
  }
  return {};
}

}  // namespace corral::gguf
